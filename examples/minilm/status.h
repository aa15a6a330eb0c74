// The runtime's statuses as this program's exceptions.
#ifndef MHA_EXAMPLES_MINILM_STATUS_H_
#define MHA_EXAMPLES_MINILM_STATUS_H_

#include "mha/mha.h"

namespace mha::minilm {

// Throws UserError for a file or machine that will not do, SystemError when memory is short, and
// InternalError for statuses that a correct caller never meets.
void check(mha_status status);

}  // namespace mha::minilm

#endif  // MHA_EXAMPLES_MINILM_STATUS_H_
