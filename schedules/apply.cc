// Schedule -> Halide directives. One function a kind of stage; Funcs are found by the names that
// generator/pipeline gives them. Every inner loop has constant bounds: remainders are met by padded
// buffers and clamped loads.
#include <Halide.h>

#include <algorithm>

#include "generator/pipeline/pipeline.h"
#include "generator/spec/error.h"
#include "schedules/space.h"

namespace mha {

using Halide::Func;
using Halide::LoopLevel;
using Halide::MemoryType;
using Halide::RVar;
using Halide::TailStrategy;
using Halide::Var;

namespace {

Func find(Stage& stage, const std::string& name) {
  auto it = stage.funcs.find(name);
  if (it == stage.funcs.end()) throw InternalError("stage " + stage.name + " has no Func " + name);
  return it->second;
}

// Funcs inside a stage are computed in whole tiles (their buffers and operands are padded);
// Halide's default would shift the last tile inwards, onto other rows and off the alignment.
constexpr TailStrategy kRoundUp = TailStrategy::RoundUp;

const Var d("d"), y("y"), x("x"), c("c"), t("t"), h("h"), b("b"), i("i"), j("j"), n("n");

// A register tile: `product` accumulates over `k` in registers at `level` of its consumer;
// dimension `lanes` is in vectors, `other` beside it. Loads of one step: vectors of lanes + scalars
// of other, for lanes * other FMAs.
void register_tile(Func product, const LoopLevel& level, const Var& lanes, const Var& other,
                   const Halide::RDom& k, int vector, int unroll) {
  Var inner("inner");
  product.compute_at(level)
      .store_in(MemoryType::Register)
      .vectorize(lanes, vector, kRoundUp)
      .unroll(lanes)
      .unroll(other);
  std::vector<Halide::VarOrRVar> order = {inner, lanes, other};
  for (int dimension = 0; dimension < k.dimensions(); dimension++) order.push_back(k[dimension]);
  product.update()
      .split(lanes, lanes, inner, vector, kRoundUp)
      .reorder(order)
      .vectorize(inner)
      .unroll(lanes)
      .unroll(other);
  if (unroll > 1) product.update().unroll(k.x, unroll);
}

// queries[d][y] from rows [y][d]: vector x vector tiles that are read as rows and stored as
// columns.
void transpose_queries(Stage& stage, int64_t width, int vector) {
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
  LoopLevel tile;
  if (scores.has_update_definition()) {
    RVar rs = stage.domains.at("rs").x, rs_outer("rs_outer"), rs_inner("rs_inner");
    scores.update()
        .split(rs, rs_outer, rs_inner, key_tile)
        .split(y, y_outer, y_inner, lanes)
        .reorder(y_inner, rs_inner, rs_outer, y_outer)
        .vectorize(y_inner, vector)
        .unroll(y_inner)
        .unroll(rs_inner);
    tile = LoopLevel(scores, rs_outer);
  } else {
    scores.split(x, x_outer, x_inner, key_tile, kRoundUp)
        .split(y, y_outer, y_inner, lanes, kRoundUp)
        .reorder(y_inner, x_inner, x_outer, y_outer)
        .vectorize(y_inner, vector, kRoundUp)
        .unroll(y_inner)
        .unroll(x_inner);
    tile = LoopLevel(scores, x_outer);
  }
  // One tile of one block, which the clamp of key rows can hide.
  product.bound_extent(x, key_tile).bound_extent(c, 1);
  register_tile(product, tile, y, x, stage.domains.at("rd"), vector,
                static_cast<int>(params.get("width_unroll")));
}

void schedule_attention(Stage& stage, const Plan& plan, const StageSchedule& params,
                        const Machine& machine) {
  const int vector = machine.vector_floats;
  const int query_block = static_cast<int>(params.get("query_block"));
  const int value_lanes = static_cast<int>(params.get("value_vectors")) * vector;
  const int value_rows = static_cast<int>(params.get("value_rows"));
  Halide::RDom rx = stage.domains.at("rx");
  const bool single = !stage.funcs.count("merged");
  Func output = find(stage, "output"), partial = find(stage, "partial"),
       row_scale = find(stage, "row_scale");
  Func value_product = find(stage, "value_product"), probabilities = find(stage, "probabilities");
  Func block_max = find(stage, "block_max"), block_sum = find(stage, "block_sum"),
       shift = find(stage, "shift");
  Func statistics = find(stage, "statistics");
  Var d_outer("d_outer"), d_inner("d_inner"), y_outer("y_outer"), y_inner("y_inner");

  transpose_queries(stage, plan.attention.d_head, vector);

  partial.compute_root()
      .split(d, d_outer, d_inner, value_lanes, kRoundUp)
      .split(y, y_outer, y_inner, value_rows, kRoundUp)
      .reorder(d_inner, y_inner, y_outer, d_outer, c)
      .vectorize(d_inner, vector, kRoundUp)
      .unroll(d_inner)
      .unroll(y_inner);
  register_tile(value_product, LoopLevel(partial, y_outer), d, y, stage.domains.at("rv"), vector,
                static_cast<int>(params.get("key_unroll")));

  LoopLevel block = LoopLevel::root();
  if (!single) {
    // Partial results and their statistics come out of the same pass over the key blocks.
    statistics.compute_root()
        .reorder(y, c)
        .vectorize(y, vector, kRoundUp)
        .unroll(y)
        .compute_with(partial, c);
    block = LoopLevel(partial, c);
  }
  schedule_scores(stage, block, params, vector);
  block_max.compute_at(block).vectorize(y, vector, kRoundUp);
  block_max.update().reorder(y, rx.x).vectorize(y, vector, kRoundUp).unroll(y).unroll(rx.x, 2);
  shift.compute_at(block).vectorize(y, vector, kRoundUp);
  probabilities.compute_at(block);
  probabilities.update().reorder(y, stage.domains.at("rp").x).vectorize(y, vector).unroll(y);
  block_sum.compute_at(block).vectorize(y, vector, kRoundUp);
  block_sum.update().reorder(y, rx.x).vectorize(y, vector, kRoundUp).unroll(y).unroll(rx.x, 2);

  row_scale.compute_root().vectorize(y, vector, kRoundUp);
  if (!single) {
    RVar rc = stage.domains.at("rc").x;
    Func row_max = find(stage, "row_max"), row_sum = find(stage, "row_sum"),
         weight = find(stage, "merge_weight");
    Func merged = find(stage, "merged"), result = find(stage, "result");
    row_max.compute_root().vectorize(y, vector, kRoundUp);
    row_max.update().reorder(y, rc).vectorize(y, vector, kRoundUp);
    weight.compute_root().vectorize(y, vector, kRoundUp);
    row_sum.compute_root().vectorize(y, vector, kRoundUp);
    row_sum.update().reorder(y, rc).vectorize(y, vector, kRoundUp);
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
  (void)query_block;
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

void schedule_weights(Stage& stage, const Plan& plan, const StageSchedule& params,
                      const Machine& machine) {
  const int vector = machine.vector_floats;
  Func output = find(stage, "output"), normalised = find(stage, "normalised");
  Var x_outer("x_outer"), x_inner("x_inner");
  transpose_queries(stage, plan.attention.d_head, vector);
  find(stage, "row_max").compute_root().vectorize(y, vector, kRoundUp);
  find(stage, "row_scale").compute_root().vectorize(y, vector, kRoundUp);
  const int keys = 8 * static_cast<int>(params.get("key_tile"));
  output.split(x, x_outer, x_inner, keys, TailStrategy::GuardWithIf)
      .reorder(x_inner, t, x_outer, h, b)
      .vectorize(x_inner, vector, TailStrategy::GuardWithIf);
  normalised.compute_at(output, x_outer).vectorize(y, vector, kRoundUp);
  schedule_scores(stage, LoopLevel(output, x_outer), params, vector);
}

void schedule_pack(Stage& stage, const Machine& machine) {
  find(stage, "output").vectorize(d, machine.vector_floats, TailStrategy::GuardWithIf);
}

void schedule_projection(Stage& stage, const StageSchedule& params, const Machine& machine,
                         bool exact) {
  const int vector = machine.vector_floats;
  const int row_tile = static_cast<int>(params.get("row_tile"));
  const int panel = static_cast<int>(params.get("panel_vectors")) * vector;
  Func output = find(stage, "output"), tile = find(stage, "tile"), product = find(stage, "product");
  Var column = output.args()[0], t_outer("t_outer"), t_inner("t_inner"), c_outer("c_outer"),
      c_inner("c_inner");
  const TailStrategy tail = exact ? kRoundUp : TailStrategy::GuardWithIf;
  output.split(column, c_outer, c_inner, panel, tail)
      .split(t, t_outer, t_inner, row_tile, tail)
      .reorder(c_inner, t_inner, t_outer, c_outer)
      .vectorize(c_inner, vector, tail);
  // One whole tile at a time, which the divisions in output's definition hide where the tile is no
  // power of two.
  product.bound(i, 0, panel).bound(j, 0, row_tile).bound_extent(Var("rows"), 1);
  LoopLevel level(output, t_outer);
  if (exact) {
    output.unroll(c_inner).unroll(t_inner);
  } else {
    // Whole tiles are computed, and only what exists is stored.
    tile.bound(i, 0, panel).bound(j, 0, row_tile).bound_extent(Var("rows"), 1);
    tile.compute_at(level).vectorize(i, vector, kRoundUp).unroll(i).unroll(j);
    level = LoopLevel(tile, Var::outermost());
    tile.store_in(MemoryType::Stack);
  }
  register_tile(product, level, i, j, stage.domains.at("rk"), vector,
                static_cast<int>(params.get("depth_unroll")));
}

}  // namespace

void apply_schedule(Program& program, const Plan& plan, const Schedule& schedule,
                    const Machine& machine) {
  for (Stage& stage : program.stages) {
    if (stage.name == "attention") {
      schedule_attention(stage, plan, schedule.stage("attention"), machine);
    } else if (stage.name == "weights") {
      schedule_weights(stage, plan, schedule.stage("attention"), machine);
    } else if (stage.name.rfind("pack_", 0) == 0) {
      schedule_pack(stage, machine);
    } else {
      const StageSchedule& params = schedule.stage(stage.name);
      const int64_t panel = params.get("panel_vectors") * machine.vector_floats;
      // Buffers in the workspace are padded to whole tiles; the caller's tensors are not.
      const bool to_workspace = stage.name != "project_out";
      const bool exact = to_workspace || (plan.query_length.fixed() && plan.d_model % panel == 0 &&
                                          plan.query_length.max % params.get("row_tile") == 0);
      schedule_projection(stage, params, machine, exact);
    }
  }
}

}  // namespace mha
