#include "tools/reference/precision.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace mha {

float float_of_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

float float_of_f16(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  float value;
  if (exponent == 31) {
    value = mantissa == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(mantissa), -24);
  } else {
    value = std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

uint16_t bf16_of_float(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>((bits >> 16) | 0x40);
  // Half of the last place, less one where the last place is even: ties go to even.
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

uint16_t f16_of_float(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return sign | 0x7e00;
  const float size = std::abs(value);
  // In units of the last place; nearbyint() rounds ties to even, and 2^11 units are the next power
  // of two's 2^10.
  constexpr float kLargest = 65520;  // halfway between 65504 and what would be 65536
  if (size >= kLargest) return sign | 0x7c00;
  const int exponent = std::max(size == 0 ? -14 : std::ilogb(size), -14);
  const auto units = static_cast<int>(std::nearbyint(std::ldexp(size, 10 - exponent)));
  return static_cast<uint16_t>(sign | (((exponent + 14) << 10) + units));
}

float round_to(Dtype dtype, float value) {
  if (dtype == Dtype::kBF16) return float_of_bf16(bf16_of_float(value));
  if (dtype == Dtype::kF16) return float_of_f16(f16_of_float(value));
  return value;
}

double unit_roundoff(Dtype dtype) {
  return dtype == Dtype::kBF16 ? 0x1p-8 : dtype == Dtype::kF16 ? 0x1p-11 : 0;
}

double rounding_error(Dtype dtype, double magnitude) {
  if (magnitude == 0) return 0;
  const double smallest = dtype == Dtype::kF16 ? 0x1p-25 : 0;
  return std::max(unit_roundoff(dtype) * magnitude, smallest);
}

Array stored_weight(const Array& weight, Dtype dtype) {
  Array stored = weight;
  if (dtype != Dtype::kInt8) {
    for (double& w : stored.values) w = round_to(dtype, static_cast<float>(w));
    return stored;
  }
  const auto columns = static_cast<size_t>(weight.shape.back());
  for (size_t begin = 0; begin < stored.values.size(); begin += columns) {
    float largest = 0;
    for (size_t c = 0; c < columns; ++c) {
      largest = std::max(largest, std::abs(static_cast<float>(stored.values[begin + c])));
    }
    const float scale = largest / 127.0F;
    for (size_t c = 0; c < columns; ++c) {
      double& w = stored.values[begin + c];
      // The product is taken once for a whole sum, and is exact here.
      w = scale == 0 ? 0
                     : static_cast<double>(std::nearbyint(static_cast<float>(w) / scale)) * scale;
    }
  }
  return stored;
}

}  // namespace mha
