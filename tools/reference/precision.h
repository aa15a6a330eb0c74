// Numbers of fewer bits: bf16, f16, and weights stored in them or in int8.
#ifndef MHA_TOOLS_REFERENCE_PRECISION_H_
#define MHA_TOOLS_REFERENCE_PRECISION_H_

#include <cstdint>
#include <vector>

#include "generator/spec/spec.h"
#include "tools/reference/tensors.h"

namespace mha {

float float_of_bf16(uint16_t bits);
float float_of_f16(uint16_t bits);
// Rounded to nearest, ties to even; a NaN stays one, what is too large becomes infinity.
uint16_t bf16_of_float(float value);
uint16_t f16_of_float(float value);

inline bool is_half(Dtype dtype) { return dtype == Dtype::kBF16 || dtype == Dtype::kF16; }
// The nearest number of that dtype; of f32 the value itself.
float round_to(Dtype dtype, float value);
// The most by which rounding a normal number to that dtype moves it, relative to it: 2^-8 (bf16),
// 2^-11 (f16), and 0 for f32, whose roundings are counted elsewhere.
double unit_roundoff(Dtype dtype);
// The most by which rounding moves any number: where f16's numbers end, before it gets relative.
double rounding_error(Dtype dtype, double magnitude);

// What a kernel multiplies with for a matrix [N, K] that is stored in that dtype. int8: of each row
// round(w / scale) * scale with scale = amax / 127, both computed in float32, ties to even.
Array stored_weight(const Array& weight, Dtype dtype);

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_PRECISION_H_
