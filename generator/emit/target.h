// A Machine as Halide and LLVM know it.
#ifndef MHA_GENERATOR_EMIT_TARGET_H_
#define MHA_GENERATOR_EMIT_TARGET_H_

#include <Halide.h>

#include <string>

#include "schedules/machine.h"

namespace mha {

// Instrumentation of the generated code, for tests.
enum class Sanitizer { kNone, kAddress, kThread };

// The target that stages are compiled for: no runtime of Halide's own inside, no checks that the
// runtime has made already, and a user context on every call, through which allocations reach the
// caller's workspace.
Halide::Target halide_target(const Machine& machine, Sanitizer sanitizer);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_TARGET_H_
