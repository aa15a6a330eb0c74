// The tensors of a spec: their names, shapes and dtypes for the lengths of one call. Axes by
// letter: B batch, H query heads, G key/value heads, Lq queries, Lk keys, D head width, Dv value
// width, M model width, T rows of a packed batch.
#ifndef MHA_TOOLS_REFERENCE_TENSORS_H_
#define MHA_TOOLS_REFERENCE_TENSORS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "generator/spec/spec.h"

namespace mha {

// The lengths of one call. In a packed batch `query` and `key` are both the longest that a sequence
// may be, and `total` is what all sequences have together.
struct CallLengths {
  int64_t batch = 1;
  int64_t query = 1;
  int64_t key = 1;
  int64_t total = 0;  // T; packed batches only
  // What rules and tables call the first sequence, where it is one out of a batch.
  int64_t first_sequence = 0;
  // With kv_cache: P, the most keys that a sequence has cached; `key` are the new ones, of which
  // there are none in some calls of specs that may_bring_none(). Of a past
  // in pages: how many there are, and how many entries a row of the block table has.
  int64_t past = 0;
  int64_t pages = 0, blocks = 0;
  // Of random tensors: all sequences have P cached keys, the first `shared` of them in common
  // pages.
  bool full_past = false;
  int64_t shared = 0;
  // Lk of the call: at least 1, as every axis.
  int64_t all_keys() const { return past + key > 0 ? past + key : 1; }
};

struct TensorDecl {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::string axes;  // "B,Lq,H,D", for messages
  std::vector<int64_t> shape;

  int64_t elements() const;
};

// A dense row-major tensor; index tensors hold whole numbers, bool tensors 0 and 1.
struct Array {
  std::vector<int64_t> shape;
  std::vector<double> values;
};
using Arrays = std::map<std::string, Array>;

// "[2,7,4,64]"
std::string shape_text(const std::vector<int64_t>& shape);

// What a call reads, weights left out: in the order of SPEC section 4, then the tables that its
// rules read. The mask is declared with its full shape [B,H,Lq,Lk]; a call
// may give 1 for any of its axes.
std::vector<TensorDecl> input_tensors(const Spec& spec, const CallLengths& lengths);
// w_q, w_k, w_v, w_o, the biases, norms and the sink of a block; empty for op attention. They are
// given in float32 whatever their storage is.
std::vector<TensorDecl> weight_tensors(const Spec& spec);
// What a call writes: the spec's outputs in its order, then top_weights and top_indices, then
// present_key and present_value.
std::vector<TensorDecl> output_tensors(const Spec& spec, const CallLengths& lengths);

// Whether a call may bring no keys to its sequences: those of a cache, that follow no queries.
bool may_bring_none(const Spec& spec);
// Whether that input is a table of the rules.
bool is_table(const Spec& spec, const std::string& name);
// Whether no head that is computed reads that KV head.
bool is_kv_pruned(const Spec& spec, int64_t kv_head);
bool is_pruned(const Spec& spec, int64_t head);

// The maxima of the spec; a packed batch is full, and so is a cache after the call.
CallLengths max_lengths(const Spec& spec);

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_TENSORS_H_
