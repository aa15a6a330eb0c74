#include "tools/reference/rotation.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <type_traits>

#include "tools/reference/precision.h"
#include "tools/reference/sums.h"

namespace mha {
namespace {

// Wavelengths that fit the original context often stay, long ones are stretched, and between the
// two it goes over linearly in the number of turns.
void scale_llama3(const RopeScaling& scaling, std::vector<double>* inv_freq) {
  const double factor = scaling.numbers.at("factor");
  const double low = scaling.numbers.at("low_freq_factor");
  const double high = scaling.numbers.at("high_freq_factor");
  const double length = scaling.numbers.at("original_length");
  for (double& f : *inv_freq) {
    const double turns = length * f / (2 * std::numbers::pi);
    const double kept = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    f = kept * f + (1 - kept) * f / factor;
  }
}

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

double scale_yarn(const Rope& rope, std::vector<double>* inv_freq) {
  const auto& numbers = rope.scaling.numbers;
  const auto number = [&](const char* name) {
    const auto found = numbers.find(name);
    return found == numbers.end() ? 0 : found->second;
  };
  const double factor = number("factor"), length = number("original_length");
  const auto dims = static_cast<double>(rope.dims);
  // The pair that turns so many times over the original context.
  const auto pair_of = [&](double turns) {
    return dims * std::log(length / (turns * 2 * std::numbers::pi)) / (2 * std::log(rope.theta));
  };
  double low = pair_of(number("beta_fast")), high = pair_of(number("beta_slow"));
  if (number("truncate") != 0) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < inv_freq->size(); ++i) {
    double& f = (*inv_freq)[i];
    const double stretched = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    f = stretched * f / factor + (1 - stretched) * f;
  }
  if (numbers.count("attention_factor") > 0) return number("attention_factor");
  if (number("mscale") != 0 && number("mscale_all_dim") != 0) {
    return yarn_mscale(factor, number("mscale")) / yarn_mscale(factor, number("mscale_all_dim"));
  }
  return yarn_mscale(factor, 1);
}

// x / sqrt(mean(x^2) + eps) * w over `width` heads of one row.
template <typename T>
void norm_part(const QkNorm& norm, const std::vector<size_t>& at, const Array& weight,
               Heads<T>* rows) {
  const auto count = static_cast<double>(at.size());
  T squares = 0;
  double from_errors = 0;
  for (size_t place : at) {
    const T x = rows->values[place];
    squares += x * x;
    if constexpr (std::is_same_v<T, double>) {
      from_errors += x * rows->errors[place] * x * rows->errors[place];
    }
  }
  const T mean = squares / static_cast<T>(count) + static_cast<T>(norm.eps);
  const T factor = 1 / std::sqrt(mean);
  // The relative error of the factor, from those of the elements.
  const double of_factor = std::sqrt(from_errors) / (count * static_cast<double>(mean));
  for (size_t d = 0; d < at.size(); ++d) {
    T& x = rows->values[at[d]];
    const T w = static_cast<T>(weight.values[d]) + static_cast<T>(norm.weight_offset);
    const T y = x * factor * w;
    if constexpr (std::is_same_v<T, double>) {
      double& error = rows->errors[at[d]];
      error = std::abs(factor * w) * error +
              std::abs(y) * (of_factor + sum_error(static_cast<int64_t>(at.size())));
    }
    x = y;
  }
}

template <typename T>
void norm_rows(const QkNorm& norm, const Array& weight, Heads<T>* rows) {
  const int64_t together = norm.all_width ? rows->heads : 1;
  for (int64_t b = 0; b < rows->batch; ++b) {
    for (int64_t i = 0; i < rows->length; ++i) {
      for (int64_t first = 0; first < rows->heads; first += together) {
        std::vector<size_t> at;
        for (int64_t h = first; h < first + together; ++h) {
          for (int64_t d = 0; d < rows->width; ++d) {
            at.push_back(rows->at(b, h, i) + static_cast<size_t>(d));
          }
        }
        norm_part(norm, at, weight, rows);
      }
    }
  }
}

// Turns (x, y) by an angle whose cos and sin a kernel may have off by 8 eps of float32.
template <typename T>
void turn(const double cos, const double sin, double factor, T* x, T* y, double* x_error,
          double* y_error) {
  const T c = static_cast<T>(cos * factor), s = static_cast<T>(sin * factor);
  const T turned_x = *x * c - *y * s, turned_y = *y * c + *x * s;
  if constexpr (std::is_same_v<T, double>) {
    const double own = 10 * kEps * std::abs(factor) * (std::abs(*x) + std::abs(*y));
    const double ex = *x_error, ey = *y_error;
    *x_error = own + std::hypot(c * ex, s * ey);
    *y_error = own + std::hypot(c * ey, s * ex);
  }
  *x = turned_x;
  *y = turned_y;
}

template <typename T>
void rotate_rows(const Rope& rope, const PositionOf& position, Heads<T>* rows) {
  const Frequencies f = frequencies(rope);
  const size_t pairs = f.inv_freq.size();
  double none = 0;
  for (int64_t b = 0; b < rows->batch; ++b) {
    for (int64_t i = 0; i < rows->length; ++i) {
      const auto p = static_cast<double>(position(b, i));
      for (size_t pair = 0; pair < pairs; ++pair) {
        const double cos = std::cos(p * f.inv_freq[pair]), sin = std::sin(p * f.inv_freq[pair]);
        const size_t first = rope.interleaved ? 2 * pair : pair;
        const size_t second = rope.interleaved ? 2 * pair + 1 : pair + pairs;
        for (int64_t h = 0; h < rows->heads; ++h) {
          const size_t at = rows->at(b, h, i);
          const bool errors = !rows->errors.empty();
          turn(cos, sin, f.attention_factor, &rows->values[at + first], &rows->values[at + second],
               errors ? &rows->errors[at + first] : &none,
               errors ? &rows->errors[at + second] : &none);
        }
      }
    }
  }
}

}  // namespace

Frequencies frequencies(const Rope& rope) {
  Frequencies result;
  for (int64_t i = 0; 2 * i < rope.dims; ++i) {
    const double exponent = 2 * static_cast<double>(i) / static_cast<double>(rope.dims);
    result.inv_freq.push_back(std::pow(rope.theta, -exponent));
  }
  const RopeScaling& scaling = rope.scaling;
  if (scaling.type == "linear") {
    for (double& f : result.inv_freq) f /= scaling.numbers.at("factor");
  } else if (scaling.type == "llama3") {
    scale_llama3(scaling, &result.inv_freq);
  } else if (scaling.type == "yarn") {
    result.attention_factor = scale_yarn(rope, &result.inv_freq);
  } else if (!scaling.inv_freq.empty()) {
    result.inv_freq = scaling.inv_freq;
    const auto factor = scaling.numbers.find("attention_factor");
    if (factor != scaling.numbers.end()) result.attention_factor = factor->second;
  }
  return result;
}

template <typename T>
void round_rows(Dtype dtype, double roundings, Heads<T>* rows) {
  if (!is_half(dtype)) return;
  if constexpr (std::is_same_v<T, double>) {
    for (size_t n = 0; n < rows->values.size(); ++n) {
      rows->errors[n] +=
          roundings * rounding_error(dtype, std::abs(rows->values[n]) + rows->errors[n]);
    }
  } else {
    for (T& value : rows->values) value = round_to(dtype, value);
  }
}

template <typename T>
void transform_rows(const Spec& spec, const Array* weight, const PositionOf& position,
                    Heads<T>* rows) {
  if (!spec.qk_norm && !spec.rope) return;
  const bool norm = spec.qk_norm.has_value();
  if (norm && spec.qk_norm->before_rope) norm_rows(*spec.qk_norm, *weight, rows);
  if (spec.rope) rotate_rows(*spec.rope, position, rows);
  if (norm && !spec.qk_norm->before_rope) norm_rows(*spec.qk_norm, *weight, rows);
  round_rows(spec.dtype, kRoundingsInSquares, rows);
}

template void round_rows(Dtype, double, Heads<float>*);
template void round_rows(Dtype, double, Heads<double>*);
template void transform_rows(const Spec&, const Array*, const PositionOf&, Heads<float>*);
template void transform_rows(const Spec&, const Array*, const PositionOf&, Heads<double>*);

}  // namespace mha
