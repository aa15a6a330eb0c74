#include "generator/pipeline/stages.h"

namespace mha {

using Halide::Expr;
using Halide::strict_float;

Expr exp2_nonpositive(Expr x, ExpForm form) {
  // A strict "less than" is false for NaN; a relaxed one may be compiled as "not greater or equal".
  const Expr low = -127.0f;
  if (form == ExpForm::kClamped) x = Halide::select(strict_float(x < low), low, x);
  // Adding 1.5 * 2^23 + 127 rounds x to an integer n; n + 127, the exponent of 2^n, then stands in
  // the low bits. The sum must not be reassociated.
  const float round = 12582912.0f + 127.0f;
  Expr shifted = strict_float(x + round);
  Expr fraction = strict_float(x - strict_float(shifted - round));  // in [-0.5, 0.5]
  Expr power = Halide::reinterpret<float>(Halide::reinterpret<int>(shifted) << 23);
  // Minimax polynomials of 2^f - 1 on [-0.5, 0.5] by Lawson's iteration, in relative error: degree
  // 5, or degree 4, which is 18 times worse.
  std::vector<float> coefficients = {1.326472731e-3f, 9.671512991e-3f, 5.550733581e-2f,
                                     2.402224243e-1f, 6.931470037e-1f, 1.0f};
  if (form == ExpForm::kDegree4) {
    coefficients = {9.582853438e-3f, 5.590642714e-2f, 2.402409862e-1f, 6.931241931e-1f, 1.0f};
  }
  Expr p = coefficients.front();
  for (size_t i = 1; i < coefficients.size(); ++i) p = p * fraction + coefficients[i];
  // Multiplied rather than added to the exponent bits, which would turn a NaN into a number. At
  // -127 the power is 0.
  if (form == ExpForm::kClamped) return p * power;
  return Halide::select(strict_float(x < -126.0f), 0.0f, p * power);
}

Expr pick(const std::vector<int64_t>& numbers, const Expr& n) {
  if (numbers.empty()) return n;
  // Numbers ascend, mostly by one or by none: a step wherever they do not.
  const auto steps = [&](int64_t slope) {
    Expr value = n * static_cast<int>(slope) + static_cast<int>(numbers[0]);
    int count = 0;
    for (size_t i = 1; i < numbers.size(); ++i) {
      const int64_t step = numbers[i] - numbers[i - 1] - slope;
      if (step == 0) continue;
      value += Halide::select(n >= static_cast<int>(i), static_cast<int>(step), 0);
      ++count;
    }
    return std::pair(count, value);
  };
  const auto flat = steps(0), rising = steps(1);
  return flat.first < rising.first ? flat.second : rising.second;
}

Expr tanh_f32(const Expr& x) {
  // x P(x^2) / Q(x^2), both of degree 4: minimax of the relative error on [-9, 9] by Lawson's
  // iteration, 2.1e-8 before rounding. Beyond 9 tanh is 1 in f32. Written so that a NaN passes.
  const float end = 9.0f;
  Expr held = Halide::select(strict_float(end < x), end, x);
  held = Halide::select(strict_float(held < -end), -end, held);
  Expr square = held * held;
  Expr p = 1.33547363e-8f, q = 7.77659625e-7f;
  p = p * square + 2.06091614e-5f;
  q = q * square + 3.28564374e-4f;
  p = p * square + 3.49559409e-3f;
  q = q * square + 2.58770061e-2f;
  p = p * square + 1.33810311e-1f;
  q = q * square + 4.67143466e-1f;
  p = p * square + 1.0f;
  q = q * square + 1.0f;
  return held * p / q;
}

Expr choose(const std::vector<Expr>& values, const Expr& index) {
  if (values.size() == 1) return values.front();
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  return Halide::select(
      index < static_cast<int>(values.size() / 2), choose({values.begin(), middle}, index),
      choose({middle, values.end()}, index - static_cast<int>(values.size() / 2)));
}

Expr StageScalars::get(Symbol symbol) {
  for (auto& [known, param] : params_) {
    if (known == symbol) return param;
  }
  static const std::map<Symbol, std::string> names = {{Symbol::kBatch, "batch"},
                                                      {Symbol::kQuery, "query_length"},
                                                      {Symbol::kKey, "key_length"},
                                                      {Symbol::kRows, "rows"},
                                                      {Symbol::kTask0, "task0"},
                                                      {Symbol::kTask1, "task1"},
                                                      {Symbol::kTask2, "task2"},
                                                      {Symbol::kTask3, "task3"},
                                                      {Symbol::kSequenceKeys, "sequence_keys"},
                                                      {Symbol::kSequenceOffset, "sequence_offset"},
                                                      {Symbol::kSequenceFirstKey, "first_key"},
                                                      {Symbol::kSequenceFirstRow, "first_row"},
                                                      {Symbol::kSequenceQueries, "queries"},
                                                      {Symbol::kShared, "shared"},
                                                      {Symbol::kSequenceSlot, "slot"},
                                                      {Symbol::kNewKeys, "new_keys"},
                                                      {Symbol::kSequenceCached, "cached"},
                                                      {Symbol::kSequenceNewKeys, "brought"}};
  Halide::Param<int> param(prefix_ + "_" + names.at(symbol));
  params_.emplace_back(symbol, param);
  return param;
}

Expr StageScalars::length(const Range& range, Symbol symbol) {
  return range.fixed() ? Expr(static_cast<int>(range.max)) : get(symbol);
}

void StageScalars::add_to(Stage& stage) const {
  for (const auto& [symbol, param] : params_) {
    stage.arguments.push_back(param);
    stage.operands.push_back({Operand::kScalar, static_cast<int>(symbol), {}});
  }
}

}  // namespace mha
