// Linear layers in f32, on the vector unit that the machine has. Matrices are row-major and dense.
#ifndef MHA_EXAMPLES_COMMON_LINEAR_H_
#define MHA_EXAMPLES_COMMON_LINEAR_H_

#include <cstddef>
#include <span>
#include <vector>

namespace mha::examples {

// y = x W^T + b: x [rows, K], W [N, K], b [N], y [rows, N].
class Linear {
 public:
  Linear() = default;
  // Copies the weights into panels of 16 outputs, [N / 16][K][16], so that one load of a panel's
  // row meets 16 outputs. N must be a multiple of 16.
  Linear(std::span<const float> weight, std::span<const float> bias);

  void apply(const float* x, size_t rows, float* y) const { apply(x, rows, y, 0, panels()); }
  // The outputs of panels [first, last) alone, so that threads may share the work.
  void apply(const float* x, size_t rows, float* y, size_t first, size_t last) const;

  size_t panels() const { return outputs() / 16; }

  size_t inputs() const { return inputs_; }
  size_t outputs() const { return bias_.size(); }
  size_t bytes() const { return (panels_.size() + bias_.size()) * sizeof(float); }

 private:
  size_t inputs_ = 0;
  std::vector<float> panels_;
  std::vector<float> bias_;
};

// What the machine that runs this gets: "avx512", "avx2" or "baseline".
const char* linear_variant();

}  // namespace mha::examples

#endif  // MHA_EXAMPLES_COMMON_LINEAR_H_
