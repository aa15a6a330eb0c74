// The Plan: what every back end starts from. It is read off the canonicalised `mha` dialect, so
// that merging, folding and pruning are decided once, in the IR.
#ifndef MHA_GENERATOR_IR_PLAN_H_
#define MHA_GENERATOR_IR_PLAN_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "generator/spec/expression.h"
#include "generator/spec/spec.h"

namespace mha {

// One matrix product of the block: y = x W^T + b for several named weights at once. All parts of a
// merged projection read the same input and have the same head width, so that one pass over x makes
// them all.
struct ProjectionPart {
  std::string weight;       // "w_q", "w_k", "w_v"
  std::string bias;         // "b_q", ...; empty: none
  int64_t heads = 0;        // H for q, G for k and v
  int64_t width = 0;        // D or Dv
  double weight_scale = 1;  // folded into weight and bias when they are packed
  bool operator==(const ProjectionPart&) const = default;
};
struct Projection {
  std::string input;  // "x" or "memory"
  std::vector<ProjectionPart> parts;
  bool operator==(const Projection&) const = default;
};

// Turns the pairs of the first 2 * inv_freq.size() numbers of a row at position p by the angles
// p * inv_freq[i]; cos and sin are multiplied by attention_factor. All scaling of the spec's rope
// is in these numbers already.
struct Rotation {
  bool interleaved = false;  // pairs (2i, 2i + 1), else (i, i + dims / 2)
  std::vector<double> inv_freq;
  double attention_factor = 1;
  bool operator==(const Rotation&) const = default;
};

// softmax(score_scale * Q K^T, masked) V of every head.
struct Attention {
  // Of what is computed. Pruned heads are not, nor KV heads that no other head uses.
  int64_t heads = 0, kv_heads = 0;
  // Of the caller's tensors, whose slots of pruned heads are 0.
  int64_t all_heads = 0, all_kv_heads = 0;
  // Where heads are pruned: the caller's number of each computed head and KV head, and the computed
  // KV head (its index in kept_kv_heads) of each computed head. Else empty.
  std::vector<int64_t> kept_heads, kept_kv_heads, kv_head_of;
  int64_t d_head = 0, d_value = 0;
  double score_scale = 1;  // what is left after folding
  // Of the rows of q and k, in the order that QkNorm says.
  std::optional<QkNorm> norm;
  std::optional<Rotation> rotation;
  // In this order on the scaled product; natural units.
  std::optional<double> softcap;     // cap * tanh(s / cap)
  std::vector<double> alibi_slopes;  // s - slope[h] * |q - k|; [all_heads], empty: none
  std::optional<Expression> score_rule;
  // What canonicalisation could not turn into left and right; an and of all of them hides.
  std::optional<Expression> mask_rule;
  std::vector<Table> tables;  // that the rules read
  bool sink = false;
  // Query i sees keys from i + offset - left to i + offset + right; causal is right = 0.
  std::optional<int64_t> left, right;
  bool key_lengths = false, key_starts = false;
  MaskTensor mask = MaskTensor::kNone;
  QueryOffset query_offset = QueryOffset::kStart;
  bool operator==(const Attention&) const = default;
};

struct Plan {
  std::string name;
  Op op = Op::kBlock;
  Layout layout = Layout::kBshd;
  Range batch, query_length, key_length;
  bool self_length = false;  // Lk is Lq, also at run time
  bool packed = false;       // sequences lie end to end; query_length bounds that of each
  // Of one sequence. Packed, each call has sequences of any length up to the largest.
  Range queries() const { return packed ? Range{1, query_length.max} : query_length; }
  Range keys() const { return self_length ? queries() : key_length; }
  // Of the whole batch, laid end to end.
  Range rows() const { return {1, batch.max * query_length.max}; }
  Dtype dtype = Dtype::kF32;    // of activations and KV
  Dtype weights = Dtype::kF32;  // block: of the matrices as they are packed
  std::optional<KvCache> cache;
  // With a cache, the rows of K and V that a call brings: one a query; or that, or none; or as many
  // as new_key_length allows, or none.
  enum class NewKeys { kOfQueries, kOfQueriesOrNone, kOwn };
  NewKeys new_keys = NewKeys::kOfQueries;
  Range new_key_length;  // kOwn
  bool has_own_keys() const { return new_keys == NewKeys::kOwn; }
  bool may_bring_none() const { return new_keys != NewKeys::kOfQueries; }
  int64_t d_model = 0;  // block
  // block: in the order they are to run; empty for op attention
  std::vector<Projection> projections;
  Attention attention;
  std::string out_weight;            // block: "w_o"
  std::string out_bias;              // block: "b_o" or empty
  std::vector<std::string> outputs;  // top_weights and top_indices among them
  int64_t top_k = 0;
  bool wants(const std::string& output) const {
    return std::find(outputs.begin(), outputs.end(), output) != outputs.end();
  }
  bool operator==(const Plan&) const = default;
};

}  // namespace mha

#endif  // MHA_GENERATOR_IR_PLAN_H_
