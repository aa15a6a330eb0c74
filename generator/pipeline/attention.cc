// softmax(scale * Q K^T, masked) V for one block of queries of one head: one task.
//
// S^T[key x][query y] (scores.h) lets the product with V read P^T by scalars and V by vectors, and
// so write rows as they are stored. Every key block c gives a partial result (o, l, m)[c]; the
// partials are merged in order of c, so the bits of a row do not depend on who computed them.
#include <limits>

#include "generator/pipeline/scores.h"

namespace mha {

using Halide::Expr;
using Halide::Func;
using Halide::max;
using Halide::RDom;
using Halide::select;
using Halide::Var;

namespace {

const float kInfinity = std::numeric_limits<float>::infinity();
// A row without a visible key has max -inf; subtracting this instead keeps -inf - max at -inf, not
// NaN.
const float kLowest = std::numeric_limits<float>::lowest();

}  // namespace

Stage build_attention(const Plan& plan, const Blocking& blocking, const AttentionInputs& in) {
  const Attention& attention = plan.attention;
  const int key_block = blocking.attention.key_block;
  const int d_head = static_cast<int>(attention.d_head);
  const Range key_range = plan.keys();
  const bool single = key_range.max <= key_block;  // one partial: nothing to merge
  StageScalars scalars("attention");
  Scores s(plan, blocking.attention, scalars, {in.q, in.k, in.mask, in.q_norm}, softmax_unit(plan));
  Var d = s.d, y = s.y, x = s.x, c = s.c, t = s.t, h = s.h, b = s.b;

  // Reductions over the width; over the keys of a block that some query of the task sees, from a
  // whole tile on (rx, rp) and in whole tiles (rs); over those that some query of a register tile
  // of the product with V sees (rv); over blocks. The domains of a block are trimmed where they are
  // walked, as updates: Halide would compute a pure Func over the whole block. What is walked
  // before the first visible key is masked.
  const int key_tile = blocking.attention.key_tile, value_rows = blocking.attention.value_rows;
  RDom rd(0, d_head, "rd"), rx(0, key_block, "rx"), rs(0, key_block, "rs"), rp(0, key_block, "rp"),
      rv(0, key_block, "rv");
  const bool begins = attention.left || attention.key_starts;
  const bool ends = s.bounded || key_range.max % key_block != 0;
  for (RDom* keys : {&rs, &rx, &rp}) {
    Expr tile = c * key_block + *keys / key_tile * key_tile;
    if (ends) keys->where((keys == &rs ? tile : c * key_block + *keys) < s.key_end);
    if (begins) keys->where(tile + key_tile > s.key_begin);
  }
  Expr first_row = y / value_rows * value_rows;
  if (ends) rv.where(c * key_block + rv < s.query_key_end(first_row + value_rows));
  if (begins) rv.where(c * key_block + rv >= s.query_key_begin(first_row));
  Expr first_block = begins ? s.key_begin / key_block : Expr(0);
  Expr blocks = (s.key_end + key_block - 1) / key_block - first_block;
  RDom rc(first_block, begins ? max(blocks, 0) : blocks, "rc");

  // S^T[x][y] = sum_d Q[y][d] K[x][d]
  Func product("product"), scores("scores"), masked("masked");
  product(y, x, c) = 0.0f;
  product(y, x, c) += s.queries(y, rd) * s.key(rd);
  scores(y, x, c) = Halide::undef<float>();
  scores(y, rs, c) = product(y, rs, c);
  masked(y, x, c) = s.masked_score(scores(y, x, c));

  // m[y] = max_x S, P^T[x][y] = exp(S - m), l[y] = sum_x P
  Func block_max("block_max"), shift("shift"), probabilities("probabilities"),
      block_sum("block_sum");
  block_max(y, c) = -kInfinity;
  block_max(y, c) = max(block_max(y, c), masked(y, rx, c));
  shift(y, c) = max(block_max(y, c), kLowest);
  probabilities(y, x, c) = Halide::undef<float>();
  probabilities(y, rp, c) = s.exp(masked(y, rp, c) - shift(y, c));
  block_sum(y, c) = 0.0f;
  block_sum(y, c) += probabilities(y, rx, c);

  // o[y][d] = sum_x P^T[x][y] V[x][d]
  Func value_product("value_product"), partial("partial"), statistics("statistics");
  value_product(d, y, c) = 0.0f;
  value_product(d, y, c) += probabilities(y, rv, c) * s.value(in.v, d, c * key_block + rv);
  partial(d, y, c) = value_product(d, y, c);
  statistics(y, c) = Halide::Tuple(block_max(y, c), block_sum(y, c));

  // Merge: M = max_c m, w_c = exp(m_c - M), L = sum_c w_c l_c, out = sum_c w_c o_c / L
  Func row_max("row_max"), merge_weight("merge_weight"), row_sum("row_sum"), row_scale("row_scale"),
      merged("merged"), result("result");
  Expr highest, total;
  if (single) {
    highest = block_max(y, 0);
    total = block_sum(y, 0);
  } else {
    row_max(y) = -kInfinity;
    row_max(y) = max(row_max(y), statistics(y, rc)[0]);
    merge_weight(y, c) = s.exp(statistics(y, c)[0] - max(row_max(y), kLowest));
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
  s.bound_rows(output, in.output_dense);

  Stage stage;
  stage.name = "attention";
  s.add_inputs(stage);
  add_source(stage, in.v);
  scalars.add_to(stage);
  std::vector<Func> outputs = {output};
  stage.operands.push_back(in.output);
  auto add_row_output = [&](const char* name, const Operand& operand, Expr value) {
    if (operand.index < 0) return;
    Func rows(name), held(std::string(name) + "_held");
    held(y) = value;
    rows(t, h, b) = held(s.row_in_block(t));
    s.bound_rows(rows);
    stage.funcs[name] = rows;
    stage.funcs[std::string(name) + "_held"] = held;
    outputs.push_back(rows);
    stage.operands.push_back(operand);
  };
  // Halide's logarithm of NaN is a number.
  Expr log_total = select(Halide::strict_float(total > 0.0f), Halide::log(total), total);
  add_row_output("lse", in.lse, select(nothing, -kInfinity, s.natural(highest) + log_total));
  add_row_output("row_max_out", in.row_max, max(highest, kLowest));
  add_row_output("row_scale_out", in.row_scale, row_scale(y));
  stage.pipeline = Halide::Pipeline(outputs);
  s.set_grid(stage);
  if (attention.right) stage.reverse_axis = stage.query_axis;
  name_funcs(stage, {s.queries, s.query_rows, s.mask,  s.mask_rows,   product,   scores,
                     masked,    block_max,    shift,   probabilities, block_sum, value_product,
                     partial,   statistics,   row_max, merge_weight,  row_sum,   row_scale,
                     merged,    result,       output});
  stage.domains = {{"rd", rd}, {"rx", rx}, {"rs", rs}, {"rp", rp}, {"rv", rv}, {"rc", rc}};
  stage.streams = {{"k", in.k.input}, {"v", in.v.input}};
  return stage;
}

}  // namespace mha
