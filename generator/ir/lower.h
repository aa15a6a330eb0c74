// From a Spec to a Plan, by way of the `mha` dialect. No MLIR type is seen outside this folder.
#ifndef MHA_GENERATOR_IR_LOWER_H_
#define MHA_GENERATOR_IR_LOWER_H_

#include <optional>
#include <string>
#include <vector>

#include "generator/ir/plan.h"
#include "generator/spec/parse.h"
#include "generator/spec/spec.h"

namespace mha {

// Either a plan, or at least one problem.
struct LowerResult {
  std::optional<Plan> plan;
  std::vector<Diagnostic>
      problems;  // what the spec asks for and cannot have; each points into the YAML
  // The module as the spec says it, and after canonicalisation, without locations. Both end with a
  // newline; with problems the second is empty, and the first too when the spec uses a key that is
  // not built yet.
  std::string mlir_before, mlir_after;
};

// Builds the module, verifies it, canonicalises it, verifies again and reads the plan off it.
// Deterministic; starts no thread, so that the caller may fork before or after. Throws
// InternalError (generator/spec/error.h) on a spec that the parser would not have let through, and
// on our own bugs.
LowerResult lower(const Spec& spec);

// The plan for people: one line for each step, stable, ends with a newline.
std::string plan_text(const Plan& plan);

}  // namespace mha

#endif  // MHA_GENERATOR_IR_LOWER_H_
