// softmax(scale * Q K^T, masked) V as a textbook writes it, one head a task: all scores, their
// softmax, its product with V. What Halide's autoschedulers are given: nothing in it is cut into
// blocks.
#include <limits>

#include "generator/pipeline/precision.h"
#include "generator/pipeline/scores.h"

namespace mha {

using Halide::Expr;
using Halide::Func;
using Halide::max;
using Halide::RDom;
using Halide::select;
using Halide::Var;

Stage build_textbook_attention(const Plan& plan, const Blocking& blocking,
                               const AttentionInputs& in) {
  AttentionBlocking whole = blocking.attention;
  whole.query_block = static_cast<int>(plan.queries().max);
  whole.key_block = 1 << 28;
  whole.whole_rows = true;
  whole.pairs = false;
  StageScalars scalars("attention");
  Scores s(plan, whole, scalars, in, {.unit = softmax_unit(plan)});
  Var d = s.d, y = s.y, x = s.x, t = s.t, h = s.h, b = s.b;
  const int keys = static_cast<int>(plan.keys().max);
  RDom rd(0, static_cast<int>(plan.attention.d_head), "rd"), rm(0, keys, "rm"), rs(0, keys, "rs"),
      rv(0, keys, "rv");
  Func product("product"), masked("masked"), row_max("row_max"), exponentials("exponentials"),
      row_sum("row_sum"), value_product("value_product"), output("output");
  // Dimensions as the caller reads them: keys innermost.
  product(x, y) = 0.0f;
  product(x, y) += Halide::Internal::substitute(s.c.name(), Expr(0), s.product_term(rd));
  masked(x, y) = Halide::Internal::substitute(s.c.name(), Expr(0),
                                              s.masked_score(s.shaped(s.scaled(product(x, y)), x)));
  const bool sinks = plan.attention.sink;
  Expr sink = sinks ? s.sink(in.sink) : Expr(-std::numeric_limits<float>::infinity());
  row_max(y) = sink;
  row_max(y) = max(row_max(y), masked(rm, y));
  exponentials(x, y) = s.exp(masked(x, y) - max(row_max(y), std::numeric_limits<float>::lowest()));
  row_sum(y) =
      sinks ? s.exp(sink - max(row_max(y), std::numeric_limits<float>::lowest())) : Expr(0.0f);
  row_sum(y) += exponentials(rs, y);
  value_product(d, y) = 0.0f;
  value_product(d, y) +=
      exponentials(rv, y) *
      Halide::Internal::substitute(s.c.name(), Expr(0), widened(s.value(in.v, d, rv)));
  Expr row = s.row_in_block(t);
  Expr mean = select(Halide::strict_float(row_sum(row) == 0.0f), 0.0f,
                     value_product(d, row) / row_sum(row));
  output(d, t, h, b) = narrowed_to(in.output_type, mean);
  output.bound(d, 0, static_cast<int>(in.output_width));
  s.bound_rows(output, in.output_dense);

  Stage stage;
  stage.name = "attention";
  s.add_inputs(stage);
  add_source(stage, in.v);
  if (sinks) add_input(stage, in.sink.input, in.sink.operand);
  scalars.add_to(stage);
  stage.operands.push_back(in.output);
  stage.pipeline = Halide::Pipeline(output);
  s.set_grid(stage);
  name_funcs(stage, {output});
  return stage;
}

}  // namespace mha
