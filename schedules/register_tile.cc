#include "schedules/register_tile.h"

#include "schedules/stage_funcs.h"

namespace mha {

using Halide::Func;
using Halide::LoopLevel;
using Halide::MemoryType;
using Halide::Var;

void register_tile(Func product, const LoopLevel& level, const Var& lanes,
                   const std::vector<Var>& others, const Halide::RDom& k, int vector, int unroll,
                   Products products) {
  Var inner("inner");
  product.compute_at(level)
      .store_in(MemoryType::Register)
      .vectorize(lanes, vector, kRoundUp)
      .unroll(lanes);
  const bool whole = products == Products::kPairs;
  std::vector<Halide::VarOrRVar> order;
  if (whole) order.push_back(k[0]);
  order.insert(order.end(), {inner, lanes});
  order.insert(order.end(), others.begin(), others.end());
  for (int dimension = whole ? 1 : 0; dimension < k.dimensions(); dimension++)
    order.push_back(k[dimension]);
  Halide::Stage update = product.update();
  update.split(lanes, lanes, inner, vector, kRoundUp).reorder(order);
  if (whole) update.atomic().vectorize(k[0]);
  update.vectorize(inner);
  if (products == Products::kHalves) update.unroll(k[0]);
  update.unroll(lanes);
  for (const Var& other : others) {
    product.unroll(other);
    update.unroll(other);
  }
  if (unroll > 1) update.unroll(products == Products::kSingles ? k[0] : k[1], unroll);
}

}  // namespace mha
