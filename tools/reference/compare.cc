#include <algorithm>
#include <cmath>
#include <limits>

#include "generator/spec/error.h"
#include "tools/reference/reference.h"

namespace mha {

Comparison compare(const std::vector<float>& got, const Array& want, const Array& bound) {
  if (got.size() != want.values.size() || bound.values.size() != want.values.size()) {
    throw InternalError("an output and its reference differ in size");
  }
  Comparison result;
  for (size_t i = 0; i < got.size(); ++i) {
    const double value = got[i];
    const double expected = want.values[i];
    const double allowed = bound.values[i];
    ++result.compared;
    result.zeros += value == 0;
    if (value == expected || (std::isnan(value) && std::isnan(expected))) continue;
    const double error = std::abs(value - expected);
    const bool finite = std::isfinite(error);
    if (finite) {
      result.max_error = std::max(result.max_error, error);
      result.square_sum += error * error;
    }
    // Written so that a NaN on either side fails.
    if (!(error <= allowed) || !finite) ++result.failures;
    const double ratio =
        finite && allowed > 0 ? error / allowed : std::numeric_limits<double>::infinity();
    if (ratio > result.max_ratio) {
      result.max_ratio = ratio;
      result.error_at_worst = error;
      result.bound_at_worst = allowed;
      result.worst = static_cast<int64_t>(i);
    }
  }
  return result;
}

Comparison compare_output(const std::string& name, const Arrays& got, const Reference& want) {
  const std::vector<double>& values = got.at(name).values;
  const std::vector<float> floats(values.begin(), values.end());
  if (!name.starts_with("top_"))
    return compare(floats, want.outputs.at(name), want.bounds.at(name));
  const int64_t keys = want.keys;
  const ExpectedTop expected =
      expected_top(want.top_rows, keys, got.at("top_weights"), got.at("top_indices"));
  if (name == "top_weights") return compare(floats, expected.weights, expected.bounds);
  Comparison result;
  result.compared = static_cast<int64_t>(values.size());
  result.zeros = std::count(values.begin(), values.end(), 0.0);
  result.failures = expected.wrong_indices;
  result.worst = std::max<int64_t>(expected.first_wrong, 0);
  return result;
}

}  // namespace mha
