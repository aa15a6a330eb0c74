// The tensors of a spec: their names, shapes and dtypes for the lengths of one call. Axes by
// letter: B batch, H query heads, G key/value heads, Lq queries, Lk keys, D head width, Dv value
// width, M model width.
#ifndef MHA_TOOLS_REFERENCE_TENSORS_H_
#define MHA_TOOLS_REFERENCE_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "generator/spec/spec.h"

namespace mha {

// The lengths of one call.
struct CallLengths {
  int64_t batch = 1;
  int64_t query = 1;
  int64_t key = 1;
};

struct TensorDecl {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::string axes;  // "B,Lq,H,D", for messages
  std::vector<int64_t> shape;

  int64_t elements() const;
};

// "[2,7,4,64]"
std::string shape_text(const std::vector<int64_t>& shape);

// What a call reads, weights left out.
std::vector<TensorDecl> input_tensors(const Spec& spec, const CallLengths& lengths);
// w_q, w_k, w_v, w_o and the biases of a block; empty for op attention.
std::vector<TensorDecl> weight_tensors(const Spec& spec);
// What a call writes: the spec's outputs in its order.
std::vector<TensorDecl> output_tensors(const Spec& spec, const CallLengths& lengths);

// The maxima of the spec.
CallLengths max_lengths(const Spec& spec);

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_TENSORS_H_
