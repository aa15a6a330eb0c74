// The parts of a BERT layer that are not attention, in f32. Rows are tokens; matrices are row-major
// and dense.
#ifndef MHA_EXAMPLES_MINILM_LAYERS_H_
#define MHA_EXAMPLES_MINILM_LAYERS_H_

#include <cstddef>
#include <span>
#include <vector>

namespace mha::minilm {

// y = x W^T + b: x [rows, K], W [N, K], b [N], y [rows, N].
class Linear {
 public:
  Linear() = default;
  // Copies the weights into panels of 16 outputs, [N / 16][K][16], so that one load of a panel's
  // row meets 16 outputs. N must be a multiple of 16.
  Linear(std::span<const float> weight, std::span<const float> bias);

  void apply(const float* x, size_t rows, float* y) const;

  size_t inputs() const { return inputs_; }
  size_t outputs() const { return bias_.size(); }

 private:
  size_t inputs_ = 0;
  std::vector<float> panels_;
  std::vector<float> bias_;
};

// y = weight * (x - mean(x)) / sqrt(variance(x) + eps) + bias for each row of `width` numbers, in
// place.
struct LayerNorm {
  std::vector<float> weight, bias;
  float epsilon = 1e-12f;

  void apply(float* x, size_t rows) const;
};

// x (1 + erf(x / sqrt(2))) / 2 for each number, in place.
void gelu(std::span<float> x);

// Within 5e-7 of erf(x).
float erf_approximation(float x);

// What the machine that runs this gets: "avx512", "avx2" or "baseline".
const char* linear_variant();

}  // namespace mha::minilm

#endif  // MHA_EXAMPLES_MINILM_LAYERS_H_
