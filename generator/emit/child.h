// Runs a piece of work in a child process.
#ifndef MHA_GENERATOR_EMIT_CHILD_H_
#define MHA_GENERATOR_EMIT_CHILD_H_

#include <functional>

#include "generator/emit/generate.h"

namespace mha {

// What `work` returns in a child process; an exception of generator/spec/error.h that it throws is
// thrown here, any other one as InternalError. A child that dies is an InternalError, or a
// SystemError if the system killed it.
Generated run_in_child(const std::function<Generated()>& work);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_CHILD_H_
