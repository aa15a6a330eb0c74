// Plan -> Program: the algorithm of every stage. Nothing here says how a loop is arranged; the few
// sizes that the algorithm itself needs (how keys are cut into blocks, how weights are cut into
// panels) come in as a Blocking.
#ifndef MHA_GENERATOR_PIPELINE_PIPELINE_H_
#define MHA_GENERATOR_PIPELINE_PIPELINE_H_

#include <cstdint>
#include <map>
#include <string>

#include "generator/ir/plan.h"
#include "generator/pipeline/program.h"

namespace mha {

// What the rows y of a task's tile of scores are.
enum class TileRows {
  kQueries,  // a block of queries of one head, or of all heads
  // Queries of the heads of one KV head, the heads of a query next to each other; keys come in the
  // panels of a cache: c is the panel, x the lane.
  kGroup,  // of one sequence
  kShared  // of all sequences of the call, over the keys that they share
};

// How 2^x is computed (exp2_nonpositive()): with a polynomial of degree 5, where what is too small
// is found by a comparison at the end, or by a clamp at the beginning; with one of degree 4.
enum class ExpForm { kCompared = 0, kClamped = 1, kDegree4 = 2 };

struct AttentionBlocking {
  int query_block = 64;                         // queries of one task
  int key_block = 128;                          // keys whose softmax is one partial result
  int key_tile = 8;                             // K rows are read in groups of so many
  int value_rows = 8;                           // queries of a register tile of the product with V
  bool pack_keys = false, pack_values = false;  // copied per head before use
  bool heads_first = false;  // tasks: the heads of a query block before the next query block
  bool textbook = false;     // the stage is that of textbook.cc, for Halide's autoschedulers
  bool whole_rows = false;   // one task has all queries of a head: query_block is their number
  TileRows rows = TileRows::kQueries;
  bool pairs = false;       // takes_pairs() of the plan
  bool split_keys = false;  // every block of keys is a task, merged by a stage of its own
  ExpForm exp = ExpForm::kCompared;
};

// The attention of few queries over a cache.
struct DecodeBlocking {
  int split = 256;  // keys of one task, a multiple of kCachePanel
};

struct ProjectionBlocking {
  int row_tile = 8;         // rows computed at a time; buffers in the workspace are padded to it
  int panel = 32;           // columns of a panel of packed weights
  int task_panels = 1;      // panels of one task; in front of the attention, of one head
  int task_rows = 512;      // rows of one task, a multiple of row_tile
  bool rows_first = false;  // tasks: all rows of some panels before the next panels
};

struct Blocking {
  int lanes = 16;         // f32 lanes of a vector: widths in the workspace are padded to it
  bool bf16_dot = false;  // the machine multiplies pairs of bf16 and adds both to an f32
  AttentionBlocking attention;
  DecodeBlocking decode;
  std::map<std::string, ProjectionBlocking> projections;  // by stage name
};

// Names of the stages that build_program() makes for this plan, in order: "widen_x", "project_qkv",
// "norm_q", "norm_k", "pack_keys", "pack_values", "append_keys", "append_values", "attention" or,
// of few queries over a cache, "decode_shared", "decode" and "merge", "weights", "project_out", as
// far as the plan has them.
std::string projection_stage_name(const Projection& projection);

// Rows of K and V that a call brings, where it brings any: all of them where there is no cache.
inline Range new_keys(const Plan& plan) {
  if (plan.has_own_keys()) return plan.new_key_length;
  return plan.cache ? plan.queries() : plan.keys();
}

// Whether calls of this plan are served by the stages "decode" and "merge", which read K and V once
// for all heads of a KV head, and not by "attention", which has a vector of queries of one head.
constexpr int64_t kMostDecodeQueries = 16;
inline bool decodes(const Plan& plan) {
  return plan.cache.has_value() && plan.query_length.max <= kMostDecodeQueries;
}

// Head width in the workspace: padded to whole vectors, so that no inner loop has a remainder.
inline int64_t padded_width(int64_t width, int lanes) {
  return (width + lanes - 1) / lanes * lanes;
}

// Whether products of q with K, and of probabilities with V, take pairs of bf16: else every operand
// of an inner loop is f32.
inline bool takes_pairs(const Plan& plan, bool bf16_dot) {
  return bf16_dot && plan.dtype == Dtype::kBF16;
}

// How a block's projections multiply.
inline Products products_of(const Plan& plan, bool bf16_dot) {
  if (plan.weights != Dtype::kBF16) return Products::kSingles;
  return takes_pairs(plan, bf16_dot) ? Products::kPairs : Products::kHalves;
}

// The rows that a projection can count on: weights of a call with few rows are read once, and what
// serves many would be lost on them. Those of queries decide which variant of a kernel is called.
inline int64_t expected_rows(const Plan& plan, bool of_memory) {
  if (of_memory) return new_keys(plan).max;
  return plan.query_length.max == 1 ? plan.batch.min : plan.query_length.min;
}

// Whether a projection with tiles of `row_tile` rows converts a panel of its weights once a task,
// for all tiles, and not in the inner loop; and whether its rows are converted once a call.
inline bool converts_once(int64_t rows, int row_tile) { return rows > 2 * row_tile; }
inline bool converts_panels(const Plan& plan, bool bf16_dot, int64_t rows, int row_tile) {
  return converts_once(rows, row_tile) && plan.weights != Dtype::kF32 &&
         products_of(plan, bf16_dot) != Products::kPairs;
}

// How converted panels are multiplied. Every number of int8 is one of bf16.
inline Products converted_products(const Plan& plan, bool bf16_dot) {
  return plan.weights == Dtype::kInt8 && takes_pairs(plan, bf16_dot) ? Products::kPairs
                                                                     : Products::kSingles;
}

Program build_program(const Plan& plan, const Blocking& blocking);

}  // namespace mha

#endif  // MHA_GENERATOR_PIPELINE_PIPELINE_H_
