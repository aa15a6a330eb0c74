// What a row's softmax came to, for those who ask: lse, and what the stages over pairs read.
#include <string>

#include "generator/pipeline/scores.h"

namespace mha {

using Halide::Expr;
using Halide::Func;
using Halide::select;
using Halide::strict_float;

namespace {

// NaN is not nothing: only a strict comparison tells them apart.
Expr is_nothing(const Expr& total) { return strict_float(total == 0.0f); }

}  // namespace

Expr one_over(const Expr& total) { return select(is_nothing(total), 0.0f, 1.0f / total); }

void add_row_outputs(Stage& stage, std::vector<Func>& outputs, const Scores& s,
                     const AttentionInputs& in, const RowStatistics& row) {
  const auto add = [&](const char* name, const Operand& operand, const Expr& value) {
    if (operand.index < 0) return;
    Func rows(name), held(std::string(name) + "_held");
    held(s.y) = value;
    rows(s.t, s.h, s.b) = held(s.row_in_block(s.t));
    s.bound_rows(rows);
    stage.funcs[name] = rows;
    stage.funcs[std::string(name) + "_held"] = held;
    outputs.push_back(rows);
    stage.operands.push_back(operand);
  };
  // Halide's logarithm of NaN is a number.
  Expr log_total = select(strict_float(row.total > 0.0f), Halide::log(row.total), row.total);
  Expr lse = select(is_nothing(row.total), -kInfinity, s.natural(row.highest) + log_total);
  if (in.sink.input.defined()) {
    // Alone, it is the sum: as it was given, where its product with log2(e) leaves float32.
    Expr alone = strict_float(row.highest == s.sink(in.sink)) && strict_float(row.total == 1.0f);
    lse = select(alone, in.sink.input(s.head), lse);
  }
  add("lse", in.lse, lse);
  add("row_max_out", in.row_max, max(row.highest, kLowest));
  add("row_scale_out", in.row_scale, row.scale);
}

}  // namespace mha
