#include "tools/reference/heads.h"

#include <algorithm>
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

template <typename T>
std::vector<T> bias_numbers(const Array* bias, int64_t count) {
  return bias != nullptr ? numbers<T>(*bias) : std::vector<T>(static_cast<size_t>(count));
}

}  // namespace

template <typename T>
void project(const Array& x_array, const Array& weight, const Array* bias, Heads<T>* result) {
  const int64_t m = weight.shape.back();
  const int64_t width = result->width, length = result->length;
  const std::vector<T> x = numbers<T>(x_array), w = numbers<T>(weight);
  const std::vector<T> b = bias_numbers<T>(bias, result->heads * width);
  const int64_t rows = result->batch * length;
  parallel_for((rows + kRows - 1) / kRows, [&](int64_t group) {
    for (int64_t n = 0; n < result->heads * width; ++n) {
      const T* w_row = &w[static_cast<size_t>(n * m)];
      const T bias_value = b[static_cast<size_t>(n)];
      for (int64_t row = group * kRows; row < std::min(rows, (group + 1) * kRows); ++row) {
        const T* x_row = &x[static_cast<size_t>(row * m)];
        const size_t at =
            result->at(row / length, n / width, row % length) + static_cast<size_t>(n % width);
        result->values[at] = dot(x_row, w_row, m) + bias_value;
        if constexpr (std::is_same_v<T, double>) {
          result->errors[at] = sum_error(m) * (dot_abs(x_row, w_row, m) + std::abs(bias_value));
        }
      }
    }
  });
}

template <typename T>
void project_out(const Heads<T>& o, const Array& weight, const Array* bias, Array* y,
                 Array* bound) {
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
  parallel_for((rows + kRows - 1) / kRows, [&](int64_t group) {
    const std::vector<double> zeros(static_cast<size_t>(kBounds ? n : 0));
    for (int64_t c = 0; c < m; ++c) {
      const T* w_row = &w[static_cast<size_t>(c * n)];
      const T bias_value = b[static_cast<size_t>(c)];
      for (int64_t row = group * kRows; row < std::min(rows, (group + 1) * kRows); ++row) {
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

template void project(const Array&, const Array&, const Array*, Heads<float>*);
template void project(const Array&, const Array&, const Array*, Heads<double>*);
template void project_out(const Heads<float>&, const Array&, const Array*, Array*, Array*);
template void project_out(const Heads<double>&, const Array&, const Array*, Array*, Array*);

}  // namespace mha
