#include "generator/pipeline/scores.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "generator/pipeline/head_groups.h"
#include "generator/pipeline/precision.h"

namespace mha {

using Halide::Expr;
using Halide::Func;
using Halide::likely;
using Halide::max;
using Halide::min;
using Halide::select;
using Halide::strict_float;
using Halide::Var;

namespace {

const double kLog2E = 1.4426950408889634;
const double kLn2 = 0.6931471805599453;

// place + step. An offset may put a place 2^30 and more from 0: with a step of that size too the
// sum leaves int32. It is then taken to the nearest number that still lies before or behind all
// keys.
Expr moved(const Expr& place, int64_t step) {
  constexpr int64_t kLarge = int64_t{1} << 29;
  if (std::abs(step) < kLarge) return place + static_cast<int>(step);
  Expr sum = Halide::cast<int64_t>(place) + Halide::cast<int64_t>(static_cast<int>(step));
  return Halide::cast<int>(
      Halide::clamp(sum, Halide::cast<int64_t>(-1), Halide::cast<int64_t>(1 << 30)));
}

// What turns a natural score into one in that unit.
double unit_factor(ScoreUnit unit) { return unit == ScoreUnit::kLog2 ? kLog2E : 1; }

Expr both(const Expr& a, const Expr& b) { return a.defined() ? a && b : b; }

}  // namespace

ScoreUnit softmax_unit(const Plan& plan) {
  const Attention& a = plan.attention;
  return a.mask == MaskTensor::kAdditive || a.score_rule ? ScoreUnit::kNatural : ScoreUnit::kLog2;
}

Scores::Scores(const Plan& plan, const AttentionBlocking& blocking, StageScalars& scalars,
               const ScoreInputs& in, const ScoreOptions& options)
    : pairs(blocking.pairs),
      plan_(plan),
      blocking_(blocking),
      in_(in),
      unit_(options.unit),
      step_(options.step),
      every_head_(options.every_head),
      rule_apart_(options.rule_apart) {
  const Attention& attention = plan.attention;
  const Range query_range = plan.queries(), key_range = plan.keys();
  block = blocking.whole_rows ? Expr(0)
                              : scalars.get(blocking.heads_first ? Symbol::kTask1 : Symbol::kTask0);
  computed_head =
      every_head_ ? Expr(h) : scalars.get(blocking.heads_first ? Symbol::kTask0 : Symbol::kTask1);
  head = pick(attention.kept_heads, computed_head);
  sequence = scalars.get(Symbol::kTask2);
  batch_index = plan.packed ? Expr(0) : sequence;
  first_row = plan.packed ? scalars.get(Symbol::kSequenceFirstRow) : Expr(0);
  query_length =
      scalars.length(query_range, plan.packed ? Symbol::kSequenceQueries : Symbol::kQuery);
  key_length = plan.self_length ? query_length
               : plan.cache     ? scalars.get(Symbol::kSequenceCached) +
                                  (plan.may_bring_none() ? scalars.get(Symbol::kSequenceNewKeys)
                                                         : query_length)
                            : scalars.length(key_range, Symbol::kKey);
  if (plan.cache) slot_ = scalars.get(Symbol::kSequenceSlot);
  keys_ = attention.key_lengths ? scalars.get(Symbol::kSequenceKeys) : key_length;
  first_key_ = attention.key_starts ? scalars.get(Symbol::kSequenceFirstKey) : Expr(0);
  offset_ = attention.query_offset == QueryOffset::kStart ? Expr(0)
                                                          : scalars.get(Symbol::kSequenceOffset);
  first_query_ = block * blocking.query_block;
  query = first_query_ + y;
  query_tail = !query_range.fixed() || query_range.max % blocking.query_block != 0;
  key_tail_ = !key_range.fixed() || key_range.max % blocking.key_tile != 0 || plan.may_bring_none();
  if (blocking.rows != TileRows::kQueries) set_group(scalars);
  if (blocking.rows == TileRows::kShared) set_shared(scalars);
  // Of a sequence without any key a page that is there is read all the same, for nothing.
  last_key_ = (plan.may_bring_none() ? max(key_length, 1) : key_length) - 1;
  place = query + offset_;
  key_begin = max(query_key_begin(0), 0);
  key_end = max(query_key_end(blocking.query_block), 0);
  bounded =
      attention.left || right_hides() || attention.key_lengths || attention.key_starts || key_tail_;
  if (step_ == ScoreStep::kAll && attention.score_rule) {
    score_rule_.emplace(plan, *attention.score_rule, in_.tables);
    hold_row_terms(*score_rule_, score_rule_->root());
  }
  if (step_ == ScoreStep::kAll && attention.mask_rule) {
    mask_rule_.emplace(plan, *attention.mask_rule, in_.tables);
    hold_row_terms(*mask_rule_, mask_rule_->root());
    if (rule_apart_ && key_range.max > blocking.key_block) find_blocks();
  }

  Expr row = query_tail ? min(query, query_length - 1) : query;
  // With softcap the product is the argument of tanh.
  const double factor = !capped()         ? unit_factor(unit_)
                        : cap_is_folded() ? 1 / *attention.softcap
                                          : 1;
  scale_ = static_cast<float>(attention.score_scale * factor);
  // Numbers of two bytes have exact products in f32, or lie in pairs of bf16: there the scores are
  // scaled, once they are summed.
  scales_sums_ = plan.dtype != Dtype::kF32;
  const auto element = [&](const Expr& width) {
    return widened(in.q.input(width, first_row + row, in.q.head(computed_head), batch_index));
  };
  Expr q;
  if (transforms_heads(plan)) {
    const HeadRow of_query{element, head, row + offset_, first_row + row, batch_index};
    rows_.emplace(plan, in.q_norm, of_query, vars({y}));
    q = rows_->rows(at({d, y}, h));
  } else {
    q = element(d);
  }
  query_rows(vars({d, y})) = scales_sums_ ? q : q * scale_;
  queries(vars({y, d})) = query_rows(at({d, y}, h));
  if (pairs) pair_queries();
  if (attention.mask == MaskTensor::kNone) return;
  // Read in whole vectors, which may reach past the last key.
  Expr key = c * blocking_.key_block + x;
  key = select(key < key_length, likely(key), last_key_);
  Expr given = in.mask.input(key, row, head, sequence);
  const bool additive = attention.mask == MaskTensor::kAdditive;
  mask_rows(vars({x, y, c})) = additive && plan.dtype == Dtype::kBF16 ? quieted(given) : given;
  mask(vars({y, x, c})) = mask_rows(at({x, y, c}, h));
}

// Rows of the heads of the KV head that is the task's second coordinate.
void Scores::set_group(StageScalars& scalars) {
  const HeadGroups groups = head_groups(plan_.attention);
  const int group = static_cast<int>(groups.rows);
  kv_head_ = scalars.get(Symbol::kTask1);
  computed_head = head_of_row(groups, kv_head_, y % group);
  head = pick(plan_.attention.kept_heads, computed_head);
  query = y / group;
  tile_rows_ = query_length * group;
}

// Rows of all sequences. The keys that they share lie before every query, and every split of them
// is whole.
void Scores::set_shared(StageScalars& scalars) {
  const Attention& attention = plan_.attention;
  const int group = static_cast<int>(head_groups(attention).rows);
  sequences_ = Halide::ImageParam(Halide::Int(32), 2, "sequences");
  // What the runtime says lies within these bounds, which bounds inference cannot see.
  const auto field = [&](SequenceField f) {
    const bool of_rows = f == SequenceField::kFirstRow || f == SequenceField::kQueries;
    const int64_t most = of_rows ? plan_.rows().max : plan_.keys().max;
    return Halide::unsafe_promise_clamped(sequences_(static_cast<int>(f), sequence), 0,
                                          static_cast<int>(most));
  };
  Expr batch = scalars.length(plan_.batch, Symbol::kBatch), row = y / group;
  if (plan_.packed) {
    // The last sequence that begins at or before the row.
    Halide::RDom rb(0, batch, "rb");
    sequence_of_row(y) = -1;
    sequence_of_row(y) +=
        Halide::cast<int>(sequences_(static_cast<int>(SequenceField::kFirstRow), rb) <= row);
    sequence = Halide::clamp(sequence_of_row(y), 0, batch - 1);
    first_row = field(SequenceField::kFirstRow);
    query_length = field(SequenceField::kQueries);
    query = row - first_row;
    tile_rows_ = scalars.get(Symbol::kRows) * group;
  } else {
    query_length = scalars.length(plan_.query_length, Symbol::kQuery);
    sequence = min(row / query_length, batch - 1);
    batch_index = sequence;
    query = row - sequence * query_length;
    tile_rows_ = batch * query_length * group;
  }
  query_tail = true;
  offset_ = field(SequenceField::kCached);
  key_length = offset_ + (plan_.may_bring_none() ? field(SequenceField::kNewKeys) : query_length);
  keys_ = attention.key_lengths ? field(SequenceField::kKeys) : key_length;
  first_key_ = attention.key_starts ? field(SequenceField::kFirstKey) : Expr(0);
  slot_ = sequences_(static_cast<int>(SequenceField::kSlot), 0);
  key_tail_ = false;
}

std::vector<Var> Scores::vars(std::vector<Var> list) const {
  if (every_head_) list.push_back(h);
  return list;
}

std::vector<Expr> Scores::at(std::vector<Expr> list, const Expr& of_head) const {
  if (every_head_) list.push_back(of_head);
  return list;
}

Expr Scores::kv_head(const HeadSource& source) const {
  if (kv_head_.defined()) return source.head(kv_head_);
  const Attention& a = plan_.attention;
  return source.head(kv_head_of(head_groups(a), computed_head));
}

// Key x of block c, held to the keys that there are.
Expr Scores::key_row() const {
  Expr row = c * blocking_.key_block + x;
  if (!key_tail_ || in_.k.padded_rows) return row;
  return select(row < key_length, likely(row), last_key_);
}

// The same where c is a panel of a cache: the panel that the sequence ends in is whole.
Expr Scores::key_panel() const {
  Expr last = last_key_ / kCachePanel;
  return key_tail_ ? select(c <= last, likely(c), last) : Expr(c);
}

Expr Scores::key(const Expr& width) const {
  Expr of = kv_head(in_.k);
  if (!in_.k.cache) return in_.k.input(width, first_row + key_row(), of, batch_index);
  if (blocking_.rows == TileRows::kQueries)
    return in_.k.input(cache_place(in_.k, width, key_row(), of, slot_));
  return in_.k.input(cache_panel_place(in_.k, width, key_panel(), x, of, slot_));
}

Expr Scores::paired_key(const Expr& e, const Expr& pair) const {
  if (!in_.k.cache) return key(2 * pair + e);
  const bool panels = blocking_.rows != TileRows::kQueries;
  Expr row = panels ? Expr() : key_row();
  Expr panel = panels ? key_panel() : row / kCachePanel,
       lane = panels ? Expr(x) : row % kCachePanel;
  return in_.k.input(cache_width_pair(in_.k, e, pair, panel, lane, kv_head(in_.k), slot_));
}

Expr Scores::value(const HeadSource& v, const Expr& width, const Expr& key) const {
  if (v.cache) return v.input(cache_place(v, width, key, kv_head(v), slot_));
  if (v.key_pairs) return paired_value(v, width, key % 2, key / 2);
  return v.input(width, first_row + key, kv_head(v), batch_index);
}

Expr Scores::paired_value(const HeadSource& v, const Expr& width, const Expr& e,
                          const Expr& pair) const {
  if (v.cache) return v.input(cache_key_pair(v, width, e, pair, kv_head(v), slot_));
  Expr row = plan_.packed ? first_row + 2 * pair : pair;
  return v.input(2 * width + e, row, kv_head(v), batch_index);
}

// q[y][d] as products read it: from columns where queries lie in lanes, else from rows.
Expr Scores::query_element(const Expr& width) const {
  return blocking_.rows == TileRows::kQueries ? queries(at({y, width}, h))
                                              : query_rows(at({width, y}, h));
}

// The width in pairs, filled up with 0.
void Scores::pair_queries() {
  const int width = static_cast<int>(plan_.attention.d_head);
  Var e("e");
  Expr place = 2 * d + e;
  Expr value = query_element(width % 2 == 0 ? place : min(place, width - 1));
  if (width % 2 != 0) value = select(place < width, value, 0.0f);
  const Attention& a = plan_.attention;
  if (in_.q.input.type().is_bfloat() && !a.norm && !a.rotation) {
    query_pairs(vars({e, y, d})) = cut_to_bf16(value);  // as it was loaded
  } else {
    query_pairs(vars({e, y, d})) = narrowed_to(Halide::BFloat(16), value);
  }
}

Halide::RDom Scores::width_domain(const char* name) const {
  const int width = static_cast<int>(plan_.attention.d_head);
  if (pairs) return Halide::RDom(0, 2, 0, (width + 1) / 2, name);
  return Halide::RDom(0, width, name);
}

Expr Scores::product_term(const Halide::RDom& width) const {
  if (!pairs) return query_element(width.x) * widened(key(width.x));
  return Halide::cast<float>(query_pairs(at({width.x, y, width.y}, h))) *
         Halide::cast<float>(paired_key(width.x, width.y));
}

Expr Scores::scaled(const Expr& product) const { return scales_sums_ ? product * scale_ : product; }

Expr Scores::row_in_block(const Expr& row) const {
  if (blocking_.whole_rows) return row - first_row;
  return query_tail ? row - first_row - first_query_ : row % blocking_.query_block;
}

Expr Scores::query_key_begin(const Expr& first) const {
  if (!plan_.attention.left) return first_key_;
  return max(first_key_, moved(first_query_ + first + offset_, -*plan_.attention.left));
}

Expr Scores::query_key_end(const Expr& query_end) const {
  if (!plan_.attention.right) return keys_;
  Expr end = first_query_ + query_end;
  if (query_tail) end = min(end, query_length);
  return min(keys_, moved(end + offset_, *plan_.attention.right));
}

bool Scores::odd_begin(int rows) const {
  const Attention& a = plan_.attention;
  const bool even = a.query_offset == QueryOffset::kStart && !plan_.cache && rows % 2 == 0;
  return a.mask_rule || a.key_starts || (a.left && !(even && *a.left % 2 == 0));
}

bool Scores::odd_end(int rows) const {
  const Attention& a = plan_.attention;
  const Range queries = plan_.queries(), keys = plan_.keys();
  if (a.mask_rule || a.key_lengths || plan_.cache || !keys.fixed() || keys.max % 2 != 0)
    return true;
  const bool even = a.query_offset == QueryOffset::kStart && rows % 2 == 0 && queries.fixed() &&
                    queries.max % 2 == 0;
  return a.right && !(even && *a.right % 2 == 0);
}

// Whether the limit to the right hides keys here. Shared ones lie before every query: one that
// leaves the key before a query visible hides none of them.
bool Scores::right_hides() const {
  const auto& right = plan_.attention.right;
  return right && (blocking_.rows != TileRows::kShared || *right < -1);
}

Expr Scores::visible() const {
  const Attention& attention = plan_.attention;
  Expr key = c * blocking_.key_block + x;
  Expr sees;
  if (right_hides()) sees = key <= moved(place, *attention.right);
  if (attention.left) sees = both(sees, key >= moved(place, -*attention.left));
  if (attention.key_lengths || key_tail_) sees = both(sees, key < keys_);
  if (attention.key_starts) sees = both(sees, key >= first_key_);
  if (mask_rule_ && !rule_apart_) sees = both(sees, rule_shows(key));
  if (attention.mask == MaskTensor::kNone) return sees;
  Expr said = mask(at({y, x, c}, h));
  return both(sees, attention.mask == MaskTensor::kBool ? said != Halide::cast<uint8_t>(0)
                                                        : strict_float(said != -kInfinity));
}

bool Scores::capped() const { return plan_.attention.softcap && step_ != ScoreStep::kProduct; }

// Where their quotient is far from the ends of float32's range, queries are multiplied by it.
bool Scores::cap_is_folded() const {
  const double factor = std::abs(plan_.attention.score_scale / *plan_.attention.softcap);
  return factor > 0x1p-64 && factor < 0x1p64;
}

Expr Scores::shaped(const Expr& product, const Expr& key) const {
  const Attention& attention = plan_.attention;
  const double factor = unit_factor(unit_);
  Expr score = product;
  if (capped()) {
    const double cap = *attention.softcap;
    Expr argument = cap_is_folded() ? product : product / static_cast<float>(cap);
    score = tanh_f32(argument) * std::min(static_cast<float>(cap * factor), -kLowest);
  }
  if (step_ != ScoreStep::kAll) return score;
  if (!attention.alibi_slopes.empty()) {
    Expr distance = Halide::abs(Halide::cast<float>(place - key));
    std::vector<Expr> slopes;
    for (double slope : attention.alibi_slopes)
      slopes.emplace_back(static_cast<float>(-slope * factor));
    score = score + choose(slopes, head) * distance;
  }
  if (!score_rule_) return score;
  RuleScope scope = rule_scope(key);
  scope.s = score;
  score = Halide::cast<float>(rule_value(*score_rule_, scope));
  const bool numbers_of_user = score_rule_->reads_table(score_rule_->root());
  return numbers_of_user && plan_.dtype == Dtype::kBF16 ? quieted(score) : score;
}

// Held to the queries and keys that there are: what stands behind them is thrown away, and a table
// has nothing for it.
RuleScope Scores::rule_scope(const Expr& key) const {
  RuleScope scope;
  scope.b = sequence;
  scope.h = head;
  scope.q = query_tail ? min(query, query_length - 1) + offset_ : place;
  scope.k = key_tail_ ? min(key, last_key_) : key;
  scope.q_len = query_length;
  scope.k_len = keys_;
  return scope;
}

void Scores::hold_row_terms(const Rule& rule, int node) {
  const bool of_queries = rule.reads(node, "q") && !rule.reads(node, "k") && !rule.reads(node, "s");
  if (of_queries && rule.reads_table(node)) {
    Func term("row_term" + std::to_string(row_terms_.size()));
    term(vars({y})) = rule.value(node, rule_scope(0));
    row_terms_[{&rule, node}] = term;
    rule_funcs_.push_back(term);
    return;
  }
  for (int operand : rule.node(node).operands) hold_row_terms(rule, operand);
}

Expr Scores::rule_value(const Rule& rule, const RuleScope& scope) const {
  return rule.value(scope, [&](int node) {
    const auto held = row_terms_.find({&rule, node});
    return held == row_terms_.end() ? Expr() : Expr(Func(held->second)(at({y}, h)));
  });
}

Expr Scores::rule_shows(const Expr& key) const { return rule_value(*mask_rule_, rule_scope(key)); }

void Scores::find_blocks() {
  BlockRule::Task task;
  task.scope = rule_scope(0);
  task.scope.q = task.scope.k = Expr();
  task.first_place = first_query_ + offset_;
  Expr end = first_query_ + blocking_.query_block;
  task.last_place = (query_tail ? min(end, query_length) : end) - 1 + offset_;
  task.key_begin = key_begin;
  task.key_end = key_end;
  task.first_block = first_block();
  task.key_block = blocking_.key_block;
  blocks_.emplace(*mask_rule_, task);
  rule_funcs_.insert(rule_funcs_.end(), blocks_->funcs().begin(), blocks_->funcs().end());
}

Expr Scores::first_block() const {
  return plan_.attention.left || plan_.attention.key_starts ? key_begin / blocking_.key_block
                                                            : Expr(0);
}

Expr Scores::block_count() const {
  return (key_end + blocking_.key_block - 1) / blocking_.key_block - first_block();
}

Expr Scores::block_key_begin() const {
  return blocks_ ? max(blocks_->key_begin(c), key_begin) : key_begin;
}

Expr Scores::block_key_end() const { return blocks_ ? blocks_->key_end(c) : key_end; }

Expr Scores::rule_cuts_block() const {
  return blocks_ ? blocks_->is_cut(c) : Halide::Internal::make_bool(true);
}

Expr Scores::sink(const SinkSource& source) const {
  Expr logit = source.input(head);
  if (unit_ == ScoreUnit::kNatural) return logit;
  // What is finite stays so, and its bits say what it is: min and max may lose a NaN. LLVM would
  // drop a comparison with the largest number.
  constexpr float kFar = 3.4e38f;
  Expr product = logit * static_cast<float>(kLog2E);
  Expr size = Halide::reinterpret<uint32_t>(logit) & Expr(0x7fffffffu);
  return select(size < Expr(0x7f800000u), Halide::clamp(product, -kFar, kFar), product);
}

Expr Scores::masked_score(const Expr& score) const {
  if (plan_.attention.mask != MaskTensor::kAdditive) return where_visible(score, -kInfinity);
  // What is finite hides nothing, so a sum of two finite numbers must not become -inf.
  Expr sum = score + mask(at({y, x, c}, h));
  sum = select(strict_float(sum < kLowest) && strict_float(score >= kLowest), kLowest, sum);
  return where_visible(sum, -kInfinity);
}

Expr Scores::where_visible(const Expr& value, float hidden) const {
  Expr sees = visible();
  return sees.defined() ? select(sees, likely(value), hidden) : value;
}

Expr Scores::is_key() const { return c * blocking_.key_block + x < key_length; }

Expr Scores::exp(const Expr& difference) const {
  if (unit_ == ScoreUnit::kLog2) return exp2_nonpositive(difference, blocking_.exp);
  return exp2_nonpositive(difference * static_cast<float>(kLog2E), blocking_.exp);
}

Expr Scores::natural(const Expr& score) const {
  return unit_ == ScoreUnit::kLog2 ? score * static_cast<float>(kLn2) : score;
}

Expr Scores::row_count() const {
  if (!query_tail) return blocking_.query_block;
  return min(blocking_.query_block, query_length - first_query_);
}

Expr Scores::first_split_row() const { return sequence * query_length; }

void Scores::bound_split(Func out, const Var& r, const Var& g) const {
  out.bound(r, first_split_row() + first_query_, row_count()).bound(g, computed_head, 1);
}

void Scores::bound_rows(Func out, bool computed) const {
  const Expr count = row_count();
  out.bound(t, first_row + first_query_, count).bound(b, batch_index, 1);
  if (!every_head_) out.bound(h, computed ? computed_head : head, 1);
}

void Scores::set_grid(Stage& stage) const {
  stage.grid = {{1, Symbol::kQuery, blocking_.query_block},
                {every_head_ ? 1 : plan_.attention.heads, Symbol::kOne, 1},
                {1, Symbol::kBatch, 1}};
  if (blocking_.heads_first) std::swap(stage.grid[0], stage.grid[1]);
  stage.query_axis = blocking_.heads_first ? 1 : 0;
  stage.batch_axis = 2;
}

void Scores::add_inputs(Stage& stage) const {
  add_source(stage, in_.q);
  add_source(stage, in_.k);
  if (rows_) rows_->add_to(stage);
  if (sequences_.defined()) add_input(stage, sequences_, {Operand::kSequences, 0, {}});
  if (step_ == ScoreStep::kAll) {
    for (const TableSource& table : in_.tables) add_input(stage, table.input, table.operand);
  }
  for (const Func& func : rule_funcs_) name_funcs(stage, {func});
  if (!mask.defined()) return;
  add_input(stage, in_.mask.input, in_.mask.operand);
  stage.dense_mask = in_.mask.input.dim(0).stride() == 1;
}

Expr Scores::tile_rows() const { return tile_rows_; }

Expr Scores::first_tile_row() const {
  if (blocking_.rows == TileRows::kShared) return 0;
  const int group = static_cast<int>(head_groups(plan_.attention).rows);
  return (plan_.packed ? first_row : sequence * query_length) * group;
}

void add_source(Stage& stage, const HeadSource& source) {
  add_input(stage, source.input, source.operand);
  if (source.cache) add_input(stage, source.cache->table, {Operand::kPageTable, 0, {}});
}

void Scores::name_inputs(Stage& stage) const {
  name_funcs(stage, {queries, query_rows, query_pairs, mask, mask_rows});
}

void add_input(Stage& stage, const Halide::ImageParam& input, const Operand& operand) {
  for (const Halide::Argument& known : stage.arguments) {
    if (known.name == input.name()) return;
  }
  stage.arguments.push_back(input);
  stage.operands.push_back(operand);
}

void name_funcs(Stage& stage, std::initializer_list<Func> funcs) {
  for (const Func& f : funcs) {
    if (f.defined()) stage.funcs[f.name().substr(0, f.name().find('$'))] = f;
  }
}

}  // namespace mha
