// Schedule -> Halide directives. One function a kind of stage; Funcs are found by the names that
// generator/pipeline gives them. Every inner loop has constant bounds: remainders are met by padded
// buffers and clamped loads.
#include "schedules/apply.h"

#include <Halide.h>

#include <algorithm>
#include <numeric>

#include "generator/pipeline/pipeline.h"
#include "schedules/apply_decode.h"
#include "schedules/head_rows.h"
#include "schedules/prefetch.h"
#include "schedules/space.h"
#include "schedules/stage_funcs.h"
#include "schedules/whole_pairs.h"

namespace mha {

using Halide::Func;
using Halide::LoopLevel;
using Halide::MemoryType;
using Halide::RVar;
using Halide::TailStrategy;
using Halide::Var;
using Halide::VarOrRVar;

namespace {

const Var d("d"), e("e"), y("y"), x("x"), c("c"), t("t"), h("h"), b("b"), i("i"), j("j"), m("m"),
    n("n");

// A register tile: `product` accumulates over `k` in registers at `level` of its consumer;
// dimension `lanes` is in vectors, `other` beside it. Loads of one step: vectors of lanes + scalars
// of other, for lanes * other FMAs. Of pairs k[0] is the place in the pair and k[1] goes over the
// steps: their halves are multiplied one after the other, or, where the machine multiplies them
// whole, by a reduction over the lanes of a vector of pairs.
void register_tile(Func product, const LoopLevel& level, const Var& lanes, const Var& other,
                   const Halide::RDom& k, int vector, int unroll,
                   Products products = Products::kSingles) {
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

// Allocations get constant extents, so that the workspace can be sized: no Func holds more than the
// queries of a task, nor more than this many keys or key blocks.
void bound_storage(Stage& stage, std::initializer_list<const char*> names, int query_block,
                   int keys, int key_blocks) {
  for (const char* name : names) {
    if (!stage.funcs.count(name)) continue;
    Func held = find(stage, name);
    for (const Var& dimension : held.args()) {
      if (dimension.name() == "y") held.bound_storage(y, query_block);
      if (dimension.name() == "x") held.bound_storage(x, keys);
      if (dimension.name() == "c") held.bound_storage(c, key_blocks);
    }
  }
}

// queries[d][y] from rows [y][d]: vector x vector tiles that are read as rows and stored as
// columns. Pairs of columns are then stored as one.
void transpose_queries(Stage& stage, int64_t width, int vector) {
  if (stage.funcs.count("query_pairs")) {
    find(stage, "query_pairs")
        .compute_root()
        .bound(e, 0, 2)
        .reorder(e, y, d)
        .unroll(e)
        .vectorize(y, vector, kRoundUp);
  }
  Func queries = find(stage, "queries"), rows = find(stage, "query_rows");
  queries.compute_root();
  if (width % vector != 0) {
    queries.vectorize(y, vector, kRoundUp);
    return;
  }
  Var d_outer("d_outer"), d_inner("d_inner"), y_outer("y_outer"), y_inner("y_inner");
  queries.split(d, d_outer, d_inner, vector, kRoundUp)
      .split(y, y_outer, y_inner, vector, kRoundUp)
      .reorder(y_inner, d_inner, d_outer, y_outer)
      .vectorize(y_inner)
      .unroll(d_inner);
  rows.compute_at(queries, d_outer).vectorize(d).unroll(y);
}

// S^T tiles of key_tile keys x query_vectors vectors of queries.
void schedule_scores(Stage& stage, const LoopLevel& level, const StageSchedule& params,
                     int vector) {
  Func scores = find(stage, "scores"), product = find(stage, "product");
  const int key_tile = static_cast<int>(params.get("key_tile"));
  const int lanes = static_cast<int>(params.get("query_vectors")) * vector;
  Var x_outer("x_outer"), x_inner("x_inner"), y_outer("y_outer"), y_inner("y_inner");
  scores.compute_at(level);
  if (scores.has_update_definition()) scores.align_bounds(y, lanes);
  const bool queries_inside = params.get("score_order") == 1;
  LoopLevel tile;
  if (scores.has_update_definition()) {
    RVar rs = stage.domains.at("rs").x, rs_outer("rs_outer"), rs_inner("rs_inner");
    scores.update()
        .split(rs, rs_outer, rs_inner, key_tile)
        .split(y, y_outer, y_inner, lanes)
        .reorder({y_inner, rs_inner, queries_inside ? VarOrRVar(y_outer) : VarOrRVar(rs_outer),
                  queries_inside ? VarOrRVar(rs_outer) : VarOrRVar(y_outer)})
        .vectorize(y_inner, vector)
        .unroll(y_inner)
        .unroll(rs_inner);
    tile = queries_inside ? LoopLevel(scores, y_outer) : LoopLevel(scores, rs_outer);
    prefetch(scores.update(), stage.streams.at("k"), rs_outer,
             static_cast<int>(params.get("prefetch")));
  } else {
    scores.split(x, x_outer, x_inner, key_tile, kRoundUp)
        .split(y, y_outer, y_inner, lanes, kRoundUp)
        .reorder({y_inner, x_inner, queries_inside ? y_outer : x_outer,
                  queries_inside ? x_outer : y_outer})
        .vectorize(y_inner, vector, kRoundUp)
        .unroll(y_inner)
        .unroll(x_inner);
    tile = LoopLevel(scores, queries_inside ? y_outer : x_outer);
  }
  // One tile of one block, which the clamp of key rows can hide.
  product.bound_extent(x, key_tile).bound_extent(c, 1);
  register_tile(product, tile, y, x, stage.domains.at("rd"), vector,
                static_cast<int>(params.get("width_unroll")),
                stage.funcs.count("query_pairs") ? Products::kPairs : Products::kSingles);
}

// The mask of a block of scores, from rows along the keys to columns along the queries.
void schedule_mask(Stage& stage, const LoopLevel& level, int vector) {
  if (!stage.funcs.count("mask")) return;
  Func mask = find(stage, "mask"), rows = find(stage, "mask_rows");
  Var x_outer("x_outer"), x_inner("x_inner"), y_outer("y_outer"), y_inner("y_inner");
  mask.compute_at(level)
      .split(x, x_outer, x_inner, vector, kRoundUp)
      .split(y, y_outer, y_inner, vector, kRoundUp)
      .reorder(y_inner, x_inner, x_outer, y_outer)
      .vectorize(y_inner)
      .unroll(x_inner);
  rows.compute_at(mask, x_outer).vectorize(x, vector, kRoundUp).unroll(y);
  rows.specialize(stage.dense_mask);
}

// What rules hold once a task: parts that only the query decides, and which blocks of keys a mask
// rule shows.
void schedule_rules(Stage& stage, int query_block, int key_block, int key_blocks, int vector) {
  const int key_groups = (key_block / 16 + 3) / 4 * 4;
  for (auto& [name, func] : stage.funcs) {
    const bool row_term = name.starts_with("row_term");
    if (!row_term && !name.starts_with("block_")) continue;
    if (name == "block_max" || name == "block_sum") continue;
    func.compute_root();
    if (row_term) func.vectorize(y, vector, kRoundUp).bound_storage(y, query_block);
    for (const Var& dimension : func.args()) {
      if (dimension.name() == "m") func.bound_storage(m, key_groups);
      if (dimension.name() == "n") func.bound_storage(n, key_blocks + 1);
    }
    if (name == "block_may" || name == "block_must") func.vectorize(m, 4, kRoundUp);
    // A group of 16 keys, or as many queries at a time.
    if (name.starts_with("block_extremes"))
      func.update().atomic().vectorize(func.rvars(0).back(), 16);
  }
}

// Keys of a step of the stages over pairs.
int keys_at_once(const StageSchedule& params, const Machine& machine) {
  return std::lcm(8 * static_cast<int>(params.get("key_tile")), machine.vector_floats);
}

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
  Func output = find(stage, "output"), partial = find(stage, "partial"),
       row_scale = find(stage, "row_scale");
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
  row_scale.compute_root().vectorize(y, vector, kRoundUp);
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
  const int key_blocks = most_key_blocks(plan, query_block, key_block);
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
  output.vectorize(d, vector,
                   plan.op == Op::kAttention && plan.attention.d_value % vector != 0
                       ? TailStrategy::GuardWithIf
                       : TailStrategy::Auto);
  for (const char* name : {"lse", "row_max_out", "row_scale_out"}) {
    if (!stage.funcs.count(name)) continue;
    find(stage, std::string(name) + "_held").compute_root().vectorize(y, vector, kRoundUp);
    find(stage, name).vectorize(t, vector, TailStrategy::GuardWithIf);
  }
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

// weights, scores, scores_masked, mean_weights: keys of a row lie next to each other.
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

void schedule_pack(Stage& stage, const Plan& plan, const Machine& machine) {
  Func output = find(stage, "output");
  if (stage.pairs) output.split(d, d, e, 2).reorder(e, d).unroll(e);
  output.vectorize(d, machine.vector_floats, TailStrategy::GuardWithIf);
  schedule_head_rows(stage, plan, LoopLevel(output, t), machine.vector_floats);
}

// Zeros, whatever the dimensions.
void schedule_zero(Stage& stage, const Machine& machine) {
  Func output = find(stage, "output");
  output.vectorize(output.args()[0], machine.vector_floats, TailStrategy::GuardWithIf);
}

// Steps over the depth: numbers or pairs of them.
RVar depth_of(const Stage& stage) {
  return stage.domains.at("rk")[stage.products == Products::kSingles ? 0 : 1];
}

// The rows of a tile as they are multiplied, at `level`.
void schedule_input_rows(Stage& stage, const LoopLevel& level, int row_tile, int vector) {
  if (!stage.funcs.count("input_rows")) return;
  Func held = find(stage, "input_rows");
  held.compute_at(level).bound(j, 0, row_tile).bound_extent(Var("rows"), 1);
  if (!held.has_update_definition()) {
    held.vectorize(d, vector, TailStrategy::GuardWithIf);
    return;
  }
  held.vectorize(d, vector, kRoundUp);
  held.update().vectorize(stage.domains.at("ro").x, vector, TailStrategy::GuardWithIf);
}

void schedule_projection(Stage& stage, const StageSchedule& params, const Machine& machine,
                         bool exact) {
  const int vector = machine.vector_floats;
  const int row_tile = static_cast<int>(params.get("row_tile"));
  const int panel = static_cast<int>(params.get("panel_vectors")) * vector;
  Func output = find(stage, "output"), tile = find(stage, "tile"), product = find(stage, "product");
  Var column = output.args()[0], row = stage.batch_rows ? b : t, t_outer("t_outer"),
      t_inner("t_inner"), c_outer("c_outer"), c_inner("c_inner");
  const bool rows_inside = params.get("loop_order") == 1;
  const TailStrategy tail = exact ? kRoundUp : TailStrategy::GuardWithIf;
  output.split(column, c_outer, c_inner, panel, tail)
      .split(row, t_outer, t_inner, row_tile, tail)
      .reorder({c_inner, t_inner, rows_inside ? t_outer : c_outer, rows_inside ? c_outer : t_outer})
      .vectorize(c_inner, vector, tail);
  // One whole tile at a time, which the divisions in output's definition hide where the tile is no
  // power of two.
  product.bound(i, 0, panel).bound(j, 0, row_tile).bound_extent(Var("rows"), 1);
  product.bound_extent(Var("p"), 1);
  LoopLevel level(output, rows_inside ? t_outer : c_outer);
  schedule_input_rows(stage, LoopLevel(output, t_outer), row_tile, vector);
  if (exact) {
    output.unroll(c_inner).unroll(t_inner);
  } else {
    // Whole tiles are computed, and only what exists is stored.
    tile.bound(i, 0, panel).bound(j, 0, row_tile).bound_extent(Var("rows"), 1);
    tile.bound_extent(Var("p"), 1);
    tile.compute_at(level).vectorize(i, vector, kRoundUp).unroll(i).unroll(j);
    level = LoopLevel(tile, Var::outermost());
    tile.store_in(MemoryType::Stack);
  }
  register_tile(product, level, i, j, stage.domains.at("rk"), vector,
                static_cast<int>(params.get("depth_unroll")), stage.products);
  prefetch(product.update(), stage.streams.at("weights"), depth_of(stage),
           static_cast<int>(params.get("prefetch")));
}

}  // namespace

void apply_schedule(Program& program, const Plan& plan, const Schedule& schedule,
                    const Machine& machine) {
  for (Stage& stage : program.stages) {
    if (stage.funcs.count("query_pairs")) store_whole_pairs(stage.pipeline);
    if (stage.name == "attention" && !stage.funcs.count("partial")) {
      continue;  // the textbook's, which is arranged elsewhere
    } else if (stage.name == "attention") {
      schedule_attention(stage, plan, schedule.stage("attention"), machine);
      if (schedule.stage("attention").get("prefetch") > 0) unroll_prefetches(stage.pipeline);
    } else if (stage.name.rfind("append_", 0) == 0) {
      schedule_append(stage, plan, machine);
    } else if (stage.name.rfind("decode", 0) == 0) {
      schedule_decode(stage, plan, schedule.stage("decode"), machine);
    } else if (stage.name == "merge") {
      schedule_merge(stage, plan, schedule.stage("decode"), machine);
    } else if (stage.name == "top_k") {
      schedule_top(stage, plan, schedule.stage("attention"), machine);
    } else if (stage.funcs.count("scores")) {
      schedule_rows(stage, plan, schedule.stage("attention"), machine);
    } else if (stage.name.rfind("pack_", 0) == 0) {
      schedule_pack(stage, plan, machine);
    } else if (stage.name.rfind("norm_", 0) == 0) {
      schedule_norms(stage, machine.vector_floats);
    } else if (stage.name.rfind("zero_", 0) == 0) {
      schedule_zero(stage, machine);
    } else {
      const StageSchedule& params = schedule.stage(stage.name);
      const int64_t panel = params.get("panel_vectors") * machine.vector_floats;
      // Buffers in the workspace are padded to whole tiles; the caller's tensors are not.
      const bool to_workspace = stage.name != "project_out";
      const Range rows = stage.batch_rows ? plan.batch : plan.query_length;
      const bool exact =
          to_workspace || (!plan.packed && rows.fixed() && plan.d_model % panel == 0 &&
                           rows.max % params.get("row_tile") == 0);
      schedule_projection(stage, params, machine, exact);
      if (params.get("prefetch") > 0) unroll_prefetches(stage.pipeline);
    }
  }
}

}  // namespace mha
