// Schedule -> Halide directives. One function a kind of stage; Funcs are found by the names that
// generator/pipeline gives them. Every inner loop has constant bounds: remainders are met by padded
// buffers and clamped loads.
#include "schedules/apply.h"

#include <Halide.h>

#include "generator/pipeline/pipeline.h"
#include "schedules/apply_attention.h"
#include "schedules/apply_decode.h"
#include "schedules/head_rows.h"
#include "schedules/prefetch.h"
#include "schedules/register_tile.h"
#include "schedules/stage_funcs.h"
#include "schedules/whole_pairs.h"

namespace mha {

using Halide::Func;
using Halide::LoopLevel;
using Halide::MemoryType;
using Halide::RVar;
using Halide::TailStrategy;
using Halide::Var;

namespace {

const Var d("d"), e("e"), t("t"), b("b"), i("i"), j("j");

void schedule_pack(Stage& stage, const Plan& plan, const Machine& machine) {
  Func output = find(stage, "output");
  if (stage.pairs) output.split(d, d, e, 2).reorder(e, d).unroll(e);
  output.vectorize(d, machine.vector_floats, TailStrategy::GuardWithIf);
  schedule_head_rows(stage, plan, LoopLevel(output, t), machine.vector_floats);
}

// Zeros and rows that become f32, whatever the dimensions.
void schedule_plain(Stage& stage, const Machine& machine) {
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

// The panels of a task, converted: two columns at a time where they come or go in pairs.
void schedule_panels(Stage& stage, const StageSchedule& params, int vector) {
  const Var k("k"), p("p");
  const Halide::ImageParam& weights = stage.streams.at("weights");
  Func panels = find(stage, "panels");
  panels.compute_root()
      .bound(i, 0, static_cast<int>(params.get("panel_vectors")) * vector)
      .bound_storage(p, static_cast<int>(params.get("task_panels")));
  if (stage.products == Products::kPairs) {
    panels.bound(e, 0, 2).reorder(e, i, k, p).unroll(e);
    store_whole_pairs(stage.pipeline);
  } else if (weights.type() == Halide::UInt(32)) {  // words of two columns
    Var k_inner("k_inner");
    panels.split(k, k, k_inner, 2, kRoundUp).reorder(k_inner, i, k, p).unroll(k_inner);
  }
  panels.vectorize(i, vector).unroll(i);
  prefetch(panels, weights, k, static_cast<int>(params.get("prefetch")));
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
  if (stage.funcs.count("panels")) {
    schedule_panels(stage, params, vector);
  } else {
    prefetch(product.update(), stage.streams.at("weights"), depth_of(stage),
             static_cast<int>(params.get("prefetch")));
  }
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
      const bool cached = decodes(plan);
      schedule_merge(stage, plan,
                     static_cast<int>(cached ? schedule.stage("decode").get("split")
                                             : schedule.stage("attention").get("key_block")),
                     machine);
    } else if (stage.name == "top_k") {
      schedule_top(stage, plan, schedule.stage("attention"), machine);
    } else if (stage.funcs.count("scores")) {
      schedule_rows(stage, plan, schedule.stage("attention"), machine);
    } else if (stage.name.rfind("pack_", 0) == 0) {
      schedule_pack(stage, plan, machine);
    } else if (stage.name.rfind("norm_", 0) == 0) {
      schedule_norms(stage, machine.vector_floats);
    } else if (stage.name.rfind("zero_", 0) == 0 || stage.name.rfind("widen_", 0) == 0) {
      schedule_plain(stage, machine);
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
