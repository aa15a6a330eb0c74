#include "examples/minilm/layers.h"

#include <array>
#include <cmath>

namespace mha::minilm {
namespace {

// Compiled once for each instruction set below: bodies are inlined into functions that differ in
// their target alone.
#define MHA_INLINE [[gnu::always_inline]] inline

MHA_INLINE float clamped(float x, float limit) {
  return x < -limit ? -limit : x > limit ? limit : x;
}

// erf(x) = x P(x^2) / Q(x^2): a minimax fit of its relative error on [0, 3.92] (1.9e-8 before f32
// rounds); beyond, erf is 1 in f32.
MHA_INLINE float erf_body(float value) {
  const float x = clamped(value, 3.92f);
  const float t = x * x;
  float p = 2.0501125e-06f;
  p = p * t + 0.00028487926f;
  p = p * t + 0.0037654694f;
  p = p * t + 0.052748274f;
  p = p * t + 0.19040304f;
  p = p * t + 1.1283791f;
  float q = 3.8091793e-05f;
  q = q * t + 0.0011624993f;
  q = q * t + 0.014968923f;
  q = q * t + 0.1141077f;
  q = q * t + 0.50207305f;
  q = q * t + 1.0f;
  return x * p / q;
}

MHA_INLINE void gelu_body(float* x, size_t count) {
  constexpr float kInverseSqrt2 = 0.70710678f;
  for (size_t i = 0; i < count; ++i) x[i] = 0.5f * x[i] * (1.0f + erf_body(x[i] * kInverseSqrt2));
}

void gelu_baseline(float* x, size_t count) { gelu_body(x, count); }

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] void gelu_avx2(float* x, size_t count) { gelu_body(x, count); }
#endif

using Gelu = void (*)(float*, size_t);

Gelu choose_gelu() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return gelu_avx2;
#endif
  return gelu_baseline;
}

// Sixteen sums side by side: the order of additions is ours to choose, not the compiler's, and this
// one is fast.
template <typename Term>
MHA_INLINE float sum_of(size_t count, Term term) {
  std::array<float, 16> lanes{};
  size_t i = 0;
  for (; i + lanes.size() <= count; i += lanes.size()) {
    for (size_t lane = 0; lane < lanes.size(); ++lane) lanes[lane] += term(i + lane);
  }
  for (; i < count; ++i) lanes[i % lanes.size()] += term(i);
  float sum = 0;
  for (float lane : lanes) sum += lane;
  return sum;
}

}  // namespace

void LayerNorm::apply(float* x, size_t rows) const {
  const size_t width = weight.size();
  const float scale = 1.0f / static_cast<float>(width);
  for (size_t r = 0; r < rows; ++r) {
    float* row = x + r * width;
    const float mean = scale * sum_of(width, [&](size_t i) { return row[i]; });
    // From the deviations, not as E[x^2] - E[x]^2, which would cancel.
    const float variance = scale * sum_of(width, [&](size_t i) {
                             const float deviation = row[i] - mean;
                             return deviation * deviation;
                           });
    const float inverse = 1.0f / std::sqrt(variance + epsilon);
    for (size_t i = 0; i < width; ++i) row[i] = (row[i] - mean) * inverse * weight[i] + bias[i];
  }
}

void gelu(std::span<float> x) {
  static const Gelu chosen = choose_gelu();
  chosen(x.data(), x.size());
}

float erf_approximation(float x) { return erf_body(x); }

}  // namespace mha::minilm
