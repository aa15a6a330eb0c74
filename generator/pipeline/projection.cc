// y[t][n] = sum_k x[t][k] W[n][k] + b[n] for some panels of columns and a range of rows: one task.
//
// W is packed in panels [N / panel][K][panel], so that the inner loop reads it as whole vectors,
// one after another.
#include <algorithm>
#include <utility>

#include "generator/pipeline/stages.h"

namespace mha {

using Halide::Expr;
using Halide::Func;
using Halide::min;
using Halide::RDom;
using Halide::Var;

Stage build_projection(const std::string& name, const Blocking& blocking,
                       const ProjectionInputs& in) {
  const ProjectionBlocking& block = blocking.projections.at(name);
  const int panel = block.panel, row_tile = block.row_tile;
  const int wide = panel * block.task_panels;  // columns of a task
  StageScalars scalars(name);
  Expr column_task = scalars.get(block.rows_first ? Symbol::kTask1 : Symbol::kTask0),
       row_task = scalars.get(block.rows_first ? Symbol::kTask0 : Symbol::kTask1),
       sequence = scalars.get(Symbol::kTask2);
  Expr length = scalars.length(in.rows, in.rows_symbol);
  Halide::ImageParam weights(Halide::Float(32), 3, name + "_weights"),
      bias(Halide::Float(32), 1, name + "_bias");
  Var n("n"), t("t"), h("h"), b("b"), d("d"), i("i"), j("j"), rows("rows"), p("p");

  // product[j][i]: column i of the panel, row j of the row tile `rows` of this sequence.
  const bool tail = !in.rows.fixed() || in.rows.max % row_tile != 0;
  const bool padded_input = in.heads > 0;  // a buffer of ours: its rows are padded to the tile
  Expr row = rows * row_tile + j;
  if (tail && !padded_input) row = min(row, length - 1);
  RDom rk = in.heads > 0 ? RDom(0, static_cast<int>(in.width), 0, static_cast<int>(in.heads), "rk")
                         : RDom(0, static_cast<int>(in.columns), "rk");
  Expr x = in.heads > 0 ? in.input(rk.x, row, rk.y, sequence) : in.input(rk.x, row, sequence);
  Expr k = in.heads > 0 ? rk.y * static_cast<int>(in.width) + rk.x : Expr(rk.x);
  Func product("product"), tile("tile"), output("output");
  product(i, j, rows, p) = 0.0f;
  product(i, j, rows, p) += x * weights(i, k, p);
  Expr sum = product(i, j, rows, p);
  // Strictly last: LLVM would add the bias before the last product in some rows of a tile, and the
  // bits of a row must not depend on its place there.
  if (in.bias_pack >= 0) sum = Halide::strict_float(sum + bias(p * panel + i));
  tile(i, j, rows, p) = sum;

  Expr first_row = row_task * block.task_rows;
  if (in.output_heads > 0) {
    // The workspace is padded to whole tiles; rows behind the last repeat it and are never read as
    // keys.
    const int width = static_cast<int>(in.output_width), tasks_of_head = width / wide;
    Expr padded = tail ? (length + row_tile - 1) / row_tile * row_tile : length;
    output(d, t, h, b) =
        tile(d % panel, t % row_tile, t / row_tile, h * (width / panel) + d / panel);
    output.bound(d, column_task % tasks_of_head * wide, wide)
        .bound(h, column_task / tasks_of_head, 1);
    output.bound(t, first_row, min(block.task_rows, padded - first_row)).bound(b, sequence, 1);
  } else {
    output(n, t, b) = tile(n % panel, t % row_tile, t / row_tile, n / panel);
    const int columns = static_cast<int>(in.output_width);
    Expr first_column = column_task * wide;
    Expr count = columns % wide == 0 ? Expr(wide) : min(wide, columns - first_column);
    output.bound(n, first_column, count);
    output.bound(t, first_row, min(block.task_rows, length - first_row)).bound(b, sequence, 1);
  }

  Stage stage;
  stage.name = name;
  stage.arguments = {in.input, weights};
  stage.operands = {in.operand, {Operand::kPack, in.weights_pack, {}}};
  if (in.bias_pack >= 0) {
    stage.arguments.push_back(bias);
    stage.operands.push_back({Operand::kPack, in.bias_pack, {}});
  }
  scalars.add_to(stage);
  stage.operands.push_back(in.output);
  stage.pipeline = Halide::Pipeline(output);
  const int64_t columns = std::max<int64_t>(in.output_heads, 1) * in.output_width;
  stage.grid = {
      {columns, Symbol::kOne, wide}, {1, in.rows_symbol, block.task_rows}, {1, in.batch_symbol, 1}};
  if (block.rows_first) std::swap(stage.grid[0], stage.grid[1]);
  stage.funcs = {{"product", product}, {"tile", tile}, {"output", output}};
  stage.domains = {{"rk", rk}};
  stage.streams = {{"weights", weights}};
  // Panels are dense: their strides are constants.
  weights.dim(0).set_bounds(0, panel);
  weights.dim(1).set_bounds(0, static_cast<int>(in.columns)).set_stride(panel);
  weights.dim(2).set_stride(static_cast<int>(in.columns) * panel);
  return stage;
}

}  // namespace mha
