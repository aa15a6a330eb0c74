// What a generated library says about who made it.
#ifndef MHA_GENERATOR_EMIT_VERSION_H_
#define MHA_GENERATOR_EMIT_VERSION_H_

#include <string>

#include "mha/mha.h"

namespace mha {

// "0.1.0"
inline std::string project_version() {
  return std::to_string(MHA_VERSION_MAJOR) + "." + std::to_string(MHA_VERSION_MINOR) + "." +
         std::to_string(MHA_VERSION_PATCH);
}

// "mha-gen 0.1.0"
inline std::string generator_version() { return "mha-gen " + project_version(); }

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_VERSION_H_
