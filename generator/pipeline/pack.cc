// K or V copied before use, so that the rows of a head lie together: one head and some rows a task.
#include "generator/pipeline/scores.h"

namespace mha {

using Halide::Expr;
using Halide::Func;
using Halide::min;
using Halide::select;
using Halide::Var;

Stage build_pack(const std::string& name, const Plan& plan, const HeadSource& source,
                 const Operand& output_operand, int64_t width, int64_t padded) {
  StageScalars scalars(name);
  Var d("d"), t("t"), h("h"), b("b");
  const int rows_of_task = 256;
  const Symbol rows = plan.packed        ? Symbol::kRows
                      : plan.self_length ? Symbol::kQuery
                                         : Symbol::kKey;
  Expr length = scalars.length(plan.packed ? plan.rows() : plan.keys(), rows);
  Expr sequence = plan.packed ? Expr(0) : scalars.get(Symbol::kTask2);
  Expr first = scalars.get(Symbol::kTask0) * rows_of_task;
  Func output("output");
  Expr value = source.input(min(d, static_cast<int>(width) - 1), t,
                            h + static_cast<int>(source.first_head), b);
  if (padded == width) value = source.input(d, t, h + static_cast<int>(source.first_head), b);
  output(d, t, h, b) = padded == width ? value : select(d < static_cast<int>(width), value, 0.0f);
  output.bound(d, 0, static_cast<int>(padded)).bound(t, first, min(rows_of_task, length - first));
  output.bound(h, scalars.get(Symbol::kTask1), 1).bound(b, sequence, 1);
  Stage stage;
  stage.name = name;
  add_input(stage, source.input, source.operand);
  scalars.add_to(stage);
  stage.operands.push_back(output_operand);
  stage.pipeline = Halide::Pipeline(output);
  stage.grid = {{1, rows, rows_of_task},
                {plan.attention.kv_heads, Symbol::kOne, 1},
                {1, plan.packed ? Symbol::kOne : Symbol::kBatch, 1}};
  stage.funcs = {{"output", output}};
  return stage;
}

}  // namespace mha
