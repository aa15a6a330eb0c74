#include "examples/common/status.h"

#include <string>

#include "generator/spec/error.h"

namespace mha::examples {

void check(mha_status status) {
  switch (status) {
    case MHA_OK:
      return;
    case MHA_BAD_FILE:
    case MHA_IO_ERROR:
    case MHA_UNSUPPORTED_CPU:
      throw UserError(mha_last_message());
    case MHA_OUT_OF_MEMORY:
      throw SystemError(mha_last_message());
    default:
      throw InternalError(std::string(mha_status_name(status)) + ": " + mha_last_message());
  }
}

}  // namespace mha::examples
