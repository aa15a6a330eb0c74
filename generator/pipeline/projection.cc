// y[t][n] = scale[n] * sum_k x[t][k] W[n][k] + b[n] for some panels of columns and a range of rows:
// one task. Only int8 has scales.
//
// W is packed in panels [N / panel][K][panel], so that the inner loop reads it as whole vectors,
// one after another; of bfloat16 in pairs of columns, [N / panel][K / 2][panel][2]. Sums are
// float32. What cannot be multiplied as it lies is converted where it is loaded or, for many rows,
// a panel once a task: to f32, or int8 to pairs of bfloat16 where the machine multiplies these.
#include <algorithm>
#include <utility>

#include "generator/pipeline/precision.h"
#include "generator/pipeline/stages.h"

namespace mha {

using Halide::Expr;
using Halide::Func;
using Halide::min;
using Halide::RDom;
using Halide::Var;

namespace {

int pair_of(Products products) { return products == Products::kSingles ? 1 : 2; }

// The packed weights as the stage sees them, and how they are multiplied.
class Weights {
 public:
  const Products products;  // of the inner loop
  Halide::ImageParam input;
  Func panels{"panels"};  // of a task, converted; if they are

  Weights(const std::string& stage, const ProjectionInputs& in)
      : products(in.converted.value_or(in.products)),
        input(in.products == Products::kHalves ? Halide::UInt(32) : halide_type(in.weights),
              in.products == Products::kPairs ? 4 : 3, stage + "_weights"),
        stored_(in.products),
        columns_(static_cast<int>(in.columns)) {
    if (in.converted) convert();
  }

  int pair() const { return pair_of(products); }

  // Column `lane` of panel p at `step` of the depth, which is a pair, and the place in it.
  Expr at(const Expr& lane, const Expr& step, const Expr& place, const Expr& p) const {
    if (!panels.defined()) return stored(lane, step, place, p);
    return products == Products::kPairs ? Halide::cast<float>(panels(place, lane, step, p))
                                        : Expr(panels(lane, step, p));
  }

  // Panels are dense: their strides are constants.
  void set_strides(int panel) {
    const int pair = pair_of(stored_), steps = (columns_ + pair - 1) / pair;
    int dimension = 0, stride = 1;
    const auto add = [&](int extent) {
      input.dim(dimension).set_bounds(0, extent);
      if (dimension > 0) input.dim(dimension).set_stride(stride);
      stride *= extent;
      dimension++;
    };
    if (stored_ == Products::kPairs) add(2);
    add(panel);
    add(steps);
    input.dim(dimension).set_stride(stride);
  }

  Operand operand(int pack) const {
    return {Operand::kPack, pack, std::vector<int>(static_cast<size_t>(input.dimensions()))};
  }

 private:
  Expr stored(const Expr& lane, const Expr& step, const Expr& place, const Expr& p) const {
    switch (stored_) {
      case Products::kSingles:
        return widened(input(lane, step, p));
      case Products::kHalves:
        return widened_half(input(lane, step, p), place);
      case Products::kPairs:
        return Halide::cast<float>(input(place, lane, step, p));
    }
    return {};
  }

  void convert() {
    Var e("e"), i("i"), k("k"), p("p");
    const int pair = pair_of(stored_);
    const auto number = [&](const Expr& column) {
      return pair == 2 ? stored(i, column / 2, column % 2, p) : stored(i, column, 0, p);
    };
    if (products == Products::kPairs) {
      // Behind an odd number of columns the last stands once more; it meets a 0.
      Expr column = k * 2 + e;
      if (columns_ % 2 != 0) column = min(column, columns_ - 1);
      panels(e, i, k, p) = cut_to_bf16(number(column));
    } else {
      panels(i, k, p) = number(k);
    }
  }

  Products stored_;
  int columns_;
};

}  // namespace

Stage build_projection(const std::string& name, const Blocking& blocking,
                       const ProjectionInputs& in) {
  const ProjectionBlocking& block = blocking.projections.at(name);
  const int panel = block.panel, row_tile = block.row_tile;
  const int wide = panel * block.task_panels;  // columns of a task
  StageScalars scalars(name);
  Expr column_task = scalars.get(block.rows_first ? Symbol::kTask1 : Symbol::kTask0),
       row_task = scalars.get(block.rows_first ? Symbol::kTask0 : Symbol::kTask1),
       sequence = in.batch_rows ? Expr(0) : scalars.get(Symbol::kTask2);
  Expr length = scalars.length(in.rows, in.rows_symbol);
  Weights weights(name, in);
  Halide::ImageParam bias(Halide::Float(32), 1, name + "_bias"),
      scales(Halide::Float(32), 1, name + "_scales");
  Var n("n"), t("t"), h("h"), b("b"), d("d"), i("i"), j("j"), rows("rows"), p("p"), e("e");

  // x[k] of row j of the row tile `rows`; k lies at d of head e, where the input has heads.
  const bool tail = !in.rows.fixed() || in.rows.max % row_tile != 0;
  const bool padded_input = in.heads > 0 && !in.batch_rows;  // a buffer of ours, in whole tiles
  Expr row = rows * row_tile + j;
  if (tail && !padded_input) row = min(row, length - 1);
  const auto input_at = [&](const Expr& width) {
    Expr place = in.batch_rows ? Expr(0) : row, of = in.batch_rows ? row : sequence;
    return in.heads > 0 ? in.input(width, place, e, of) : in.input(width, place, of);
  };
  const int heads = std::max<int>(1, static_cast<int>(in.heads));
  const int depth = static_cast<int>(in.heads > 0 ? in.width : in.columns), pair = weights.pair();
  // What is not multiplied as it lies is copied first, a row tile at a time: numbers to be
  // converted, and rows that end with half a pair.
  const bool converted =
      weights.products != Products::kPairs && in.input.type() != Halide::Float(32);
  const bool halved = depth % pair != 0;
  Func input_rows("input_rows");
  RDom ro(0, depth, "ro");
  if (halved) {
    input_rows(d, e, j, rows) = Halide::cast(converted ? Halide::Float(32) : in.input.type(), 0);
    input_rows(ro, e, j, rows) = converted ? widened(input_at(ro)) : input_at(ro);
  } else if (converted) {
    input_rows(d, e, j, rows) = widened(input_at(d));
  }

  // product[j][i]: column i of the panel, row j of the row tile `rows` of this sequence.
  const int steps = (depth + pair - 1) / pair;
  RDom rk = pair == 2 ? RDom(0, 2, 0, steps, 0, heads, "rk") : RDom(0, steps, 0, heads, "rk");
  Expr place = pair == 2 ? Expr(rk[0]) : Expr(0), step = rk[pair - 1], head = rk[pair];
  Expr width = pair == 2 ? step * 2 + place : step;
  Expr x = input_rows.defined() ? Expr(input_rows(width, head, j, rows))
                                : Halide::Internal::substitute(e.name(), head, input_at(width));
  Func product("product"), tile("tile"), output("output");
  product(i, j, rows, p) = 0.0f;
  // Halide finds the machine's product by its casts.
  if (weights.products == Products::kPairs) x = Halide::cast<float>(x);
  product(i, j, rows, p) += widened(x) * weights.at(i, head * steps + step, place, p);
  // What is done to a sum comes strictly last: LLVM would add the bias before the last product in
  // some rows of a tile, and the bits of a row must not depend on its place there.
  Expr sum = product(i, j, rows, p), column = p * panel + i;
  if (in.scales_pack >= 0) sum = Halide::strict_float(sum * scales(column));
  if (in.bias_pack >= 0) sum = Halide::strict_float(sum + bias(column));
  tile(i, j, rows, p) = narrowed_to(in.output_type, sum);

  Expr first_row = row_task * block.task_rows;
  Var of = in.batch_rows ? b : t;  // what rows are in the output
  if (in.output_heads > 0) {
    // The workspace is padded to whole tiles; rows behind the last repeat it and are never read as
    // keys.
    const int head_width = static_cast<int>(in.output_width), tasks_of_head = head_width / wide;
    Expr padded = tail ? (length + row_tile - 1) / row_tile * row_tile : length;
    output(d, t, h, b) =
        tile(d % panel, of % row_tile, of / row_tile, h * (head_width / panel) + d / panel);
    output.bound(d, column_task % tasks_of_head * wide, wide)
        .bound(h, column_task / tasks_of_head, 1);
    output.bound(of, first_row, min(block.task_rows, padded - first_row));
  } else {
    output(n, t, b) = tile(n % panel, of % row_tile, of / row_tile, n / panel);
    const int columns = static_cast<int>(in.output_width);
    Expr first_column = column_task * wide;
    Expr count = columns % wide == 0 ? Expr(wide) : min(wide, columns - first_column);
    output.bound(n, first_column, count);
    output.bound(of, first_row, min(block.task_rows, length - first_row));
  }
  if (in.batch_rows) {
    output.bound(t, 0, 1);
  } else {
    output.bound(b, sequence, 1);
  }

  Stage stage;
  stage.name = name;
  stage.arguments = {in.input, weights.input};
  stage.operands = {in.operand, weights.operand(in.weights_pack)};
  const auto add_vector = [&](const Halide::ImageParam& vector, int pack) {
    if (pack < 0) return;
    stage.arguments.push_back(vector);
    stage.operands.push_back({Operand::kPack, pack, {0}});
  };
  add_vector(scales, in.scales_pack);
  add_vector(bias, in.bias_pack);
  scalars.add_to(stage);
  stage.operands.push_back(in.output);
  stage.pipeline = Halide::Pipeline(output);
  const int64_t columns = std::max<int64_t>(in.output_heads, 1) * in.output_width;
  stage.grid = {
      {columns, Symbol::kOne, wide}, {1, in.rows_symbol, block.task_rows}, {1, in.batch_symbol, 1}};
  if (block.rows_first) std::swap(stage.grid[0], stage.grid[1]);
  stage.funcs = {{"product", product}, {"tile", tile}, {"output", output}};
  if (input_rows.defined()) stage.funcs["input_rows"] = input_rows;
  if (in.converted) stage.funcs["panels"] = weights.panels;
  stage.domains = {{"rk", rk}, {"ro", ro}};
  stage.streams = {{"weights", weights.input}};
  stage.products = weights.products;
  stage.batch_rows = in.batch_rows;
  weights.set_strides(panel);
  return stage;
}

Stage build_widen(const std::string& name, const Halide::ImageParam& input, const Operand& operand,
                  const Operand& output_operand, int64_t width, const Range& rows,
                  Symbol rows_symbol, Symbol batch_symbol) {
  constexpr int kRowsOfTask = 64;
  StageScalars scalars(name);
  Var m("m"), t("t"), b("b");
  Expr length = scalars.length(rows, rows_symbol);
  Expr first = scalars.get(Symbol::kTask0) * kRowsOfTask;
  Expr sequence = batch_symbol == Symbol::kOne ? Expr(0) : scalars.get(Symbol::kTask1);
  Func output("output");
  output(m, t, b) = widened(input(m, t, b));
  output.bound(m, 0, static_cast<int>(width))
      .bound(t, first, min(kRowsOfTask, length - first))
      .bound(b, sequence, 1);

  Stage stage;
  stage.name = name;
  stage.arguments = {input};
  stage.operands = {operand};
  scalars.add_to(stage);
  stage.operands.push_back(output_operand);
  stage.pipeline = Halide::Pipeline(output);
  stage.grid = {{1, rows_symbol, kRowsOfTask}, {1, batch_symbol, 1}};
  stage.funcs["output"] = output;
  return stage;
}

}  // namespace mha
