#include "examples/minilm/layers.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace mha::minilm {
namespace {

constexpr size_t kPanel = 16;
constexpr size_t kPrefetchRows = 64;

// Compiled once for each instruction set below: bodies are inlined into functions that differ in
// their target alone.
#define MHA_INLINE [[gnu::always_inline]] inline

// y = x W^T + b for `Rows` rows and one panel, accumulated in registers. `Lanes` floats fill a
// vector register.
template <size_t Lanes, size_t Rows>
MHA_INLINE void tile(const float* x, size_t inputs, const float* panel, const float* bias, float* y,
                     size_t outputs) {
  typedef float Vector __attribute__((vector_size(Lanes * sizeof(float)), aligned(4), may_alias));
  constexpr size_t kVectors = kPanel / Lanes;
  Vector sum[Rows][kVectors];
  for (size_t v = 0; v < kVectors; ++v) {
    for (size_t r = 0; r < Rows; ++r) sum[r][v] = *(const Vector*)(bias + v * Lanes);
  }
  for (size_t k = 0; k < inputs; ++k) {
    // A short sentence reads the weights faster than the hardware fetches them ahead: 6 layers of
    // 16 tokens take 1.4 ms with this line and 2.0 ms without (Zen 5, from the L3 cache). Past the
    // end it asks for nothing that is used.
    __builtin_prefetch(panel + (k + kPrefetchRows) * kPanel);
    Vector weight[kVectors];
    for (size_t v = 0; v < kVectors; ++v) {
      weight[v] = *(const Vector*)(panel + k * kPanel + v * Lanes);
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) sum[r][v] += x[r * inputs + k] * weight[v];
    }
  }
  for (size_t r = 0; r < Rows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) *(Vector*)(y + r * outputs + v * Lanes) = sum[r][v];
  }
}

struct Operands {
  const float* x;
  size_t rows, inputs, outputs;
  const float* panels;
  const float* bias;
  float* y;
};

// A panel (K x 16) stays in the cache while all rows pass by it, in tiles of nearly equal height:
// `MaxRows` rows are as many accumulators as the registers hold, and 17 rows are better cut 9 + 8
// than 16 + 1, because one accumulator waits for its own last addition.
template <size_t Lanes, size_t MaxRows>
MHA_INLINE void multiply(const Operands& o) {
  const size_t tiles = (o.rows + MaxRows - 1) / MaxRows;
  for (size_t n = 0; n < o.outputs; n += kPanel) {
    const float* panel = o.panels + n * o.inputs;
    for (size_t t = 0; t < tiles; ++t) {
      const size_t row = o.rows * t / tiles, count = o.rows * (t + 1) / tiles - row;
      const float* x = o.x + row * o.inputs;
      float* y = o.y + row * o.outputs + n;
      [&]<size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
        (void)((count == I + 1 &&
                (tile<Lanes, I + 1>(x, o.inputs, panel, o.bias + n, y, o.outputs), true)) ||
               ...);
      }(std::make_index_sequence<MaxRows>());
    }
  }
}

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

void multiply_baseline(const Operands& o) { multiply<4, 2>(o); }
void gelu_baseline(float* x, size_t count) { gelu_body(x, count); }

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] void multiply_avx2(const Operands& o) { multiply<8, 6>(o); }
[[gnu::target("avx2,fma")]] void gelu_avx2(float* x, size_t count) { gelu_body(x, count); }
[[gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] void multiply_avx512(const Operands& o) {
  multiply<16, 12>(o);
}
#endif

struct Variant {
  const char* name;
  void (*multiply)(const Operands&);
  void (*gelu)(float*, size_t);
};

Variant choose_variant() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return {"avx512", multiply_avx512, gelu_avx2};
  }
  if (avx2) return {"avx2", multiply_avx2, gelu_avx2};
#endif
  return {"baseline", multiply_baseline, gelu_baseline};
}

const Variant& variant() {
  static const Variant chosen = choose_variant();
  return chosen;
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

Linear::Linear(std::span<const float> weight, std::span<const float> bias)
    : inputs_(bias.empty() ? 0 : weight.size() / bias.size()),
      panels_(weight.size()),
      bias_(bias.begin(), bias.end()) {
  if (bias.empty() || bias.size() % kPanel != 0 || inputs_ * bias.size() != weight.size()) {
    throw std::logic_error("Linear: bad shape");
  }
  for (size_t n = 0; n < bias.size(); ++n) {
    float* column = panels_.data() + (n / kPanel) * inputs_ * kPanel + n % kPanel;
    for (size_t k = 0; k < inputs_; ++k) column[k * kPanel] = weight[n * inputs_ + k];
  }
}

void Linear::apply(const float* x, size_t rows, float* y) const {
  variant().multiply({x, rows, inputs_, bias_.size(), panels_.data(), bias_.data(), y});
}

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

void gelu(std::span<float> x) { variant().gelu(x.data(), x.size()); }

float erf_approximation(float x) { return erf_body(x); }

const char* linear_variant() { return variant().name; }

}  // namespace mha::minilm
