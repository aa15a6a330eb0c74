// What happens to the rows of q and k before their product: the RMS norm, and the rotary position
// embedding (RoFormer, Su et al. 2021; llama3's and yarn's scalings as in Hugging Face's
// modeling_rope_utils).
#ifndef MHA_TOOLS_REFERENCE_ROTATION_H_
#define MHA_TOOLS_REFERENCE_ROTATION_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "generator/spec/spec.h"
#include "tools/reference/heads.h"
#include "tools/reference/tensors.h"

namespace mha {

// The angle by which pair i turns from one position to the next, and what cos and sin are
// multiplied by.
struct Frequencies {
  std::vector<double> inv_freq;  // [dims / 2]
  double attention_factor = 1;
};
Frequencies frequencies(const Rope& rope);

using PositionOf = std::function<int64_t(int64_t b, int64_t i)>;

// Norm and rotation of all rows in place, in the spec's order, with the errors where `rows` has
// them; then the rounding to the spec's dtype. Nothing where the spec has neither. `weight`: q_norm
// or k_norm, null without a norm.
template <typename T>
void transform_rows(const Spec& spec, const Array* weight, const PositionOf& position,
                    Heads<T>* rows);

// Rounds what a kernel may keep in the spec's dtype: float values are rounded, float64 ones get
// `roundings` times the error of it. Nothing in f32.
template <typename T>
void round_rows(Dtype dtype, double roundings, Heads<T>* rows);

// How many roundings an element of q or k is charged where it meets others in a sum whose errors
// are added as squares: an element may be off by all of one, not by what is usual.
inline constexpr double kRoundingsInSquares = 3;

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_ROTATION_H_
