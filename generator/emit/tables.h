// The kernel's tables (runtime/include/mha/kernel.h) and its entry points, as an object.
#ifndef MHA_GENERATOR_EMIT_TABLES_H_
#define MHA_GENERATOR_EMIT_TABLES_H_

#include <string>
#include <vector>

#include "generator/emit/variant.h"
#include "generator/ir/plan.h"
#include "generator/spec/spec.h"
#include "schedules/machine.h"

namespace mha {

// Everything that the tables say.
struct KernelDescription {
  const Spec& spec;
  const Plan& plan;
  const Machine& machine;
  const std::vector<Variant>& variants;
  const TargetPlace& place;
};

// The symbol of a stage's argv wrapper, which Halide makes beside the stage's function.
std::string stage_function_name(const std::string& kernel, const std::string& stage);
std::string stage_wrapper_name(const std::string& kernel, const std::string& stage);

// Defines NAME_kernel, NAME_run and NAME_workspace_size, for op block NAME_weights_create and
// NAME_weights_load, and with a cache NAME_append, NAME_decode, NAME_decode_shared and
// NAME_cache_create. In a library for several targets each object defines its target's kernel
// alone, as NAME_kernel_zen4, and that of the best target the rest as well: NAME_kernel, which
// refers to those of all targets, and the functions. Throws InternalError when the program breaks a
// limit of the runtime.
std::string kernel_object(const KernelDescription& kernel);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_TABLES_H_
