// Scheduled Programs become the files of a library: one target makes a part, the parts one library.
// In-process: generate() makes each part in a child.
#ifndef MHA_GENERATOR_EMIT_LIBRARY_H_
#define MHA_GENERATOR_EMIT_LIBRARY_H_

#include <string>
#include <vector>

#include "generator/emit/generate.h"
#include "generator/emit/object.h"
#include "generator/emit/variant.h"
#include "generator/ir/plan.h"
#include "generator/pipeline/program.h"
#include "generator/spec/spec.h"
#include "schedules/machine.h"
#include "schedules/schedule.h"

namespace mha {

// What one target adds to a library. `generated` holds no archive yet, and the files that all
// targets share only where the target is the best one.
struct Part {
  Generated generated;
  std::vector<Object> objects;
};

// `plan` is that of the whole kernel; the variants stand in the order of the lengths that they
// serve. `mlir` is the text for --emit mlir. The targets of `options` are resolved already: `place`
// has them all, and `machine` is that of the one at hand.
Part make_part(const Spec& spec, const Plan& plan, const Machine& machine, const TargetPlace& place,
               std::vector<Variant> variants, const std::string& mlir,
               const GenerateOptions& options);

// Parts stand as their targets in TargetPlace, at least one. Throws InternalError where what all
// targets share is not the same in two of them.
Generated join_parts(std::vector<Part> parts, const GenerateOptions& options);

// A library for one target, with one variant for all lengths.
Generated make_library(const Spec& spec, const Plan& plan, const Machine& machine,
                       const Schedule& schedule, const Program& program, const std::string& mlir,
                       const GenerateOptions& options);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_LIBRARY_H_
