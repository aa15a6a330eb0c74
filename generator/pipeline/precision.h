// Numbers of one and two bytes: how they become f32 and how f32 becomes them. Private to
// generator/pipeline.
#ifndef MHA_GENERATOR_PIPELINE_PRECISION_H_
#define MHA_GENERATOR_PIPELINE_PRECISION_H_

#include <Halide.h>

#include "generator/spec/spec.h"

namespace mha {

Halide::Type halide_type(Dtype dtype);

// bf16, f16, int8 or f32 -> f32: exact.
Halide::Expr widened(const Halide::Expr& value);

// Of two bf16 in a word of 32 bits the lower (half = 0) or the upper one -> f32.
Halide::Expr widened_half(const Halide::Expr& word, const Halide::Expr& half);

// f32 -> bf16, f16 or f32: to the nearest, to even of two. NaN stays NaN; what is too large becomes
// an infinity.
Halide::Expr narrowed_to(Halide::Type type, const Halide::Expr& value);

// f32, of a NaN only the usual one: narrowed_probability() carries a NaN of all ones, which a
// tensor may hold, over into a zero.
Halide::Expr quieted(const Halide::Expr& value);

// f32 whose lower half is 0 -> bf16.
Halide::Expr cut_to_bf16(const Halide::Expr& value);

// A probability, from 0 to 1, or NaN as arithmetic makes it -> bf16: to the nearest, up of two.
// Two operations, where narrowed_to() takes seven.
Halide::Expr narrowed_probability(const Halide::Expr& value);

}  // namespace mha

#endif  // MHA_GENERATOR_PIPELINE_PRECISION_H_
