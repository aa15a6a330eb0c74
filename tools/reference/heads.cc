#include "tools/reference/heads.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <type_traits>

#include "tools/reference/sums.h"

namespace mha {
namespace {

// Rows that share one reading of the weights.
constexpr int64_t kRows = 16;

template <typename T>
std::vector<T> numbers(const Array& array) {
  return std::vector<T>(array.values.begin(), array.values.end());
}

// The rows that are wanted of `rows`, `length` a sequence.
std::vector<int64_t> rows_of(int64_t rows, int64_t length, const RowFilter& wanted) {
  std::vector<int64_t> chosen;
  for (int64_t row = 0; row < rows; ++row) {
    if (!wanted || wanted(row / length, row % length)) chosen.push_back(row);
  }
  return chosen;
}

double largest_of(const Array& array) {
  double largest = 0;
  for (double value : array.values) largest = std::max(largest, std::abs(value));
  return largest;
}

template <typename T>
std::vector<T> bias_numbers(const Array* bias, int64_t count) {
  return bias != nullptr ? numbers<T>(*bias) : std::vector<T>(static_cast<size_t>(count));
}

}  // namespace

template <typename T>
void project(const Array& x_array, const Array& weight, const Array* bias, Heads<T>* result,
             const RowFilter& wanted) {
  const int64_t m = weight.shape.back();
  const int64_t width = result->width, length = result->length;
  const std::vector<T> x = numbers<T>(x_array), w = numbers<T>(weight);
  const std::vector<T> b = bias_numbers<T>(bias, result->heads * width);
  const int64_t rows = result->batch * length;
  // Instructions that multiply bf16 take numbers below the smallest normal one for 0.
  const double denormals =
      FLT_MIN * static_cast<double>(m) * (1 + largest_of(x_array) + largest_of(weight));
  const std::vector<int64_t> chosen = rows_of(rows, length, wanted);
  const auto count = static_cast<int64_t>(chosen.size());
  parallel_for((count + kRows - 1) / kRows, [&](int64_t group) {
    for (int64_t n = 0; n < result->heads * width; ++n) {
      const T* w_row = &w[static_cast<size_t>(n * m)];
      const T bias_value = b[static_cast<size_t>(n)];
      for (int64_t at_row = group * kRows; at_row < std::min(count, (group + 1) * kRows);
           ++at_row) {
        const int64_t row = chosen[static_cast<size_t>(at_row)];
        const T* x_row = &x[static_cast<size_t>(row * m)];
        const size_t at =
            result->at(row / length, n / width, row % length) + static_cast<size_t>(n % width);
        if constexpr (std::is_same_v<T, double>) {
          double magnitude = 0;
          result->values[at] = dot(x_row, w_row, m, &magnitude) + bias_value;
          result->errors[at] =
              sum_error(m) * (magnitude + std::abs(bias_value)) + (magnitude == 0 ? 0 : denormals);
        } else {
          result->values[at] = dot(x_row, w_row, m) + bias_value;
        }
      }
    }
  });
}

template <typename T>
void project_out(const Heads<T>& o, const Array& weight, const Array* bias, Array* y, Array* bound,
                 const RowFilter& wanted) {
  constexpr bool kBounds = std::is_same_v<T, double>;
  const int64_t m = weight.shape.front();
  const int64_t n = o.heads * o.width;
  const std::vector<T> w = numbers<T>(weight);
  const std::vector<T> b = bias_numbers<T>(bias, m);
  // The concat, row-major.
  const int64_t rows = o.batch * o.length;
  std::vector<T> concat(static_cast<size_t>(rows * n));
  std::vector<double> errors(kBounds ? concat.size() : 0);
  for (int64_t i = 0; i < rows * n; ++i) {
    const int64_t row = i / n;
    const int64_t c = i % n;
    const size_t from =
        o.at(row / o.length, c / o.width, row % o.length) + static_cast<size_t>(c % o.width);
    concat[static_cast<size_t>(i)] = o.values[from];
    if constexpr (kBounds) errors[static_cast<size_t>(i)] = o.errors[from];
  }
  const std::vector<int64_t> chosen = rows_of(rows, o.length, wanted);
  const auto count = static_cast<int64_t>(chosen.size());
  parallel_for((count + kRows - 1) / kRows, [&](int64_t group) {
    const std::vector<double> zeros(static_cast<size_t>(kBounds ? n : 0));
    for (int64_t c = 0; c < m; ++c) {
      const T* w_row = &w[static_cast<size_t>(c * n)];
      const T bias_value = b[static_cast<size_t>(c)];
      for (int64_t at_row = group * kRows; at_row < std::min(count, (group + 1) * kRows);
           ++at_row) {
        const int64_t row = chosen[static_cast<size_t>(at_row)];
        const T* o_row = &concat[static_cast<size_t>(row * n)];
        const size_t at = static_cast<size_t>(row * m + c);
        y->values[at] = dot(o_row, w_row, n) + bias_value;
        if constexpr (kBounds) {
          const double* error = &errors[static_cast<size_t>(row * n)];
          bound->values[at] = sum_error(n) * (dot_abs(o_row, w_row, n) + std::abs(bias_value)) +
                              std::sqrt(dot_squares(o_row, error, w_row, zeros.data(), n));
        }
      }
    }
  });
}

template void project(const Array&, const Array&, const Array*, Heads<float>*, const RowFilter&);
template void project(const Array&, const Array&, const Array*, Heads<double>*, const RowFilter&);
template void project_out(const Heads<float>&, const Array&, const Array*, Array*, Array*,
                          const RowFilter&);
template void project_out(const Heads<double>&, const Array&, const Array*, Array*, Array*,
                          const RowFilter&);

}  // namespace mha
