// The parts of a Llama layer that are not attention, in f32. Rows are tokens, dense.
#ifndef MHA_EXAMPLES_DECODER_LAYERS_H_
#define MHA_EXAMPLES_DECODER_LAYERS_H_

#include <cstddef>
#include <span>

namespace mha::decoder {

// y = weight * x / sqrt(mean(x^2) + epsilon) for each row as long as `weight`.
void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon,
              std::span<float> y);

// gate = gate / (1 + exp(-gate)) * up for each number.
void swiglu(std::span<float> gate, std::span<const float> up);

// x += y.
void add(std::span<float> x, std::span<const float> y);

}  // namespace mha::decoder

#endif  // MHA_EXAMPLES_DECODER_LAYERS_H_
