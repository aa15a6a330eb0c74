// The runtime's statuses as the exceptions of the examples' programs.
#ifndef MHA_EXAMPLES_COMMON_STATUS_H_
#define MHA_EXAMPLES_COMMON_STATUS_H_

#include "mha/mha.h"

namespace mha::examples {

// Throws UserError for a file or machine that will not do, SystemError when memory is short, and
// InternalError for statuses that a correct caller never meets.
void check(mha_status status);

}  // namespace mha::examples

#endif  // MHA_EXAMPLES_COMMON_STATUS_H_
