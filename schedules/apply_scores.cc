#include "schedules/apply_scores.h"

#include "schedules/prefetch.h"
#include "schedules/register_tile.h"
#include "schedules/stage_funcs.h"

namespace mha {

using Halide::Func;
using Halide::LoopLevel;
using Halide::RVar;
using Halide::TailStrategy;
using Halide::Var;
using Halide::VarOrRVar;

namespace {

const Var d("d"), e("e"), y("y"), x("x"), c("c"), m("m"), n("n");

}  // namespace

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

}  // namespace mha
