// What one call costs: arithmetic and memory traffic, counted from the plan.
#ifndef MHA_GENERATOR_EMIT_COST_H_
#define MHA_GENERATOR_EMIT_COST_H_

#include <cstdint>

#include "generator/ir/plan.h"

namespace mha {

struct Lengths {
  int64_t batch = 1, query = 1, key = 1;
};

// The largest call that the plan allows.
Lengths largest_lengths(const Plan& plan);

struct CallWork {
  // Pairs (query, key) of one head of one sequence that the masks let through, all keys being
  // there; the mean over the heads where a mask rule treats them differently. What mask tensors,
  // and rules that read tables, hide is known by a call alone. Where the offset is an input, it is
  // taken as Lk - Lq (a cache that is full).
  int64_t visible_pairs = 0;
  // Multiplications and additions, 2 for each fused one: projections, and the two products of
  // attention over the visible pairs. 2^63 - 1 where a call has more.
  int64_t flops = 0;
};

// Where a mask rule hides pairs, counting them may take a second.
CallWork call_work(const Plan& plan, const Lengths& lengths);
inline int64_t visible_pairs(const Plan& plan, const Lengths& lengths) {
  return call_work(plan, lengths).visible_pairs;
}
inline int64_t call_flops(const Plan& plan, const Lengths& lengths) {
  return call_work(plan, lengths).flops;
}

// Bytes of the operands: each input, weight and output once.
int64_t call_bytes(const Plan& plan, const Lengths& lengths);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_COST_H_
