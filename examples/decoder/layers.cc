#include "examples/decoder/layers.h"

#include <array>
#include <cmath>

namespace mha::decoder {

void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon,
              std::span<float> y) {
  const size_t width = weight.size();
  for (size_t begin = 0; begin < x.size(); begin += width) {
    // Sixteen sums side by side, which is exact enough and fast.
    std::array<float, 16> lanes{};
    for (size_t i = 0; i < width; ++i) lanes[i % 16] += x[begin + i] * x[begin + i];
    float sum = 0;
    for (const float lane : lanes) sum += lane;
    const float scale = 1 / std::sqrt(sum / static_cast<float>(width) + epsilon);
    for (size_t i = 0; i < width; ++i) y[begin + i] = x[begin + i] * scale * weight[i];
  }
}

void swiglu(std::span<float> gate, std::span<const float> up) {
  for (size_t i = 0; i < gate.size(); ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
}

void add(std::span<float> x, std::span<const float> y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

}  // namespace mha::decoder
