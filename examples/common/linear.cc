#include "examples/common/linear.h"

#include <stdexcept>
#include <utility>

namespace mha::examples {
namespace {

constexpr size_t kPanel = 16;
constexpr size_t kPrefetchRows = 64;

// Compiled once for each instruction set below: bodies are inlined into functions that differ in
// their target alone.
#define MHA_INLINE [[gnu::always_inline]] inline

// One row, whose weights come from memory: four sums, so that no addition waits for the last, and
// the hardware fetches ahead by itself.
template <size_t Lanes>
MHA_INLINE void row_tile(const float* x, size_t inputs, const float* panel, const float* bias,
                         float* y) {
  typedef float Vector __attribute__((vector_size(Lanes * sizeof(float)), aligned(4), may_alias));
  constexpr size_t kVectors = kPanel / Lanes, kSums = 4;
  Vector sum[kSums][kVectors] = {};
  size_t k = 0;
  for (; k + kSums <= inputs; k += kSums) {
#pragma GCC unroll 4
    for (size_t s = 0; s < kSums; ++s) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) {
        sum[s][v] += x[k + s] * *(const Vector*)(panel + (k + s) * kPanel + v * Lanes);
      }
    }
  }
  for (; k < inputs; ++k) {
    for (size_t v = 0; v < kVectors; ++v) {
      sum[0][v] += x[k] * *(const Vector*)(panel + k * kPanel + v * Lanes);
    }
  }
  for (size_t v = 0; v < kVectors; ++v) {
    *(Vector*)(y + v * Lanes) =
        *(const Vector*)(bias + v * Lanes) + (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]);
  }
}

// y = x W^T + b for `Rows` rows and one panel, accumulated in registers. `Lanes` floats fill a
// vector register.
template <size_t Lanes, size_t Rows>
MHA_INLINE void tile(const float* x, size_t inputs, const float* panel, const float* bias, float* y,
                     size_t outputs) {
  if constexpr (Rows == 1) return row_tile<Lanes>(x, inputs, panel, bias, y);
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
  size_t first, last;  // outputs that are wanted
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
  for (size_t n = o.first; n < o.last; n += kPanel) {
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

void multiply_baseline(const Operands& o) { multiply<4, 2>(o); }

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] void multiply_avx2(const Operands& o) { multiply<8, 6>(o); }
[[gnu::target("avx512f,avx512vl,avx512dq,avx2,fma")]] void multiply_avx512(const Operands& o) {
  multiply<16, 12>(o);
}
#endif

struct Variant {
  const char* name;
  void (*multiply)(const Operands&);
};

Variant choose_variant() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return {"avx512", multiply_avx512};
  }
  if (avx2) return {"avx2", multiply_avx2};
#endif
  return {"baseline", multiply_baseline};
}

const Variant& variant() {
  static const Variant chosen = choose_variant();
  return chosen;
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

void Linear::apply(const float* x, size_t rows, float* y, size_t first, size_t last) const {
  variant().multiply({x, rows, inputs_, bias_.size(), first * kPanel, last * kPanel, panels_.data(),
                      bias_.data(), y});
}

const char* linear_variant() { return variant().name; }

}  // namespace mha::examples
