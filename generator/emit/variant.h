// A kernel made for a range of lengths may hold its stages several times.
#ifndef MHA_GENERATOR_EMIT_VARIANT_H_
#define MHA_GENERATOR_EMIT_VARIANT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "generator/ir/plan.h"
#include "generator/pipeline/program.h"
#include "schedules/schedule.h"

namespace mha {

// The stages of a kernel for the calls of some query lengths: `plan` is the kernel's, narrowed to
// these. Tensors, weights and packed arrays of the Program are the same in all variants.
struct Variant {
  Plan plan;
  Schedule schedule;
  Program program;  // scheduled
  // One a stage: make_library() fills them in.
  std::vector<int64_t> scratch_bytes;
  std::vector<int64_t> object_bytes;  // empty when nothing was compiled
};

// The targets of a library, the best first, and the one that is being generated.
struct TargetPlace {
  std::vector<std::string> targets;
  size_t index = 0;

  bool several() const { return targets.size() > 1; }
  // What the names of stages and tables of target i end with: nothing where it is the only one,
  // else
  // "_x86_64_v3".
  std::string suffix(size_t i) const;
  std::string suffix() const { return suffix(index); }
  std::string text() const;  // "zen4, x86-64-v3"
};

// What the names of a variant's stages end with: nothing where it is the only one, else "_q64".
std::string variant_suffix(const std::vector<Variant>& variants, size_t index);

// Every schedule, those of several under lines "query_length 1 to 64:".
std::string schedules_text(const std::vector<Variant>& variants);

// Throws InternalError where what all variants share is not the same in two of them.
void check_shared(const std::vector<Variant>& variants);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_VARIANT_H_
