#include "schedules/head_rows.h"

namespace mha {

using Halide::Func;
using Halide::LoopLevel;
using Halide::TailStrategy;
using Halide::Var;

namespace {

TailStrategy tail_of(int64_t extent, int vector) {
  return extent % vector == 0 ? TailStrategy::RoundUp : TailStrategy::GuardWithIf;
}

// The sum of squares of a row and what it becomes.
void schedule_root(Stage& stage, const LoopLevel& row, int vector) {
  if (!stage.funcs.count("root")) return;
  const Var lane("lane");
  stage.funcs.at("root").compute_at(row);
  Func sum = stage.funcs.at("square_sum");
  sum.compute_at(row);
  if (!stage.domains.count("over_lanes")) return;
  Func lanes = stage.funcs.at("square_lanes");
  lanes.compute_at(row).vectorize(lane, vector);
  lanes.update().vectorize(lane, vector);
  sum.update(0).atomic().vectorize(stage.domains.at("over_lanes").x);
}

}  // namespace

void schedule_head_rows(Stage& stage, const Plan& plan, const LoopLevel& level, int vector) {
  if (!stage.funcs.count("head_rows")) return;
  const Var d("d"), pair("pair"), side("side");
  Func rows = stage.funcs.at("head_rows");
  rows.compute_at(level).vectorize(d, vector, tail_of(plan.attention.d_head, vector));
  const LoopLevel row(rows, rows.args()[1]);
  if (plan.attention.rotation) {
    const auto pairs = static_cast<int64_t>(plan.attention.rotation->inv_freq.size());
    stage.funcs.at("angles").compute_at(row).vectorize(pair, vector, TailStrategy::RoundUp);
    stage.funcs.at("turned")
        .compute_at(row)
        .reorder(side, pair)
        .vectorize(pair, vector, tail_of(pairs, vector))
        .unroll(side);
  }
  schedule_root(stage, row, vector);
}

void schedule_norms(Stage& stage, int vector) {
  schedule_root(stage, LoopLevel(stage.funcs.at("output"), Var("t")), vector);
}

}  // namespace mha
