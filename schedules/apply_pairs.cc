// Stages over all pairs of a query and a key.
#include <Halide.h>

#include <numeric>

#include "schedules/apply_attention.h"
#include "schedules/apply_scores.h"
#include "schedules/head_rows.h"
#include "schedules/stage_funcs.h"

namespace mha {

using Halide::Func;
using Halide::LoopLevel;
using Halide::RVar;
using Halide::TailStrategy;
using Halide::Var;

namespace {

const Var y("y"), x("x"), t("t");

// Keys of a step of the stages over pairs.
int keys_at_once(const StageSchedule& params, const Machine& machine) {
  return std::lcm(8 * static_cast<int>(params.get("key_tile")), machine.vector_floats);
}

// Scores of all keys, a few tiles of keys at a time, at `level`; what is made of them comes after.
void schedule_pairs(Stage& stage, const Plan& plan, const StageSchedule& params,
                    const LoopLevel& level, int keys, const Machine& machine) {
  const int vector = machine.vector_floats;
  schedule_head_rows(stage, plan, LoopLevel::root(), vector);
  transpose_queries(stage, plan.attention.d_head, vector);
  schedule_rules(stage, static_cast<int>(params.get("query_block")), 16, 1, vector);
  for (const char* name : {"row_max", "row_scale"}) {
    if (stage.funcs.count(name)) find(stage, name).compute_root().vectorize(y, vector, kRoundUp);
  }
  if (stage.funcs.count("normalised"))
    find(stage, "normalised").compute_at(level).vectorize(y, vector, kRoundUp);
  schedule_scores(stage, level, params, vector);
  schedule_mask(stage, level, vector);
  bound_storage(stage,
                {"head_rows", "queries", "query_pairs", "row_max", "row_scale", "normalised",
                 "scores", "masked", "mask", "sum", "strongest", "held"},
                static_cast<int>(params.get("query_block")), keys, 1);
}

}  // namespace

void schedule_rows(Stage& stage, const Plan& plan, const StageSchedule& params,
                   const Machine& machine) {
  Func output = find(stage, "output");
  Var x_outer("x_outer"), x_inner("x_inner");
  const int keys = keys_at_once(params, machine);
  output.split(x, x_outer, x_inner, keys, TailStrategy::GuardWithIf)
      .reorder(x_inner, t, x_outer)
      .vectorize(x_inner, machine.vector_floats, TailStrategy::GuardWithIf);
  LoopLevel level(output, x_outer);
  if (stage.funcs.count("sum")) {
    RVar rh = stage.domains.at("rh").x;
    Func sum = find(stage, "sum");
    sum.compute_at(level).vectorize(y, machine.vector_floats, kRoundUp);
    sum.update().reorder(y, x, rh).vectorize(y, machine.vector_floats, kRoundUp);
    level = LoopLevel(sum, rh);
  }
  schedule_pairs(stage, plan, params, level, keys, machine);
}

void schedule_top(Stage& stage, const Plan& plan, const StageSchedule& params,
                  const Machine& machine) {
  const int vector = machine.vector_floats;
  const int lanes = static_cast<int>(params.get("query_vectors")) * vector;
  const int keys = keys_at_once(params, machine);
  RVar place = stage.domains.at("rt").x, key = stage.domains.at("rt").y;
  RVar key_outer("key_outer"), key_inner("key_inner");
  Var y_inner("y_inner"), y_outer("y_outer");
  Func strongest = find(stage, "strongest");
  strongest.compute_root().align_bounds(y, lanes).vectorize(y, vector, kRoundUp);
  strongest.update()
      .split(y, y_outer, y_inner, vector, kRoundUp)
      .split(key, key_outer, key_inner, keys, TailStrategy::GuardWithIf)
      .reorder(y_inner, place, y_outer, key_inner, key_outer)
      .vectorize(y_inner);
  find(stage, "held").compute_root().vectorize(y, vector, kRoundUp);
  const LoopLevel level(strongest, key_outer);
  find(stage, "masked").compute_at(level).vectorize(y, vector, kRoundUp);
  schedule_pairs(stage, plan, params, level, keys, machine);
}

}  // namespace mha
