// K or V copied before use, so that the rows of a head lie together: one head and some rows a task.
// On the way rows of K get their norm and their rotation, and numbers of two bytes become f32 where
// products take no pairs of them.
#include "generator/pipeline/head_rows.h"
#include "generator/pipeline/precision.h"
#include "generator/pipeline/scores.h"

namespace mha {

using Halide::Expr;
using Halide::Func;
using Halide::min;
using Halide::select;
using Halide::Var;

namespace {

constexpr int kRowsOfTask = 256;

}  // namespace

Stage build_pack(const std::string& name, const Plan& plan, const HeadSource& source,
                 const Operand& output_operand, int64_t width, int64_t padded, Halide::Type type,
                 const NormSource* norm) {
  StageScalars scalars(name);
  Var d("d"), t("t"), h("h"), b("b");
  // Packed rows are copied whatever sequence they are of; turned they are by their place in it.
  const bool by_place = norm != nullptr && plan.attention.rotation;
  const bool of_sequences = plan.packed && by_place;
  const Symbol rows = of_sequences       ? Symbol::kQuery
                      : plan.packed      ? Symbol::kRows
                      : plan.self_length ? Symbol::kQuery
                                         : Symbol::kKey;
  Expr length = of_sequences ? scalars.get(Symbol::kSequenceQueries)
                             : scalars.length(plan.packed ? plan.rows() : plan.keys(), rows);
  Expr sequence = plan.packed ? Expr(0) : scalars.get(Symbol::kTask2);
  Expr first = scalars.get(Symbol::kTask0) * kRowsOfTask;
  Expr first_row = of_sequences ? scalars.get(Symbol::kSequenceFirstRow) : Expr(0);
  Expr computed = scalars.get(Symbol::kTask1);
  const auto element = [&](const Expr& of) {
    return source.input(of, t, source.head(computed), sequence);
  };

  Func output("output");
  Expr in_row = padded == width ? Expr(d) : min(d, static_cast<int>(width) - 1);
  Expr value;
  std::optional<HeadRows> transformed;
  if (norm != nullptr) {
    const HeadRow row{[&](const Expr& of) { return widened(element(of)); },
                      pick(plan.attention.kept_kv_heads, computed), t - first_row, t, sequence};
    transformed.emplace(plan, *norm, row, std::vector<Var>{t});
    value = transformed->rows(in_row, t);
  } else {
    value = element(in_row);
  }
  // What has the type already is copied, bits and all.
  if (type != value.type()) value = narrowed_to(type, widened(value));
  output(d, t, h, b) =
      padded == width ? value : select(d < static_cast<int>(width), value, Halide::cast(type, 0));
  output.bound(d, 0, static_cast<int>(padded))
      .bound(t, first_row + first, min(kRowsOfTask, length - first));
  output.bound(h, computed, 1).bound(b, sequence, 1);

  Stage stage;
  stage.name = name;
  add_input(stage, source.input, source.operand);
  if (transformed) transformed->add_to(stage);
  scalars.add_to(stage);
  stage.operands.push_back(output_operand);
  stage.pipeline = Halide::Pipeline(output);
  const bool one_sequence = plan.packed && !of_sequences;
  stage.grid = {{1, rows, kRowsOfTask},
                {plan.attention.kv_heads, Symbol::kOne, 1},
                {1, one_sequence ? Symbol::kOne : Symbol::kBatch, 1}};
  if (of_sequences) {
    stage.query_axis = 0;
    stage.batch_axis = 2;
  }
  stage.funcs["output"] = output;
  return stage;
}

Stage build_pack_pairs(const std::string& name, const Plan& plan, const HeadSource& source,
                       const Operand& output_operand, int64_t width, int64_t padded) {
  StageScalars scalars(name);
  Var d("d"), t("t"), h("h"), b("b");
  const Symbol rows = plan.packed        ? Symbol::kRows
                      : plan.self_length ? Symbol::kQuery
                                         : Symbol::kKey;
  Expr length = scalars.length(plan.packed ? plan.rows() : plan.keys(), rows);
  Expr sequence = plan.packed ? Expr(0) : scalars.get(Symbol::kTask2);
  Expr first = scalars.get(Symbol::kTask0) * kRowsOfTask, head = scalars.get(Symbol::kTask1);
  // d counts the numbers of a pair of rows; behind the last row it stands once more.
  const int step = plan.packed ? 1 : 2, wide = static_cast<int>(width);
  Expr place = padded == width ? d / 2 : min(d / 2, wide - 1);
  Expr row = min(t * step + d % 2, length - 1);
  Expr value = source.input(place, row, source.head(head), sequence);
  if (padded != width) value = select(d / 2 < wide, value, Halide::cast(value.type(), 0));
  Func output("output");
  output(d, t, h, b) = value;
  Expr count = min(kRowsOfTask, length - first);
  output.bound(d, 0, static_cast<int>(2 * padded))
      .bound(t, first / step, (count + step - 1) / step)
      .bound(h, head, 1)
      .bound(b, sequence, 1);

  Stage stage;
  stage.name = name;
  stage.pairs = true;
  add_input(stage, source.input, source.operand);
  scalars.add_to(stage);
  stage.operands.push_back(output_operand);
  stage.pipeline = Halide::Pipeline(output);
  stage.grid = {{1, rows, kRowsOfTask},
                {plan.attention.kv_heads, Symbol::kOne, 1},
                {1, plan.packed ? Symbol::kOne : Symbol::kBatch, 1}};
  stage.funcs["output"] = output;
  return stage;
}

}  // namespace mha
