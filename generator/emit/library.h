// A scheduled Program becomes the files of a library. In-process: generate() calls it in a child.
#ifndef MHA_GENERATOR_EMIT_LIBRARY_H_
#define MHA_GENERATOR_EMIT_LIBRARY_H_

#include <string>
#include <vector>

#include "generator/emit/generate.h"
#include "generator/emit/variant.h"
#include "generator/ir/plan.h"
#include "generator/pipeline/program.h"
#include "generator/spec/spec.h"
#include "schedules/machine.h"
#include "schedules/schedule.h"

namespace mha {

// `plan` is that of the whole kernel; the variants stand in the order of the lengths that they
// serve. `mlir` is the text for --emit mlir. The target of `options` is resolved already: it is
// `machine`.
Generated make_library(const Spec& spec, const Plan& plan, const Machine& machine,
                       std::vector<Variant> variants, const std::string& mlir,
                       const GenerateOptions& options);

// With one variant, for all lengths.
Generated make_library(const Spec& spec, const Plan& plan, const Machine& machine,
                       const Schedule& schedule, const Program& program, const std::string& mlir,
                       const GenerateOptions& options);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_LIBRARY_H_
