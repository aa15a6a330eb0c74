// The frequencies of rotary position embedding (Su et al., "RoFormer", arXiv:2104.09864) that a
// spec's `rope` asks for.
#ifndef MHA_GENERATOR_IR_ROTATION_H_
#define MHA_GENERATOR_IR_ROTATION_H_

#include "generator/ir/plan.h"
#include "generator/spec/spec.h"

namespace mha {

// inv_freq[i] = theta^(-2i / dims), scaled as Hugging Face's models are
// (transformers, src/transformers/modeling_rope_utils.py), in double:
//
// linear: divided by factor.
// llama3: wavelengths 2 pi / inv_freq above original_length / low_freq_factor are divided by
//   factor, those below original_length / high_freq_factor are kept, and between them a ramp over
//   original_length / wavelength leads from one to the other.
// yarn (Peng et al., arXiv:2309.00071): pairs that turn fewer than beta_slow times within
//   original_length are divided by factor, those that turn more than beta_fast times are kept, and
//   a ramp over the number of the pair leads from one to the other; its ends are whole numbers with
//   `truncate`. attention_factor multiplies cos and sin: as given, or mscale(factor, mscale) /
//   mscale(factor, mscale_all_dim) where both of these are given and not 0, else mscale(factor, 1);
//   mscale(f, m) = 0.1 m ln f + 1.
Rotation rotation_of(const Rope& rope);

}  // namespace mha

#endif  // MHA_GENERATOR_IR_ROTATION_H_
