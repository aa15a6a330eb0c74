// softmax(scale * Q K^T, masked) V for one block of queries of one head: one task.
//
// Scores are held transposed, S^T[key x][query y], so that the queries of a block lie in vector
// lanes: max and sum over keys are plain vector operations. The product with V reads P^T by scalars
// and V by vectors and so writes rows as they are stored. Every key block c gives a partial result
// (o, l, m)[c]; the partials are merged in order of c, so the bits of a row do not depend on who
// computed them. Scores are in units of log2: exp2(log2(e) * s) = exp(s).
#include <cmath>
#include <limits>

#include "generator/pipeline/stages.h"

namespace mha {

using Halide::Expr;
using Halide::Func;
using Halide::likely;
using Halide::max;
using Halide::min;
using Halide::RDom;
using Halide::select;
using Halide::Var;

namespace {

const double kLog2E = 1.4426950408889634;
const double kLn2 = 0.6931471805599453;
const float kInfinity = std::numeric_limits<float>::infinity();
// A row without a visible key has max -inf; subtracting this instead keeps -inf - max at -inf, not
// NaN.
const float kLowest = std::numeric_limits<float>::lowest();

// What both stages over scores share: the transposed queries, the keys, who sees whom.
struct Scores {
  Expr query_length, key_length;  // Lq, Lk
  Expr keys, offset;           // of this sequence: visible prefix of the keys, position of query 0
  Expr block, head, sequence;  // the task
  Expr key_end;                // keys from here on are hidden from every query of the block
  bool query_tail = false;     // the last block may be partly filled
  bool masked = false;         // some key of a block may be hidden from some query
  Func queries{"queries"}, query_rows{"query_rows"};

  Var d{"d"}, y{"y"}, x{"x"}, c{"c"}, t{"t"}, h{"h"}, b{"b"};

  Scores(const Plan& plan, const AttentionBlocking& blocking, StageScalars& scalars,
         const HeadSource& q)
      : blocking_(blocking) {
    const Attention& attention = plan.attention;
    block = scalars.get(Symbol::kTask0);
    head = scalars.get(Symbol::kTask1);
    sequence = scalars.get(Symbol::kTask2);
    query_length = scalars.length(plan.query_length, Symbol::kQuery);
    key_length = plan.self_length ? query_length : scalars.length(plan.key_length, Symbol::kKey);
    keys = attention.key_lengths ? scalars.get(Symbol::kSequenceKeys) : key_length;
    offset = attention.query_offset == QueryOffset::kStart ? Expr(0)
                                                           : scalars.get(Symbol::kSequenceOffset);
    causal_ = attention.causal;
    first_query_ = block * blocking.query_block;
    query_tail = !plan.query_length.fixed() || plan.query_length.max % blocking.query_block != 0;
    key_end = max(query_key_end(blocking.query_block), 0);
    const Range& key_range = plan.keys();
    key_tail_ = !key_range.fixed() || key_range.max % blocking.key_tile != 0;
    ragged_ = attention.key_lengths || key_tail_;
    masked = causal_ || ragged_;

    Expr row = first_query_ + y;
    if (query_tail) row = min(row, query_length - 1);
    const float scale = static_cast<float>(attention.score_scale * kLog2E);
    query_rows(d, y) = q.input(d, row, static_cast<int>(q.first_head) + head, sequence) * scale;
    queries(y, d) = query_rows(d, y);
  }

  // The place in its block of row t of this task. Where the last block is partly filled, in a form
  // that lets Halide see how far it is.
  Expr row_in_block(const Expr& row) const {
    return query_tail ? row - first_query_ : row % blocking_.query_block;
  }

  // The head of K and V that this task's query head uses.
  static Expr kv_head(const Plan& plan, const Expr& head, const HeadSource& source) {
    const int group = static_cast<int>(plan.attention.heads / plan.attention.kv_heads);
    return head / group + static_cast<int>(source.first_head);
  }

  // The row of K for key x of block c; rows behind the last key are read only where they exist.
  Expr key_row(const Expr& block_index, const Expr& key, bool padded) const {
    Expr row = block_index * blocking_.key_block + key;
    if (!key_tail_ || padded) return row;
    return select(row < key_length, likely(row), key_length - 1);
  }

  // Keys from here on are hidden from every query of the block before `query_end`. Queries past the
  // last one, which only fill the block, do not count: V may hold anything where they alone would
  // see it.
  Expr query_key_end(const Expr& query_end) const {
    if (!causal_) return keys;
    Expr end = first_query_ + query_end;
    if (query_tail) end = min(end, query_length);
    return min(keys, end + offset);
  }

  // Whether query y sees key x of block c; undefined where every query sees every key.
  Expr visible() const {
    Expr key = c * blocking_.key_block + x;
    Expr sees;
    if (causal_) sees = key <= first_query_ + y + offset;
    if (ragged_) sees = sees.defined() ? sees && key < keys : key < keys;
    return sees;
  }

  // value where query y sees key x of block c, else `hidden`. Chosen after value has been computed:
  // a NaN or Inf that is hidden ends here.
  Expr where_visible(Expr value, float hidden) const {
    return masked ? select(visible(), likely(value), hidden) : value;
  }

 private:
  AttentionBlocking blocking_;
  Expr first_query_;
  bool causal_ = false, key_tail_ = false, ragged_ = false;
};

void bound_rows(Func out, const Scores& s, int query_block) {
  Expr first = s.block * query_block;
  Expr count = s.query_tail ? min(query_block, s.query_length - first) : Expr(query_block);
  out.bound(s.t, first, count).bound(s.h, s.head, 1).bound(s.b, s.sequence, 1);
}

void add_input(Stage& stage, const HeadSource& source) {
  for (const Halide::Argument& known : stage.arguments) {
    if (known.name == source.input.name()) return;
  }
  stage.arguments.push_back(source.input);
  stage.operands.push_back(source.operand);
}

// Schedules find a Func by the name it was made with; Halide appends "$1" where a name comes twice.
void name_funcs(Stage& stage, std::initializer_list<Func> funcs) {
  for (const Func& f : funcs) {
    if (f.defined()) stage.funcs[f.name().substr(0, f.name().find('$'))] = f;
  }
}

std::vector<GridAxis> attention_grid(const Plan& plan, const Blocking& blocking) {
  return {{1, Symbol::kQuery, blocking.attention.query_block},
          {plan.attention.heads, Symbol::kOne, 1},
          {1, Symbol::kBatch, 1}};
}

}  // namespace

Stage build_attention(const Plan& plan, const Blocking& blocking, const AttentionInputs& in) {
  const Attention& attention = plan.attention;
  const int query_block = blocking.attention.query_block, key_block = blocking.attention.key_block;
  const int d_head = static_cast<int>(attention.d_head);
  const Range& key_range = plan.keys();
  const bool single = key_range.max <= key_block;  // one partial: nothing to merge
  StageScalars scalars("attention");
  Scores s(plan, blocking.attention, scalars, in.q);
  Var d = s.d, y = s.y, x = s.x, c = s.c, t = s.t, h = s.h, b = s.b;

  // Reductions over the width; over the keys of a block up to the last that any query of the task
  // sees (rx), in whole tiles (rs); up to the last that any query of a register tile sees (rv);
  // over blocks. The domains of a block are trimmed where they are walked, as updates: Halide would
  // compute a pure Func over the whole block.
  const int key_tile = blocking.attention.key_tile, value_rows = blocking.attention.value_rows;
  RDom rd(0, d_head, "rd"), rx(0, key_block, "rx"), rs(0, key_block, "rs"), rp(0, key_block, "rp"),
      rv(0, key_block, "rv");
  const bool whole_blocks = !s.masked && key_range.max % key_block == 0;
  if (!whole_blocks) {
    rs.where(c * key_block + rs / key_tile * key_tile < s.key_end);
    rx.where(c * key_block + rx < s.key_end);
    rp.where(c * key_block + rp < s.key_end);
    rv.where(c * key_block + rv < s.query_key_end(y / value_rows * value_rows + value_rows));
  }
  RDom rc(0, (s.key_end + key_block - 1) / key_block, "rc");

  Expr kv_k = Scores::kv_head(plan, s.head, in.k), kv_v = Scores::kv_head(plan, s.head, in.v);

  // S^T[x][y] = sum_d Q[y][d] K[x][d]
  Func product("product"), scores("scores"), masked("masked");
  product(y, x, c) = 0.0f;
  product(y, x, c) +=
      s.queries(y, rd) * in.k.input(rd, s.key_row(c, x, in.k.padded_rows), kv_k, s.sequence);
  scores(y, x, c) = Halide::undef<float>();
  scores(y, rs, c) = product(y, rs, c);
  masked(y, x, c) = s.where_visible(scores(y, x, c), -kInfinity);

  // m[y] = max_x S, P^T[x][y] = exp2(S - m), l[y] = sum_x P
  Func block_max("block_max"), shift("shift"), probabilities("probabilities"),
      block_sum("block_sum");
  block_max(y, c) = -kInfinity;
  block_max(y, c) = max(block_max(y, c), masked(y, rx, c));
  shift(y, c) = max(block_max(y, c), kLowest);
  probabilities(y, x, c) = Halide::undef<float>();
  probabilities(y, rp, c) = exp2_nonpositive(masked(y, rp, c) - shift(y, c));
  block_sum(y, c) = 0.0f;
  block_sum(y, c) += probabilities(y, rx, c);

  // o[y][d] = sum_x P^T[x][y] V[x][d]
  Func value_product("value_product"), partial("partial"), statistics("statistics");
  value_product(d, y, c) = 0.0f;
  value_product(d, y, c) +=
      probabilities(y, rv, c) * in.v.input(d, c * key_block + rv, kv_v, s.sequence);
  partial(d, y, c) = value_product(d, y, c);
  statistics(y, c) = Halide::Tuple(block_max(y, c), block_sum(y, c));

  // Merge: M = max_c m, w_c = exp2(m_c - M), L = sum_c w_c l_c, out = sum_c w_c o_c / L
  Func row_max("row_max"), merge_weight("merge_weight"), row_sum("row_sum"), row_scale("row_scale"),
      merged("merged"), result("result");
  Expr highest, total;
  if (single) {
    highest = block_max(y, 0);
    total = block_sum(y, 0);
  } else {
    row_max(y) = -kInfinity;
    row_max(y) = max(row_max(y), statistics(y, rc)[0]);
    merge_weight(y, c) = exp2_nonpositive(statistics(y, c)[0] - max(row_max(y), kLowest));
    row_sum(y) = 0.0f;
    row_sum(y) += merge_weight(y, rc) * statistics(y, rc)[1];
    merged(d, y) = 0.0f;
    merged(d, y) += merge_weight(y, rc) * partial(d, y, rc);
    highest = row_max(y);
    total = row_sum(y);
  }
  // A row that sees no key has total 0 and gives 0.
  // NaN is not nothing: only a strict comparison tells them apart.
  Expr nothing = Halide::strict_float(total == 0.0f);
  row_scale(y) = select(nothing, 0.0f, 1.0f / total);
  result(d, y) = (single ? partial(d, y, 0) : merged(d, y)) * row_scale(y);

  Func output("output");
  output(d, t, h, b) = result(d, s.row_in_block(t));
  output.bound(d, 0, static_cast<int>(in.output_width));
  bound_rows(output, s, query_block);

  Stage stage;
  stage.name = "attention";
  add_input(stage, in.q);
  add_input(stage, in.k);
  add_input(stage, in.v);
  scalars.add_to(stage);
  std::vector<Func> outputs = {output};
  stage.operands.push_back(in.output);
  auto add_row_output = [&](const char* name, const Operand& operand, Expr value) {
    if (operand.index < 0) return;
    Func rows(name), held(std::string(name) + "_held");
    held(y) = value;
    rows(t, h, b) = held(s.row_in_block(t));
    bound_rows(rows, s, query_block);
    stage.funcs[name] = rows;
    stage.funcs[std::string(name) + "_held"] = held;
    outputs.push_back(rows);
    stage.operands.push_back(operand);
  };
  // Halide's logarithm of NaN is a number.
  Expr log_total = select(Halide::strict_float(total > 0.0f), Halide::log(total), total);
  add_row_output("lse", in.lse,
                 select(nothing, -kInfinity, highest * static_cast<float>(kLn2) + log_total));
  add_row_output("row_max_out", in.row_max, max(highest, kLowest));
  add_row_output("row_scale_out", in.row_scale, row_scale(y));
  stage.pipeline = Halide::Pipeline(outputs);
  stage.grid = attention_grid(plan, blocking);
  stage.reverse = attention.causal;
  stage.batch_axis = 2;
  name_funcs(stage, {s.queries, s.query_rows, product, scores, masked, block_max, shift,
                     probabilities, block_sum, value_product, partial, statistics, row_max,
                     merge_weight, row_sum, row_scale, merged, result, output});
  stage.domains = {{"rd", rd}, {"rx", rx}, {"rs", rs}, {"rp", rp}, {"rv", rv}, {"rc", rc}};
  return stage;
}

Stage build_weights(const Plan& plan, const Blocking& blocking, const WeightsInputs& in) {
  const int query_block = blocking.attention.query_block;
  StageScalars scalars("weights");
  // One block that holds every key: the scores of a query block are made once more, and written out
  // normalised.
  AttentionBlocking one_block = blocking.attention;
  one_block.key_block = 1 << 28;
  Scores s(plan, one_block, scalars, in.q);
  Var d = s.d, y = s.y, x = s.x, c = s.c, t = s.t, h = s.h, b = s.b;
  Halide::ImageParam max_in(Halide::Float(32), 3, "row_max_in"),
      scale_in(Halide::Float(32), 3, "row_scale_in");
  RDom rd(0, static_cast<int>(plan.attention.d_head), "rd");
  Expr kv_k = Scores::kv_head(plan, s.head, in.k);
  Expr row = s.block * query_block + y;
  if (s.query_tail) row = min(row, s.query_length - 1);

  Func product("product"), scores("scores"), masked("masked"), normalised("normalised"),
      row_max("row_max"), row_scale("row_scale"), output("output");
  product(y, x, c) = 0.0f;
  product(y, x, c) +=
      s.queries(y, rd) * in.k.input(rd, s.key_row(c, x, in.k.padded_rows), kv_k, s.sequence);
  scores(y, x, c) = product(y, x, c);
  masked(y, x, c) = s.where_visible(scores(y, x, c), -kInfinity);
  row_max(y) = max_in(row, s.head, s.sequence);
  row_scale(y) = scale_in(row, s.head, s.sequence);
  // Hidden once more: a row that sees a NaN has a NaN scale, and its hidden keys are 0 all the
  // same.
  normalised(y, x, c) =
      s.where_visible(exp2_nonpositive(masked(y, x, c) - row_max(y)) * row_scale(y), 0.0f);
  output(x, t, h, b) = normalised(s.row_in_block(t), x, 0);
  output.bound(x, 0, s.key_length);
  bound_rows(output, s, query_block);

  Stage stage;
  stage.name = "weights";
  add_input(stage, in.q);
  add_input(stage, in.k);
  stage.arguments.push_back(max_in);
  stage.operands.push_back(in.row_max);
  stage.arguments.push_back(scale_in);
  stage.operands.push_back(in.row_scale);
  scalars.add_to(stage);
  stage.operands.push_back(in.output);
  stage.pipeline = Halide::Pipeline(output);
  stage.grid = attention_grid(plan, blocking);
  stage.batch_axis = 2;
  name_funcs(stage, {s.queries, s.query_rows, product, scores, masked, row_max, row_scale,
                     normalised, output});
  stage.domains = {{"rd", rd}};
  return stage;
}

Stage build_pack(const std::string& name, const Plan& plan, const HeadSource& source,
                 const Operand& output_operand, int64_t width, int64_t padded) {
  StageScalars scalars(name);
  Var d("d"), t("t"), h("h"), b("b");
  const Range& rows = plan.keys();
  const int rows_of_task = 256;
  Expr length = scalars.length(rows, plan.self_length ? Symbol::kQuery : Symbol::kKey);
  Expr first = scalars.get(Symbol::kTask0) * rows_of_task;
  Func output("output");
  Expr value = source.input(min(d, static_cast<int>(width) - 1), t,
                            h + static_cast<int>(source.first_head), b);
  if (padded == width) value = source.input(d, t, h + static_cast<int>(source.first_head), b);
  output(d, t, h, b) = padded == width ? value : select(d < static_cast<int>(width), value, 0.0f);
  output.bound(d, 0, static_cast<int>(padded)).bound(t, first, min(rows_of_task, length - first));
  output.bound(h, scalars.get(Symbol::kTask1), 1).bound(b, scalars.get(Symbol::kTask2), 1);
  Stage stage;
  stage.name = name;
  add_input(stage, source);
  scalars.add_to(stage);
  stage.operands.push_back(output_operand);
  stage.pipeline = Halide::Pipeline(output);
  stage.grid = {{1, plan.self_length ? Symbol::kQuery : Symbol::kKey, rows_of_task},
                {plan.attention.kv_heads, Symbol::kOne, 1},
                {1, Symbol::kBatch, 1}};
  stage.batch_axis = 2;
  stage.funcs = {{"output", output}};
  return stage;
}

}  // namespace mha
