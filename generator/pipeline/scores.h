// What every stage over scores shares: the transposed queries of its block, the rows of K, and who
// sees whom. Private to generator/pipeline.
//
// Scores are held transposed, S^T[key x][query y], so that the queries of a block lie in vector
// lanes: max and sum over keys are plain vector operations.
#ifndef MHA_GENERATOR_PIPELINE_SCORES_H_
#define MHA_GENERATOR_PIPELINE_SCORES_H_

#include <Halide.h>

#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "generator/pipeline/block_rule.h"
#include "generator/pipeline/head_rows.h"
#include "generator/pipeline/rule.h"
#include "generator/pipeline/stages.h"

namespace mha {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// A row without a visible key has max -inf; subtracting this instead keeps -inf - max at -inf, not
// NaN.
constexpr float kLowest = std::numeric_limits<float>::lowest();

// In units of log2, where exp2(s) is the natural exponential of a score, or in natural units.
enum class ScoreUnit { kLog2, kNatural };

// The unit in which softmax is computed. A score_rule reads natural scores. A mask that is added
// must keep its finite numbers finite: float32's lowest, times log2(e), would be -inf and hide.
ScoreUnit softmax_unit(const Plan& plan);

// How far a score has come on its way into the softmax, masks apart: scale * q k; that after
// softcap; that with all which follows.
enum class ScoreStep { kProduct, kCapped, kAll };

struct ScoreOptions {
  ScoreUnit unit = ScoreUnit::kLog2;
  ScoreStep step = ScoreStep::kAll;
  bool every_head = false;  // one task computes all heads, and the Funcs have the dimension h
  // The mask rule is no part of the masks: the stage looks at it by itself, and only in the blocks
  // of keys that the rule shows in part. Which these are, and which it hides from all queries of
  // the task, is found once a task.
  bool rule_apart = false;
};

class Scores {
 public:
  Halide::Expr query_length, key_length;  // of this sequence
  Halide::Expr first_row;                 // of this sequence in tensors of packed rows, else 0
  Halide::Expr block, sequence;           // the task
  // The task's head by its place among those that are computed, and by the caller's number;
  // every_head: of the variable h.
  Halide::Expr computed_head, head;
  Halide::Expr batch_index;  // of this sequence in tensors of rows: 0 where packed
  // Where a tile holds several heads or sequences, what row y stands for depends on y: head, query
  // and place; of several sequences all that is said of a sequence above, too.
  Halide::Expr query, place;        // of row y: its number in its sequence, and with offset
  Halide::Expr key_begin, key_end;  // keys outside are hidden from every query of the block
  bool query_tail = false;          // the last block may be partly filled
  bool bounded = false;             // key_begin and key_end may cut a block of keys
  bool pairs = false;               // products take two bf16 at a time (takes_pairs())
  Halide::Func queries{"queries"}, query_rows{"query_rows"};  // (y, d[, h]), (d, y[, h])
  // Where products take pairs: (e, y, d / 2[, h]).
  Halide::Func query_pairs{"query_pairs"};
  Halide::Func sequence_of_row{"sequence_of_row"};    // (y), of several packed sequences
  Halide::Func mask{"mask"}, mask_rows{"mask_rows"};  // (y, x, c[, h]), (x, y, c[, h]) if given

  Halide::Var d{"d"}, y{"y"}, x{"x"}, c{"c"}, t{"t"}, h{"h"}, b{"b"};

  Scores(const Plan& plan, const AttentionBlocking& blocking, StageScalars& scalars,
         const ScoreInputs& in, const ScoreOptions& options);

  // The dimensions given, and h where every head has its own.
  std::vector<Halide::Var> vars(std::vector<Halide::Var> list) const;
  std::vector<Halide::Expr> at(std::vector<Halide::Expr> list, const Halide::Expr& head) const;

  // c runs from first_block() on over block_count() blocks of keys.
  Halide::Expr first_block() const, block_count() const;
  // key_begin and key_end, or what of block c the rule does not hide from all queries of the task;
  // an end of 0 where it hides all.
  Halide::Expr block_key_begin() const, block_key_end() const;
  // Whether the rule shows block c in part; whether it shows query y that key.
  Halide::Expr rule_cuts_block() const;
  Halide::Expr rule_shows(const Halide::Expr& key) const;

  // The head of K and V that this task's query head uses.
  Halide::Expr kv_head(const HeadSource& source) const;
  // K[key x of block c][d]; behind the last key the last one, or what is there if rows are padded.
  Halide::Expr key(const Halide::Expr& width) const;
  // K[key x of block c][2 pair + e], e being 0 or 1.
  Halide::Expr paired_key(const Halide::Expr& e, const Halide::Expr& pair) const;
  // V[key][d] of this sequence.
  Halide::Expr value(const HeadSource& v, const Halide::Expr& width, const Halide::Expr& key) const;
  // V[key 2 pair + e][d] of this sequence, e being 0 or 1.
  Halide::Expr paired_value(const HeadSource& v, const Halide::Expr& width, const Halide::Expr& e,
                            const Halide::Expr& pair) const;

  // The width that a product of q and k runs over: (d), or (e, d / 2) where it takes pairs.
  Halide::RDom width_domain(const char* name) const;
  // The summand of query y and key x of block c, and what the sum must be multiplied by.
  Halide::Expr product_term(const Halide::RDom& width) const;
  Halide::Expr scaled(const Halide::Expr& product) const;

  // The place in its block of row t of this task. Where the last block is partly filled, in a form
  // that lets Halide see how far it is.
  Halide::Expr row_in_block(const Halide::Expr& row) const;

  // Keys outside of [begin, end) are hidden from every query of the block from `first`, and before
  // `end`. Queries past the last one, which only fill the block, do not count: V may hold anything
  // where they alone would see it.
  Halide::Expr query_key_begin(const Halide::Expr& first) const;
  Halide::Expr query_key_end(const Halide::Expr& end) const;

  // The score of query y and a key, masks apart, from the product of their rows of `queries` and K.
  Halide::Expr shaped(const Halide::Expr& product, const Halide::Expr& key) const;
  // A logit of this task's head in the unit of the scores.
  Halide::Expr sink(const SinkSource& source) const;
  // Whether query_key_begin() of a multiple of `rows`, or query_key_end() of one, may be odd.
  bool odd_begin(int rows) const;
  bool odd_end(int rows) const;

  // The score of query y and key x of block c with masks applied, -inf where hidden. Chosen after
  // `score` has been computed: a NaN or Inf that is hidden ends here.
  Halide::Expr masked_score(const Halide::Expr& score) const;
  // value where query y sees key x of block c, else `hidden`.
  Halide::Expr where_visible(const Halide::Expr& value, float hidden) const;
  // Whether key x of block c is one of this sequence's keys; masks are not asked.
  Halide::Expr is_key() const;

  // exp of a difference of two scores, at most 0.
  Halide::Expr exp(const Halide::Expr& difference) const;
  Halide::Expr natural(const Halide::Expr& score) const;  // a score in natural units

  // Bounds an output with the dimensions (.., t, h, b) to the rows of the task; h is the caller's
  // number of the head, or its place among those that are computed.
  void bound_rows(Halide::Func out, bool computed = false) const;
  // The same of partial results, (.., r, .., g): rows of all sequences one after another, which are
  // not packed, and computed heads. The first row of this task's sequence there.
  void bound_split(Halide::Func out, const Halide::Var& r, const Halide::Var& g) const;
  Halide::Expr first_split_row() const;
  // The task of a block of queries, a head and a sequence; of all heads where every_head.
  void set_grid(Stage& stage) const;
  // The arguments and operands that scores read.
  void add_inputs(Stage& stage) const;
  // The Funcs above, for schedules.
  void name_inputs(Stage& stage) const;

  // Of tiles that hold several heads: how many rows the task has, and where the first of them
  // stands among those of all sequences.
  Halide::Expr tile_rows() const;
  Halide::Expr first_tile_row() const;

 private:
  Halide::Expr row_count() const;  // of a block of queries
  Halide::Expr visible() const;
  bool right_hides() const;
  void set_group(StageScalars& scalars);
  void set_shared(StageScalars& scalars);
  RuleScope rule_scope(const Halide::Expr& key) const;
  Halide::Expr rule_value(const Rule& rule, const RuleScope& scope) const;
  void find_blocks();
  void hold_row_terms(const Rule& rule, int node);
  bool capped() const;
  bool cap_is_folded() const;
  void pair_queries();
  Halide::Expr query_element(const Halide::Expr& width) const;
  Halide::Expr key_row() const;
  Halide::Expr key_panel() const;

  const Plan& plan_;
  const AttentionBlocking& blocking_;
  const ScoreInputs in_;
  const ScoreUnit unit_;
  const ScoreStep step_;
  const bool every_head_, rule_apart_;
  float scale_ = 1;  // of scores in their unit
  bool scales_sums_ = false;
  Halide::Expr first_query_, keys_, first_key_, offset_, last_key_;
  Halide::Expr slot_;     // of this sequence in the page table
  Halide::Expr kv_head_;  // of tiles that hold its heads
  Halide::Expr tile_rows_;
  Halide::ImageParam sequences_;
  bool key_tail_ = false;
  std::optional<HeadRows> rows_;
  std::optional<Rule> score_rule_, mask_rule_;
  // Parts of rules with tables that only the query decides: (y[, h]), once a task.
  std::map<std::pair<const Rule*, int>, Halide::Func> row_terms_;
  std::vector<Halide::Func> rule_funcs_;
  std::optional<BlockRule> blocks_;
};

// The input of a source, and what says where its rows lie.
void add_source(Stage& stage, const HeadSource& source);
// 1 / total of a row; 0 where the row sees no key, whose total is 0.
Halide::Expr one_over(const Halide::Expr& total);
// What a row y of the task came to: the highest score, the sum of exp(score - highest) and one_over
// of it.
struct RowStatistics {
  Halide::Expr highest, total, scale;
};
// Adds lse, row_max and row_scale to the outputs of a stage, as far as they are asked for.
void add_row_outputs(Stage& stage, std::vector<Halide::Func>& outputs, const Scores& scores,
                     const AttentionInputs& in, const RowStatistics& row);

void add_input(Stage& stage, const Halide::ImageParam& input, const Operand& operand);
// Schedules find a Func by the name it was made with; Halide appends "$1" where a name comes twice.
void name_funcs(Stage& stage, std::initializer_list<Halide::Func> funcs);

}  // namespace mha

#endif  // MHA_GENERATOR_PIPELINE_SCORES_H_
