// The places of pruned heads in the caller's tensors: zeros.
#include <algorithm>

#include "generator/pipeline/precision.h"
#include "generator/pipeline/scores.h"

namespace mha {

using Halide::Expr;
using Halide::Func;
using Halide::min;
using Halide::Var;

Stage build_zero(const Plan& plan, const ZeroInputs& in) {
  constexpr int kTaskRows = 256;
  const std::string name = "zero_" + in.output;
  StageScalars scalars(name);
  std::vector<int64_t> pruned;
  const std::vector<int64_t>& kept = plan.attention.kept_heads;
  for (int64_t head = 0; head < plan.attention.all_heads; ++head) {
    if (std::find(kept.begin(), kept.end(), head) == kept.end()) pruned.push_back(head);
  }
  const Symbol rows = plan.packed ? Symbol::kRows : Symbol::kQuery;
  Expr length = scalars.length(plan.packed ? plan.rows() : plan.query_length, rows);
  Expr first = scalars.get(Symbol::kTask0) * kTaskRows;
  Expr head = pick(pruned, scalars.get(Symbol::kTask1));
  Expr sequence = plan.packed ? Expr(0) : scalars.get(Symbol::kTask2);
  Expr zero = Halide::cast(halide_type(in.dtype), 0);

  Var x("x"), t("t"), h("h"), b("b");
  Func output("output");
  if (in.over_keys || in.innermost > 0) {
    output(x, t, h, b) = zero;
    const Symbol keys = plan.self_length ? Symbol::kQuery : Symbol::kKey;
    output.bound(x, 0,
                 in.over_keys ? scalars.length(plan.key_length, keys)
                              : Expr(static_cast<int>(in.innermost)));
  } else {
    output(t, h, b) = zero;
  }
  output.bound(t, first, min(kTaskRows, length - first)).bound(h, head, 1).bound(b, sequence, 1);

  Stage stage;
  stage.name = name;
  scalars.add_to(stage);
  stage.operands.push_back(in.operand);
  stage.pipeline = Halide::Pipeline(output);
  stage.grid = {{1, rows, kTaskRows},
                {static_cast<int64_t>(pruned.size()), Symbol::kOne, 1},
                {1, plan.packed ? Symbol::kOne : Symbol::kBatch, 1}};
  stage.funcs = {{"output", output}};
  return stage;
}

}  // namespace mha
