// The inner product of every stage: sums that stay in registers. Private to schedules.
#ifndef MHA_SCHEDULES_REGISTER_TILE_H_
#define MHA_SCHEDULES_REGISTER_TILE_H_

#include <Halide.h>

#include <vector>

#include "generator/pipeline/program.h"

namespace mha {

// A register tile: `product` accumulates over `k` in registers at `level` of its consumer;
// dimension `lanes` is in vectors, `others` beside it. Loads of one step: vectors of lanes +
// scalars of others, for lanes * others FMAs. Of pairs k[0] is the place in the pair and k[1] goes
// over the steps: their halves are multiplied one after the other, or, where the machine multiplies
// them whole, by a reduction over the lanes of a vector of pairs.
void register_tile(Halide::Func product, const Halide::LoopLevel& level, const Halide::Var& lanes,
                   const std::vector<Halide::Var>& others, const Halide::RDom& k, int vector,
                   int unroll, Products products = Products::kSingles);
inline void register_tile(Halide::Func product, const Halide::LoopLevel& level,
                          const Halide::Var& lanes, const Halide::Var& other, const Halide::RDom& k,
                          int vector, int unroll, Products products = Products::kSingles) {
  register_tile(product, level, lanes, std::vector<Halide::Var>{other}, k, vector, unroll,
                products);
}

}  // namespace mha

#endif  // MHA_SCHEDULES_REGISTER_TILE_H_
