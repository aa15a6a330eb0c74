#include "schedules/apply_decode.h"

#include <Halide.h>

#include <algorithm>
#include <numeric>

#include "generator/pipeline/head_groups.h"
#include "generator/pipeline/pipeline.h"
#include "schedules/head_rows.h"
#include "schedules/read_ahead.h"
#include "schedules/register_tile.h"
#include "schedules/stage_funcs.h"

namespace mha {

using Halide::Func;
using Halide::LoopLevel;
using Halide::MemoryType;
using Halide::RVar;
using Halide::TailStrategy;
using Halide::Var;

namespace {

const Var d("d"), e("e"), y("y"), x("x"), c("c"), t("t"), r("r");

int round_up(int64_t value, int64_t step) {
  return static_cast<int>((value + step - 1) / step * step);
}

// Panels of K, and as many keys of V, are read ahead.
void prefetch_pages(Stage& stage, const CacheInfo& cache, const StageSchedule& params) {
  const int ahead = static_cast<int>(params.get("prefetch")),
            panels = static_cast<int>(params.get("panels"));
  const int steps = (ahead + panels - 1) / panels;
  const auto keys_of = [&](int count, int64_t width) {
    return static_cast<int>(count * kCachePanel * width);
  };
  read_ahead(stage.pipeline, {stage.streams.at("k").name(), find(stage, "scores").name(),
                              "rc_outer", steps, keys_of(steps * panels, cache.d_head_padded)});
  read_ahead(stage.pipeline,
             {stage.streams.at("v").name(), find(stage, "value_product").name(),
              stage.domains.at("rb").x.name(), ahead, keys_of(ahead, cache.d_value_padded)});
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
  const RVar rc = stage.domains.at("rc").x, rl = stage.domains.at("rl").x;
  const Products products =
      stage.funcs.count("query_pairs") ? Products::kPairs : Products::kSingles;
  Var x_inner("x_inner"), y_outer("y_outer"), y_inner("y_inner"), d_outer("d_outer"),
      d_inner("d_inner");
  RVar rc_outer("rc_outer"), rc_inner("rc_inner");

  Func queries = find(stage, "query_rows");
  queries.compute_root().bound_storage(y, most_rows).align_bounds(y, row_tile);
  queries.vectorize(d, vector, a.d_head % vector == 0 ? kRoundUp : TailStrategy::GuardWithIf);
  if (stage.funcs.count("query_pairs")) {
    const bool whole_vectors = (a.d_head + 1) / 2 % vector == 0;
    find(stage, "query_pairs")
        .compute_root()
        .reorder_storage(e, d, y)
        .bound(e, 0, 2)
        .bound_storage(y, most_rows)
        .align_bounds(y, row_tile)
        .reorder(e, d, y)
        .unroll(e)
        .vectorize(d, vector, whole_vectors ? kRoundUp : TailStrategy::GuardWithIf);
  }
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
  register_tile(product, LoopLevel(scores, y_outer), x, {c, y}, stage.domains.at("rd"), lanes,
                static_cast<int>(params.get("width_unroll")), products);

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
  for (const char* name : {"probabilities", "pair_probabilities"}) {
    if (!stage.funcs.count(name)) continue;
    Func probabilities = find(stage, name);
    probabilities.compute_root().align_bounds(y, row_tile);
    probabilities.update()
        .split(x, x, x_inner, lanes)
        .reorder({x_inner, x, rc, y})
        .vectorize(x_inner)
        .unroll(x);
  }
  for (const char* name : {"lane_max", "lane_sum", "block_max", "block_sum", "shift"})
    find(stage, name).bound_storage(y, most_rows).align_bounds(y, row_tile);
  for (const char* name : {"scores", "probabilities", "pair_probabilities"}) {
    if (!stage.funcs.count(name)) continue;
    find(stage, name)
        .bound_storage(y, most_rows)
        .bound_extent(x, kCachePanel)
        .bound_storage(c, split / kCachePanel);
  }

  // A block of keys after the other: its products are summed up in registers, for some rows and
  // some of V's width at a time, and added to those of the blocks before.
  Func value_product = find(stage, "value_product");
  const RVar rb = stage.domains.at("rb").x;
  find(stage, "partial").vectorize(d, vector, kRoundUp);
  value_product.compute_root()
      .bound_storage(y, most_rows)
      .align_bounds(y, row_tile)
      .vectorize(d, vector, kRoundUp)
      .update()
      .split(d, d_outer, d_inner, value_lanes)
      .split(y, y_outer, y_inner, value_rows)
      .reorder({d_inner, y_inner, y_outer, d_outer, rb})
      .vectorize(d_inner, vector)
      .unroll(d_inner)
      .unroll(y_inner);
  for (int update = 1; update < value_product.num_update_definitions(); update++) {
    value_product.update(update)
        .reorder({d, y, stage.domains.at("once" + std::to_string(update)).x})
        .vectorize(d, vector);
  }
  Func block_product = find(stage, "block_product");
  block_product.bound_extent(d, value_lanes)
      .bound_extent(y, value_rows)
      .bound_extent(block_product.args()[2], 1);
  register_tile(block_product, LoopLevel(value_product, y_outer), d, {y}, stage.domains.at("rv"),
                vector, static_cast<int>(params.get("key_unroll")), products);
  if (!shared) prefetch_pages(stage, cache_info(plan), params);
}

void schedule_merge(Stage& stage, const Plan& plan, int split, const Machine& machine) {
  const int vector = machine.vector_floats;
  const int queries = static_cast<int>(plan.query_length.max);
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
