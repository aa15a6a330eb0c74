// The parts of a BERT layer that are not attention, in f32. Rows are tokens; matrices are row-major
// and dense.
#ifndef MHA_EXAMPLES_MINILM_LAYERS_H_
#define MHA_EXAMPLES_MINILM_LAYERS_H_

#include <cstddef>
#include <span>
#include <vector>

#include "examples/common/linear.h"

namespace mha::minilm {

using examples::Linear;
using examples::linear_variant;

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

}  // namespace mha::minilm

#endif  // MHA_EXAMPLES_MINILM_LAYERS_H_
