// A library made by hand: one stage that computes output = 2 * (query + 1) by way of a buffer on
// the heap, so that emit is tested without the pipelines.
#ifndef MHA_TESTS_EMIT_HANDMADE_H_
#define MHA_TESTS_EMIT_HANDMADE_H_

#include <string>

#include "generator/emit/generate.h"
#include "generator/ir/plan.h"
#include "generator/pipeline/program.h"
#include "generator/spec/spec.h"
#include "schedules/machine.h"
#include "schedules/schedule.h"

namespace mha {

struct Handmade {
  Spec spec;
  Plan plan;
  Schedule schedule;
  Program program;
};

inline constexpr int kHandmadeHeads = 4, kHandmadeWidth = 8, kHandmadeBatch = 2,
                     kHandmadeLength = 64;

// What goes wrong in it, if anything should.
enum class Flaw { kNone, kParallelLoop, kUnboundedAllocation, kForeignCall };

Handmade handmade(const std::string& name, Flaw flaw = Flaw::kNone);

// Through make_library() in a child process.
Generated generate_handmade(const std::string& name, const std::string& target,
                            const GenerateOptions& options = {}, Flaw flaw = Flaw::kNone);

}  // namespace mha

#endif  // MHA_TESTS_EMIT_HANDMADE_H_
