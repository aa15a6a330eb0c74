#include "schedules/apply_decode.h"

#include <Halide.h>

#include <algorithm>
#include <numeric>

#include "generator/pipeline/head_groups.h"
#include "generator/pipeline/pipeline.h"
#include "schedules/head_rows.h"
#include "schedules/prefetch.h"
#include "schedules/stage_funcs.h"

namespace mha {

using Halide::Func;
using Halide::LoopLevel;
using Halide::MemoryType;
using Halide::RVar;
using Halide::TailStrategy;
using Halide::Var;

namespace {

const Var d("d"), y("y"), x("x"), c("c"), t("t"), r("r");

int round_up(int64_t value, int64_t step) {
  return static_cast<int>((value + step - 1) / step * step);
}

}  // namespace

void schedule_append(Stage& stage, const Plan& plan, const Machine& machine) {
  Func output = find(stage, "output");
  RVar width = stage.domains.at("rt").x;
  // Each element has a place of its own, which the page table hides.
  output.update().allow_race_conditions().vectorize(width, machine.vector_floats,
                                                    TailStrategy::GuardWithIf);
  schedule_head_rows(stage, plan, LoopLevel(output, stage.domains.at("rt").y),
                     machine.vector_floats);
}

void schedule_decode(Stage& stage, const Plan& plan, const StageSchedule& params,
                     const Machine& machine) {
  const int vector = machine.vector_floats, lanes = std::min(vector, kCachePanel);
  const bool shared = stage.name == "decode_shared";
  const int score_rows = static_cast<int>(params.get(shared ? "shared_rows" : "score_rows"));
  const int value_rows = static_cast<int>(params.get(shared ? "shared_rows" : "value_rows"));
  const int row_tile = std::lcm(score_rows, value_rows);  // what both kinds of tiles fill
  const int panels = static_cast<int>(params.get(shared ? "shared_panels" : "panels"));
  const int split = static_cast<int>(params.get("split"));
  const int value_lanes =
      static_cast<int>(params.get(shared ? "shared_vectors" : "value_vectors")) * vector;
  const Attention& a = plan.attention;
  const int64_t group = head_groups(a).rows;
  const int64_t sequences = shared ? plan.batch.max : 1;
  const int most_rows = round_up(sequences * plan.query_length.max * group, row_tile);
  const bool fixed = plan.queries().fixed() && (!shared || plan.batch.fixed());
  const bool whole = fixed && sequences * plan.query_length.max * group % value_rows == 0;
  const RVar rc = stage.domains.at("rc").x, rd = stage.domains.at("rd").x,
             rl = stage.domains.at("rl").x, rv = stage.domains.at("rv").x;
  Var x_inner("x_inner"), y_outer("y_outer"), y_inner("y_inner"), d_outer("d_outer"),
      d_inner("d_inner"), r_outer("r_outer"), r_inner("r_inner"), lane("lane");
  RVar rc_outer("rc_outer"), rc_inner("rc_inner");

  Func queries = find(stage, "query_rows");
  queries.compute_root().bound_storage(y, most_rows).align_bounds(y, row_tile);
  queries.vectorize(d, vector, a.d_head % vector == 0 ? kRoundUp : TailStrategy::GuardWithIf);
  schedule_head_rows(stage, plan, LoopLevel::root(), vector);
  if (stage.funcs.count("head_rows")) find(stage, "head_rows").bound_storage(y, most_rows);
  if (stage.funcs.count("sequence_of_row")) {
    find(stage, "sequence_of_row").compute_root().bound_storage(y, most_rows);
  }

  // Tiles of some panels x some rows; the rows that share the panels one tile after another.
  Func scores = find(stage, "scores"), product = find(stage, "product");
  scores.compute_root().align_bounds(y, row_tile);
  scores.update()
      .split(rc, rc_outer, rc_inner, panels)
      .split(y, y_outer, y_inner, score_rows)
      .split(x, x, x_inner, lanes)
      .reorder({x_inner, x, rc_inner, y_inner, y_outer, rc_outer})
      .vectorize(x_inner)
      .unroll(x)
      .unroll(rc_inner)
      .unroll(y_inner);
  product.bound_extent(x, kCachePanel).bound_extent(c, panels).bound_extent(y, score_rows);
  product.compute_at(scores, y_outer)
      .store_in(MemoryType::Register)
      .vectorize(x, lanes, kRoundUp)
      .unroll(x)
      .unroll(c)
      .unroll(y);
  product.update()
      .split(x, x, x_inner, lanes, kRoundUp)
      .reorder({x_inner, x, c, y, rd})
      .vectorize(x_inner)
      .unroll(x)
      .unroll(c)
      .unroll(y);
  const int width_unroll = static_cast<int>(params.get("width_unroll"));
  if (width_unroll > 1) product.update().unroll(rd, width_unroll);

  for (const char* name : {"lane_max", "lane_sum"}) {
    Func over_panels = find(stage, name);
    over_panels.compute_root().bound_extent(x, kCachePanel).vectorize(x, lanes, kRoundUp).unroll(x);
    over_panels.update()
        .split(x, x, x_inner, lanes)
        .reorder({x_inner, x, rc, y})
        .vectorize(x_inner)
        .unroll(x);
  }
  for (const char* name : {"block_max", "block_sum"}) {
    Func over_lanes = find(stage, name);
    over_lanes.compute_root();
    over_lanes.update().atomic().vectorize(rl);
  }
  find(stage, "shift").compute_root();
  Func probabilities = find(stage, "probabilities");
  probabilities.compute_root().align_bounds(y, row_tile);
  probabilities.update()
      .split(x, x, x_inner, lanes)
      .reorder({x_inner, x, rc, y})
      .vectorize(x_inner)
      .unroll(x);
  for (const char* name :
       {"scores", "lane_max", "lane_sum", "block_max", "block_sum", "shift", "probabilities"}) {
    Func held = find(stage, name);
    held.bound_storage(y, most_rows);
    if (std::string(name) != "scores" && std::string(name) != "probabilities") {
      held.align_bounds(y, row_tile);
    } else {
      held.bound_extent(x, kCachePanel).bound_storage(c, split / kCachePanel);
    }
  }

  Func partial = find(stage, "partial"), value_product = find(stage, "value_product");
  partial.split(d, d_outer, d_inner, value_lanes, kRoundUp)
      .split(r, r_outer, r_inner, value_rows, whole ? kRoundUp : TailStrategy::GuardWithIf)
      .reorder(d_inner, r_inner, r_outer, d_outer)
      .vectorize(d_inner, vector, kRoundUp)
      .unroll(d_inner)
      .unroll(r_inner);
  value_product.bound_extent(d, value_lanes).bound_extent(y, value_rows);
  value_product.compute_at(partial, r_outer)
      .store_in(MemoryType::Register)
      .vectorize(d, vector, kRoundUp)
      .unroll(d)
      .unroll(y);
  value_product.update()
      .split(d, d, lane, vector, kRoundUp)
      .reorder({lane, d, y, rv})
      .vectorize(lane)
      .unroll(d)
      .unroll(y);
  const int key_unroll = static_cast<int>(params.get("key_unroll"));
  if (key_unroll > 1) value_product.update().unroll(rv, key_unroll);
}

void schedule_merge(Stage& stage, const Plan& plan, const StageSchedule& params,
                    const Machine& machine) {
  const int vector = machine.vector_floats;
  const int queries = static_cast<int>(plan.query_length.max);
  const int split = static_cast<int>(params.get("split"));
  const RVar rc = stage.domains.at("rc").x;
  Func output = find(stage, "output"), result = find(stage, "result"),
       merged = find(stage, "merged");
  for (const char* name : {"row_max", "row_sum", "row_scale", "merge_weight", "lse_held",
                           "row_max_out_held", "row_scale_out_held", "result"}) {
    if (!stage.funcs.count(name)) continue;
    Func held = find(stage, name);
    held.compute_root().bound_storage(y, queries);
  }
  find(stage, "merge_weight").bound_storage(c, round_up(plan.keys().max, split) / split);
  result.vectorize(d, vector, kRoundUp);
  merged.compute_at(result, y).vectorize(d, vector, kRoundUp);
  merged.update().reorder(d, rc).vectorize(d, vector, kRoundUp);
  const int vectors = round_up(plan.attention.d_value, vector) / vector;
  if (vectors <= machine.vector_registers / 2) {
    merged.store_in(MemoryType::Register).unroll(d);
    merged.update().unroll(d);
    result.unroll(d);
  }
  output.vectorize(d, vector,
                   plan.op == Op::kAttention && plan.attention.d_value % vector != 0
                       ? TailStrategy::GuardWithIf
                       : TailStrategy::Auto);
}

}  // namespace mha
