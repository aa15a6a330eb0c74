#include "schedules/apply_attention.h"

#include <Halide.h>

#include <algorithm>
#include <numeric>

#include "schedules/apply_scores.h"
#include "schedules/head_rows.h"
#include "schedules/prefetch.h"
#include "schedules/register_tile.h"
#include "schedules/stage_funcs.h"

namespace mha {

using Halide::Func;
using Halide::LoopLevel;
using Halide::MemoryType;
using Halide::RVar;
using Halide::TailStrategy;
using Halide::Var;
using Halide::VarOrRVar;

namespace {

const Var d("d"), e("e"), y("y"), c("c"), t("t");

// Blocks of keys that one block of queries can see at most.
int most_key_blocks(const Plan& plan, int query_block, int key_block) {
  const auto blocks = [&](int64_t keys) { return (keys + key_block - 1) / key_block; };
  const Attention& a = plan.attention;
  int64_t most = blocks(plan.keys().max);
  // A window that begins anywhere in its first block.
  if (a.left && a.right)
    most = std::clamp<int64_t>(blocks(query_block - 1 + *a.left + *a.right + 1 + key_block - 1), 1,
                               most);
  return static_cast<int>(most);
}

// A mask rule hides scores in a pass of its own.
bool scores_have_rule(Stage& stage) { return find(stage, "scores").num_update_definitions() > 1; }

// The keys at the ends of what a tile of the product with V sees whose neighbours it does not see.
void single_keys(Stage& stage, Func value_product, int vector) {
  for (int update = 1; update < value_product.num_update_definitions(); update++) {
    Var inner("inner");
    value_product.update(update)
        .split(d, d, inner, vector, kRoundUp)
        .reorder({inner, d, y, stage.domains.at("once" + std::to_string(update)).x})
        .vectorize(inner)
        .unroll(d)
        .unroll(y);
  }
}

// Two keys of a query side by side, which are computed one after the other and stored as one.
void pair_probabilities(Stage& stage, const LoopLevel& block, int group, int vector) {
  Var y_outer("y_outer"), y_inner("y_inner"), lane("lane");
  find(stage, "pair_probabilities")
      .compute_at(block)
      .align_bounds(y, group)
      .bound(e, 0, 2)
      .update()
      .split(y, y_outer, y_inner, group)
      .split(y_inner, y_inner, lane, vector)
      .reorder(e, lane, y_inner, stage.domains.at("rq").x, y_outer)
      .unroll(e)
      .vectorize(lane)
      .unroll(y_inner);
}

void sum_of_pairs(Stage& stage, int group, int vector) {
  Var y_outer("y_outer"), y_inner("y_inner"), lane("lane");
  Halide::RDom rl = stage.domains.at("rl");
  find(stage, "ones").compute_root().bound(e, 0, 2).unroll(e).store_in(MemoryType::Stack);
  find(stage, "block_sum")
      .update()
      .split(y, y_outer, y_inner, group)
      .split(y_inner, y_inner, lane, vector)
      .reorder(rl.x, lane, y_inner, rl.y, y_outer)
      .atomic()
      .vectorize(rl.x)
      .vectorize(lane)
      .unroll(y_inner)
      .unroll(rl.y, 2);
}

}  // namespace

void schedule_attention(Stage& stage, const Plan& plan, const StageSchedule& params,
                        const Machine& machine) {
  const int vector = machine.vector_floats;
  // Where the last block may be partly filled, queries are handled in the smallest groups that
  // whole tiles fill, and that block computes as many as it needs; else all of a block at once,
  // which is 1 % faster. With softmax_level 1 a group goes all the way from scores to partial
  // results before the next one begins.
  const int query_block = static_cast<int>(params.get("query_block"));
  const bool whole = plan.queries().fixed() && plan.queries().max % query_block == 0;
  const bool grouped = params.get("softmax_level") == 1;
  const int group = whole && !grouped
                        ? query_block
                        : std::lcm(static_cast<int>(params.get("query_vectors")) * vector,
                                   static_cast<int>(params.get("value_rows")));
  const int value_lanes = static_cast<int>(params.get("value_vectors")) * vector;
  const int value_rows = static_cast<int>(params.get("value_rows"));
  Halide::RDom rx = stage.domains.at("rx");
  const bool single = !stage.funcs.count("merged");
  const bool split = stage.funcs.count("split_partial") > 0;
  Func partial = find(stage, "partial");
  Func value_product = find(stage, "value_product");
  const bool pairs = stage.funcs.count("pair_probabilities") > 0;
  Func block_max = find(stage, "block_max"), block_sum = find(stage, "block_sum"),
       shift = find(stage, "shift");
  Func statistics = find(stage, "statistics");
  Var d_outer("d_outer"), d_inner("d_inner"), y_outer("y_outer"), y_inner("y_inner"),
      y_group("y_group"), y_rest("y_rest");

  schedule_head_rows(stage, plan, LoopLevel::root(), vector);
  transpose_queries(stage, plan.attention.d_head, vector);

  const bool width_inside = params.get("value_order") == 1;
  const Var inner_loop = width_inside ? d_outer : y_outer,
            outer_loop = width_inside ? y_outer : d_outer;
  std::vector<VarOrRVar> order = {d_inner, y_inner, inner_loop, outer_loop, c};
  if (grouped) order.insert(order.end() - 1, y_group);
  partial.compute_root().align_bounds(y, group);
  if (grouped) partial.split(y, y_group, y_rest, group, kRoundUp);
  partial.split(d, d_outer, d_inner, value_lanes, kRoundUp)
      .split(grouped ? y_rest : y, y_outer, y_inner, value_rows, kRoundUp)
      .reorder(order)
      .vectorize(d_inner, vector, kRoundUp)
      .unroll(d_inner)
      .unroll(y_inner);
  register_tile(value_product, LoopLevel(partial, inner_loop), d, y, stage.domains.at("rv"), vector,
                static_cast<int>(params.get("key_unroll")),
                pairs ? Products::kPairs : Products::kSingles);
  single_keys(stage, value_product, vector);
  // As many keys ahead as in the product with K, in whole steps.
  const int ahead = static_cast<int>(params.get("prefetch") * params.get("key_tile"));
  const int step = static_cast<int>(params.get("key_unroll"));
  Halide::RDom rv = stage.domains.at("rv");
  prefetch(value_product.update(), stage.streams.at("v"), pairs ? rv.y : rv.x,
           (ahead + step - 1) / step);

  LoopLevel block = LoopLevel::root();
  if (!single) {
    // Partial results and their statistics come out of the same pass over the key blocks.
    statistics.compute_root().align_bounds(y, group);
    if (grouped) {
      statistics.split(y, y_group, y_rest, group, kRoundUp)
          .reorder(y_rest, y_group, c)
          .vectorize(y_rest, vector, kRoundUp);
    } else {
      statistics.reorder(y, c).vectorize(y, vector, kRoundUp);
    }
    statistics.compute_with(partial, grouped ? y_group : c);
    block = LoopLevel(partial, grouped ? y_group : c);
  }
  schedule_scores(stage, block, params, vector);
  schedule_mask(stage, block, vector);
  // A group of queries over all keys of the block, in registers.
  auto over_keys = [&](Halide::Stage update, const RVar& key, int unroll) {
    update.split(y, y_outer, y_inner, group)
        .reorder(y_inner, key, y_outer)
        .vectorize(y_inner, vector)
        .unroll(y_inner);
    if (unroll > 1) update.unroll(key, unroll);
  };
  block_max.compute_at(block).align_bounds(y, group).vectorize(y, vector, kRoundUp);
  over_keys(block_max.update(), rx.x, 2);
  shift.compute_at(block).vectorize(y, vector, kRoundUp);
  if (stage.funcs.count("probabilities")) {
    Func probabilities = find(stage, "probabilities");
    probabilities.compute_at(block).align_bounds(y, group);
    over_keys(probabilities.update(), stage.domains.at("rp").x, 1);
  }
  if (pairs) pair_probabilities(stage, block, group, vector);
  block_sum.compute_at(block).align_bounds(y, group).vectorize(y, vector, kRoundUp);
  if (stage.funcs.count("ones")) {
    sum_of_pairs(stage, group, vector);
  } else {
    over_keys(block_sum.update(), rx.x, 2);
  }
  // One block at a time, which the two Funcs that share the loop over blocks hide.
  for (const char* name :
       {"scores", "block_max", "shift", "probabilities", "pair_probabilities", "block_sum"}) {
    if (!stage.funcs.count(name)) continue;
    Func held = find(stage, name);
    held.bound_extent(c, 1);
    if (grouped) held.bound_extent(y, group);
  }
  if (stage.funcs.count("mask")) find(stage, "mask").bound_extent(c, 1);

  if (scores_have_rule(stage)) {
    RVar rr = stage.domains.at("rr").x;
    find(stage, "scores").update(1).reorder(y, rr).vectorize(y, vector);
  }
  schedule_rules(stage, query_block, static_cast<int>(params.get("key_block")),
                 most_key_blocks(plan, query_block, static_cast<int>(params.get("key_block"))),
                 vector);
  if (!split) find(stage, "row_scale").compute_root().vectorize(y, vector, kRoundUp);
  if (!single) {
    RVar rc = stage.domains.at("rc").x;
    Func row_max = find(stage, "row_max"), row_sum = find(stage, "row_sum"),
         weight = find(stage, "merge_weight");
    Func merged = find(stage, "merged"), result = find(stage, "result");
    row_max.compute_root().align_bounds(y, group).vectorize(y, vector, kRoundUp);
    row_max.update().reorder(y, rc).vectorize(y, vector);
    weight.compute_root().vectorize(y, vector, kRoundUp);
    row_sum.compute_root().align_bounds(y, group).vectorize(y, vector, kRoundUp);
    row_sum.update().reorder(y, rc).vectorize(y, vector);
    result.compute_root().vectorize(d, vector, kRoundUp);
    merged.compute_at(result, y).vectorize(d, vector, kRoundUp);
    merged.update().reorder(d, rc).vectorize(d, vector, kRoundUp);
    const int vectors = static_cast<int>((plan.attention.d_value + vector - 1) / vector);
    if (vectors <= machine.vector_registers / 2) {
      // The whole row stays in registers over the blocks.
      merged.store_in(MemoryType::Register).unroll(d);
      merged.update().unroll(d);
      result.unroll(d);
    }
  }
  const int key_block = static_cast<int>(params.get("key_block"));
  const int key_blocks = split ? 1 : most_key_blocks(plan, query_block, key_block);
  bound_storage(stage, {"scores", "block_max", "shift", "probabilities", "block_sum"},
                grouped ? group : query_block, key_block, 1);
  bound_storage(stage, {"pair_probabilities"}, grouped ? group : query_block, key_block / 2, 1);
  bound_storage(stage, {"mask"}, grouped ? group : query_block,
                (key_block + vector - 1) / vector * vector, 1);
  bound_storage(
      stage,
      {"head_rows", "queries", "query_pairs", "partial", "statistics", "row_max", "merge_weight",
       "row_sum", "row_scale", "result", "lse_held", "row_max_out_held", "row_scale_out_held"},
      query_block, key_block, key_blocks);
  if (split) {
    find(stage, "split_partial").vectorize(d, vector);
    for (const char* name : {"split_max", "split_sum"})
      find(stage, name).vectorize(Var("r"), vector, TailStrategy::GuardWithIf);
    return;
  }
  find(stage, "output")
      .vectorize(d, vector,
                 plan.op == Op::kAttention && plan.attention.d_value % vector != 0
                     ? TailStrategy::GuardWithIf
                     : TailStrategy::Auto);
  for (const char* name : {"lse", "row_max_out", "row_scale_out"}) {
    if (!stage.funcs.count(name)) continue;
    find(stage, std::string(name) + "_held").compute_root().vectorize(y, vector, kRoundUp);
    find(stage, name).vectorize(t, vector, TailStrategy::GuardWithIf);
  }
}

}  // namespace mha
