// Builders of single stages, shared by program.cc. Private to generator/pipeline.
//
// Dimensions of every activation inside a stage, innermost first: d (width in a head), t (row: a
// query or key), h (head), b (sequence). Variables of the attention tile: y (query in its block), x
// (key in its block), c (key block).
#ifndef MHA_GENERATOR_PIPELINE_STAGES_H_
#define MHA_GENERATOR_PIPELINE_STAGES_H_

#include <Halide.h>

#include <optional>
#include <string>
#include <vector>

#include "generator/pipeline/pipeline.h"

namespace mha {

// numbers[n] as an expression; n where there are none.
Halide::Expr pick(const std::vector<int64_t>& numbers, const Halide::Expr& n);

// How a cache of keys or values holds the rows of a sequence (cache_rows.cc).
struct CacheRows {
  CacheInfo info;
  bool keys = false;         // K in panels, else V in rows
  Halide::ImageParam table;  // (page of the sequence, slot)
};

// Heads of one operand: a 4-D input (d, t, head, b) in which this operand's heads start at
// first_head. Merged projections give one input to q, k and v alike. Or, with `cache`, a pool of
// pages, and t counts from the first key of the sequence.
struct HeadSource {
  Halide::ImageParam input;
  Operand operand;
  int64_t first_head = 0;
  bool padded_rows = false;  // rows may be read up to the next multiple of the key tile
  // V of products that take pairs: element (2 d + e, row) is V[2 row + e][d]; where sequences are
  // packed, and may begin at any row, V[row + e][d].
  bool key_pairs = false;
  // Where the input has heads that are not computed: which of them computed head n is.
  std::vector<int64_t> picked = {};
  Halide::Expr head(const Halide::Expr& computed) const {
    return pick(picked, computed) + static_cast<int>(first_head);
  }
  std::optional<CacheRows> cache = {};
};

// Where a stage finds what the norm of q, or that of k, reads beside the rows.
struct NormSource {
  // [D], or of all heads one after the other where the width is all.
  Halide::ImageParam weight;
  Operand weight_operand;
  // Width all: 1 / root of each row (t, b), which the stage of build_norms() has left.
  Halide::ImageParam roots;
  Operand roots_operand;
};

// The pool of a cache as a source: of keys, or of values; both have the page table.
HeadSource cache_source(const CacheInfo& info, bool keys, const Halide::ImageParam& table);
// The places of a pool, one Expr a dimension, at which element `width` of key `key` of a head lies;
// `slot` is the sequence's row of the page table. The pool has `pages` pages; not defined: those of
// the source's input.
std::vector<Halide::Expr> cache_place(const HeadSource& source, const Halide::Expr& width,
                                      const Halide::Expr& key, const Halide::Expr& head,
                                      const Halide::Expr& slot, const Halide::Expr& pages = {});
// The same of a key given as a panel and its lane there, so that a vector of lanes is seen to lie
// in one panel.
std::vector<Halide::Expr> cache_panel_place(const HeadSource& source, const Halide::Expr& width,
                                            const Halide::Expr& panel, const Halide::Expr& lane,
                                            const Halide::Expr& head, const Halide::Expr& slot,
                                            const Halide::Expr& pages = {});
// Of a pool of pairs number `half` of a pair, so that both are seen to lie side by side: of a key's
// width (d = 2 pair + half), and of the keys of a column of values (key = 2 pair + half).
std::vector<Halide::Expr> cache_width_pair(const HeadSource& source, const Halide::Expr& half,
                                           const Halide::Expr& pair, const Halide::Expr& panel,
                                           const Halide::Expr& lane, const Halide::Expr& head,
                                           const Halide::Expr& slot,
                                           const Halide::Expr& pages = {});
std::vector<Halide::Expr> cache_key_pair(const HeadSource& source, const Halide::Expr& width,
                                         const Halide::Expr& half, const Halide::Expr& pair,
                                         const Halide::Expr& head, const Halide::Expr& slot,
                                         const Halide::Expr& pages = {});

// A mask as the caller has it, (key, query, head, sequence), any of them repeated by stride 0.
struct MaskSource {
  Halide::ImageParam input;
  Operand operand;
};

// A table that rules read; dimensions of the input innermost first.
struct TableSource {
  Table table;
  Halide::ImageParam input;
  Operand operand;
};

// A logit of each head of the caller, [H].
struct SinkSource {
  Halide::ImageParam input;
  Operand operand;
};

// What scores are computed from. q as its source has it; norm and rotation are applied by the
// stages that read it. Those of k have been applied.
struct ScoreInputs {
  HeadSource q, k;
  NormSource q_norm;
  MaskSource mask;
  std::vector<TableSource> tables;
};

struct AttentionInputs : ScoreInputs {
  HeadSource v;
  SinkSource sink;            // if the plan has one
  Operand output;             // (d, t, h, b)
  bool output_dense = false;  // its heads are those that are computed, else the caller's
  int64_t output_width = 0;   // Dv, or padded where the output lies in the workspace
  Halide::Type output_type = Halide::Float(32);
  // (t, h, b) each, or index -1: lse in natural units; the row's max, in the unit of the scores,
  // and 1 / sum of exp, which the stages over pairs read.
  Operand lse, row_max, row_scale;
};

struct DecodeInputs;
// With `splits` every block of keys is a task, and only its partial results are written, for
// build_merge().
Stage build_attention(const Plan& plan, const Blocking& blocking, const AttentionInputs& inputs,
                      const DecodeInputs* splits = nullptr);

// The same without blocks, for Halide's autoschedulers: fixed lengths, and the output alone.
Stage build_textbook_attention(const Plan& plan, const Blocking& blocking,
                               const AttentionInputs& inputs);

// Attention of few queries over the keys of a cache, a fixed number of keys a task. Rows are (query
// of all sequences, head of a KV head), the heads of a query next to each other.
struct DecodeInputs : ScoreInputs {
  HeadSource v;
  // Of each split: the product with V (d, row, split, kv head), unscaled; max and sum of its rows
  // (row, split, kv head), in the unit of the scores.
  Operand partial, split_max, split_sum;
  int64_t partial_width = 0;  // of `partial`
  // Splits of the stage attention, one a block of keys: every query head counts as a KV head.
  bool of_blocks = false;
};
// The stage "decode": splits of a sequence's own keys; with `shared` the stage "decode_shared":
// splits within the keys that all sequences of the call share, for the rows of all.
Stage build_decode(const Plan& plan, const Blocking& blocking, const DecodeInputs& inputs,
                   bool shared);
// The stage "merge": rows of the attention's output from the partial results of all splits.
Stage build_merge(const Plan& plan, const Blocking& blocking, const DecodeInputs& splits,
                  const AttentionInputs& inputs);
// The stage `name`: a call's new rows of K or of V into the cache; with `norm` they are transformed
// as the plan says, which may be a rotation alone.
Stage build_append(const std::string& name, const Plan& plan, const HeadSource& rows,
                   const HeadSource& cache, const NormSource* norm);

struct PairInputs : ScoreInputs {
  Operand row_max, row_scale, output;
};
// The stage `name`:
// weights(key, t, h, b) = exp(score - row_max) * row_scale for visible keys, else 0;
// scores(key, t, h, b) = scale * q k of every pair, in natural units;
// scores_capped(key, t, h, b) = the same after softcap;
// scores_masked(key, t, h, b) = what the softmax is taken of, -inf where hidden.
Stage build_pairs(const std::string& name, const Plan& plan, const Blocking& blocking,
                  const PairInputs& inputs);
// mean_weights(key, t, b) = sum_h weights(key, t, h, b) / H.
Stage build_mean_weights(const Plan& plan, const Blocking& blocking, const PairInputs& inputs);
// top_weights, top_indices (n, t, h, b): the weight and the key of the n-th highest score of the
// row among the keys it sees; of equal ones the first key; 0 and -1 where it sees no more.
// inputs.output is top_weights.
Stage build_top(const Plan& plan, const Blocking& blocking, const PairInputs& inputs,
                const Operand& indices);

// packed(d, t, g, b) = input(d, t, g, b), zero for d >= width: contiguous rows per head, of `type`.
// With `norm` these are rows of k, and norm and rotation are applied as far as the plan has them.
Stage build_pack(const std::string& name, const Plan& plan, const HeadSource& source,
                 const Operand& output, int64_t width, int64_t padded, Halide::Type type,
                 const NormSource* norm = nullptr);
// The same with two rows as one, as HeadSource::key_pairs has them.
Stage build_pack_pairs(const std::string& name, const Plan& plan, const HeadSource& source,
                       const Operand& output, int64_t width, int64_t padded);

// output(m, t, b) = input(m, t, b) as f32, `width` wide: rows that projections read many times.
Stage build_widen(const std::string& name, const Halide::ImageParam& input, const Operand& operand,
                  const Operand& output, int64_t width, const Range& rows, Symbol rows_symbol,
                  Symbol batch_symbol);

// output(.., t, h, b) = 0 for the pruned heads; `innermost` is the first dimension's extent, or 0
// where the output has none before t.
struct ZeroInputs {
  std::string output;  // its name
  Operand operand;
  Dtype dtype = Dtype::kF32;
  int64_t innermost = 0;   // 0: none
  bool over_keys = false;  // the first dimension is Lk
};
Stage build_zero(const Plan& plan, const ZeroInputs& inputs);

// y = x W^T + b. x is (m, t, b), or (d, t, head, b) read as columns head * width + d, and of any
// float type, as its input says; sums are float32.
struct ProjectionInputs {
  Halide::ImageParam input;
  Operand operand;
  int64_t heads = 0;  // of a 4-D input; 0: the input is 3-D
  int64_t columns = 0, width = 0;
  Dtype weights = Dtype::kF32;             // as they are packed
  Products products = Products::kSingles;  // as the weights lie
  // Panels are converted once a task, for products of this kind.
  std::optional<Products> converted = {};
  int weights_pack = -1, bias_pack = -1;
  int scales_pack = -1;  // of int8
  Range rows;
  Symbol rows_symbol = Symbol::kQuery;
  Symbol batch_symbol = Symbol::kBatch;  // kOne: all rows are one sequence
  bool batch_rows = false;               // row r is the only row of sequence r
  Operand output;
  int64_t output_heads =
      0;  // > 0: output (d, t, head, b), output_width wide, rows padded; 0: (n, t, b), exact
  int64_t output_width = 0;
  Halide::Type output_type = Halide::Float(32);
};
Stage build_projection(const std::string& name, const Blocking& blocking,
                       const ProjectionInputs& inputs);

// 2^x for x <= 0, NaN for NaN; exactly 0 for x < -127, so that a hidden key adds nothing. Relative
// error above -126: below 1.6e-7 with fused multiply-add, 2e-7 without, 3e-6 with kDegree4. Between
// the two ends within 2^-126 of it.
Halide::Expr exp2_nonpositive(Halide::Expr x, ExpForm form = ExpForm::kCompared);

// tanh x, relative error below 3.2e-7, 4.4e-8 RMS; NaN for NaN.
Halide::Expr tanh_f32(const Halide::Expr& x);

// values[index]; the last of them for an index behind it.
Halide::Expr choose(const std::vector<Halide::Expr>& values, const Halide::Expr& index);

// Collects the scalar operands of a stage: a Param is made the first time that a symbol is asked
// for.
class StageScalars {
 public:
  explicit StageScalars(std::string prefix) : prefix_(std::move(prefix)) {}
  Halide::Expr get(Symbol symbol);
  // The constant where the range is one number, else the symbol's scalar.
  Halide::Expr length(const Range& range, Symbol symbol);
  void add_to(Stage& stage) const;

 private:
  std::string prefix_;
  std::vector<std::pair<Symbol, Halide::Param<int>>> params_;
};

}  // namespace mha

#endif  // MHA_GENERATOR_PIPELINE_STAGES_H_
