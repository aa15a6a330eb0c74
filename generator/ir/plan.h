// The Plan: what every back end starts from. It is read off the canonicalised `mha` dialect, so
// that merging, folding and pruning are decided once, in the IR.
#ifndef MHA_GENERATOR_IR_PLAN_H_
#define MHA_GENERATOR_IR_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

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

// softmax(score_scale * Q K^T, masked) V of every head.
struct Attention {
  int64_t heads = 0, kv_heads = 0;
  int64_t d_head = 0, d_value = 0;
  double score_scale = 1;  // what is left after folding
  bool causal = false;
  bool key_lengths = false;
  QueryOffset query_offset = QueryOffset::kStart;
  bool want_lse = false;
  bool want_weights = false;
  bool operator==(const Attention&) const = default;
};

struct Plan {
  std::string name;
  Op op = Op::kBlock;
  Layout layout = Layout::kBshd;
  Range batch, query_length, key_length;
  bool self_length = false;  // Lk is Lq, also at run time
  const Range& keys() const { return self_length ? query_length : key_length; }
  int64_t d_model = 0;  // block
  // block: in the order they are to run; empty for op attention
  std::vector<Projection> projections;
  Attention attention;
  std::string out_weight;  // block: "w_o"
  std::string out_bias;    // block: "b_o" or empty
  std::vector<std::string> outputs;
  bool operator==(const Plan&) const = default;
};

}  // namespace mha

#endif  // MHA_GENERATOR_IR_PLAN_H_
