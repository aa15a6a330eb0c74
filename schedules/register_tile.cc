#include "schedules/register_tile.h"

#include <algorithm>
#include <vector>

#include "schedules/stage_funcs.h"

namespace mha {

using Halide::Func;
using Halide::LoopLevel;
using Halide::MemoryType;
using Halide::Var;

void register_tile(Func product, const LoopLevel& level, const Var& lanes, const Var& other,
                   const Halide::RDom& k, int vector, int unroll, Products products) {
  Var inner("inner");
  product.compute_at(level)
      .store_in(MemoryType::Register)
      .vectorize(lanes, vector, kRoundUp)
      .unroll(lanes)
      .unroll(other);
  std::vector<Halide::VarOrRVar> order = {inner, lanes, other};
  for (int dimension = 0; dimension < k.dimensions(); dimension++) order.push_back(k[dimension]);
  const bool whole = products == Products::kPairs;
  if (whole) std::rotate(order.begin(), order.begin() + 3, order.begin() + 4);
  Halide::Stage update = product.update();
  update.split(lanes, lanes, inner, vector, kRoundUp).reorder(order);
  if (whole) update.atomic().vectorize(k[0]);
  update.vectorize(inner);
  if (products == Products::kHalves) update.unroll(k[0]);
  update.unroll(lanes).unroll(other);
  if (unroll > 1) update.unroll(products == Products::kSingles ? k[0] : k[1], unroll);
}

}  // namespace mha
