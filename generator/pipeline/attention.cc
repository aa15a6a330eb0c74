// softmax(scale * Q K^T, masked) V for one block of queries of one head: one task.
//
// S^T[key x][query y] (scores.h) lets the product with V read P^T by scalars and V by vectors, and
// so write rows as they are stored. Every key block c gives a partial result (o, l, m)[c]; the
// partials are merged in order of c, so the bits of a row do not depend on who computed them. That
// is done by the task itself, or, where each block is a task of its own, by the stage "merge".
#include <string>
#include <vector>

#include "generator/pipeline/precision.h"
#include "generator/pipeline/scores.h"

namespace mha {

using Halide::Expr;
using Halide::Func;
using Halide::max;
using Halide::min;
using Halide::RDom;
using Halide::select;
using Halide::Var;

namespace {

// o, m and l of a block of keys into the workspace: the outputs of a task that is one block.
std::vector<Func> split_outputs(const Scores& s, const DecodeInputs& splits, const Func& partial,
                                const Func& block_max, const Func& block_sum, const Expr& block) {
  Func split_partial("split_partial"), split_max("split_max"), split_sum("split_sum");
  Var r("r"), n("n"), g("g");
  Expr row = s.row_in_block(r - s.first_split_row());
  split_partial(s.d, r, n, g) = partial(s.d, row, block);
  split_max(r, n, g) = block_max(row, block);
  split_sum(r, n, g) = block_sum(row, block);
  split_partial.bound(s.d, 0, static_cast<int>(splits.partial_width));
  for (const Func& output : {split_partial, split_max, split_sum}) {
    s.bound_split(output, r, g);
    Func(output).bound(n, block, 1);
  }
  return {split_partial, split_max, split_sum};
}

}  // namespace

Stage build_attention(const Plan& plan, const Blocking& blocking, const AttentionInputs& in,
                      const DecodeInputs* splits) {
  const Attention& attention = plan.attention;
  const int key_block = blocking.attention.key_block;
  const Range key_range = plan.keys();
  // One partial: nothing to merge, or not here.
  const bool single = splits != nullptr || key_range.max <= key_block;
  StageScalars scalars("attention");
  const bool ruled = attention.mask_rule.has_value();
  Scores s(plan, blocking.attention, scalars, in, {.unit = softmax_unit(plan), .rule_apart = true});
  Var d = s.d, y = s.y, x = s.x, c = s.c, t = s.t, h = s.h, b = s.b, e("e");
  const Expr only = splits != nullptr ? scalars.get(Symbol::kTask3) : Expr(0);  // if single

  // Reductions over the width; over the keys of a block that some query of the task sees, from a
  // whole tile on (rx, rp) and in whole tiles (rs); over those that some query of a register tile
  // of the product with V sees (rv); over blocks. The domains of a block are trimmed where they are
  // walked, as updates: Halide would compute a pure Func over the whole block. What is walked
  // before the first visible key is masked. Where products take pairs of keys, rp and rq have every
  // pair of which some query sees a key, rv those whose keys are both seen.
  const int key_tile = blocking.attention.key_tile, value_rows = blocking.attention.value_rows;
  RDom rd = s.width_domain("rd"), rx(0, key_block, "rx"), rs(0, key_block, "rs"),
       rp(0, key_block, "rp"), rq(0, key_block / 2, "rq"), rr(0, key_block, "rr"),
       rv = s.pairs ? RDom(0, 2, 0, key_block / 2, "rv") : RDom(0, key_block, "rv"),
       rl(0, 2, 0, key_block / 2, "rl");
  const bool listed = ruled && !single;  // what the rule shows of each block
  const bool begins = attention.left || attention.key_starts;
  const bool ends = s.bounded || key_range.max % key_block != 0 || listed;
  const Expr start = c * key_block;
  for (RDom* keys : {&rs, &rx, &rp, &rq, &rr}) {
    Expr key = Expr(*keys);
    if (keys == &rq) key = key * 2;
    if (keys == &rp && s.pairs) key = key / 2 * 2;
    Expr tile = start + key / key_tile * key_tile;
    if (ends) keys->where((keys == &rs ? tile : start + key) < s.block_key_end());
    if (begins || listed) keys->where(tile + key_tile > s.block_key_begin());
  }
  Expr first_row = y / value_rows * value_rows;
  Expr rows_begin = s.query_key_begin(first_row),
       rows_end = s.query_key_end(first_row + value_rows);
  if (listed) {
    rows_begin = max(rows_begin, s.block_key_begin());
    rows_end = min(rows_end, s.block_key_end());
  }
  if (s.pairs) {
    if (ends) rv.where(start + 2 * rv.y + 1 < rows_end);
    if (begins || listed) rv.where(start + 2 * rv.y >= rows_begin);
  } else {
    if (ends) rv.where(start + rv.x < rows_end);
    if (begins || listed) rv.where(start + rv.x >= rows_begin);
  }
  if (listed) rr.where(s.rule_cuts_block());
  RDom rc(s.first_block(), begins ? max(s.block_count(), 0) : s.block_count(), "rc");

  // S^T[x][y] = sum_d Q[y][d] K[x][d]
  Func product("product"), scores("scores"), masked("masked");
  product(y, x, c) = 0.0f;
  product(y, x, c) += s.product_term(rd);
  scores(y, x, c) = Halide::undef<float>();
  scores(y, rs, c) = s.shaped(s.scaled(product(y, rs, c)), start + rs);
  // Apart, so that what the rule shows as a whole pays nothing for it.
  if (ruled) scores(y, rr, c) = select(s.rule_shows(start + rr), scores(y, rr, c), -kInfinity);
  masked(y, x, c) = s.masked_score(scores(y, x, c));

  // A sink is the score of a key whose V is 0: where everything is one block it stands in for the
  // first key of the max, else for a block before the first.
  const bool sinks = attention.sink && splits == nullptr;
  Expr sink = sinks ? s.sink(in.sink) : Expr(-kInfinity);
  const auto of_sink = [&](const Expr& highest) {
    return sinks ? s.exp(sink - max(highest, kLowest)) : Expr(0.0f);
  };

  // m[y] = max_x S, P^T[x][y] = exp(S - m), l[y] = sum_x P. Where products take pairs, P is rounded
  // to bf16; the sum is of what was rounded if nothing but the output depends on it, and no key
  // beside the last that a rule shows is summed with it.
  const bool rounded_sum = s.pairs && !ruled && plan.outputs == std::vector<std::string>{"output"};
  Func block_max("block_max"), shift("shift"), probabilities, pair_probabilities, ones,
      block_sum("block_sum");
  block_max(y, c) = single ? sink : Expr(-kInfinity);
  block_max(y, c) = max(block_max(y, c), masked(y, rx, c));
  shift(y, c) = max(block_max(y, c), kLowest);
  const auto probability = [&](const Expr& key) { return s.exp(masked(y, key, c) - shift(y, c)); };
  if (!rounded_sum) {
    probabilities = Func("probabilities");
    probabilities(y, x, c) = Halide::undef<float>();
    probabilities(y, rp, c) = probability(rp);
  }
  if (s.pairs) {
    pair_probabilities = Func("pair_probabilities");
    Expr key = 2 * rq + e;
    pair_probabilities(e, y, x, c) = Halide::undef<Halide::bfloat16_t>();
    pair_probabilities(e, y, rq, c) =
        narrowed_probability(rounded_sum ? probability(key) : probabilities(y, key, c));
  }
  block_sum(y, c) = single ? of_sink(block_max(y, c)) : Expr(0.0f);
  if (rounded_sum) {
    // A product with 1, for the sake of the instruction.
    ones = Func("ones");
    ones(e) = Halide::cast<Halide::bfloat16_t>(1);
    if (ends) rl.where(c * key_block + 2 * rl.y < s.key_end);
    if (begins) rl.where(c * key_block + 2 * rl.y / key_tile * key_tile + key_tile > s.key_begin);
    block_sum(y, c) +=
        Halide::cast<float>(pair_probabilities(rl.x, y, rl.y, c)) * Halide::cast<float>(ones(rl.x));
  } else {
    block_sum(y, c) += probabilities(y, rx, c);
  }

  // o[y][d] = sum_x P^T[x][y] V[x][d]
  Func value_product("value_product"), partial("partial"), statistics("statistics");
  std::vector<RDom> singles;
  value_product(d, y, c) = 0.0f;
  Expr first_pair = c * (key_block / 2);
  if (s.pairs) {
    value_product(d, y, c) += Halide::cast<float>(pair_probabilities(rv.x, y, rv.y, c)) *
                              Halide::cast<float>(s.paired_value(in.v, d, rv.x, first_pair + rv.y));
    // A key whose neighbour is not seen goes by itself: V of the neighbour may be anything.
    const auto add_single = [&](const Expr& bound, int odd) {
      RDom& once = singles.emplace_back(0, 1, "once");
      Expr place = Halide::clamp(bound - c * key_block, 0, key_block);
      Expr pair = min(place / 2, key_block / 2 - 1) + once;
      once.where(begins || listed ? place % 2 == 1 && rows_begin < rows_end : place % 2 == 1);
      value_product(d, y, c) += widened(pair_probabilities(odd, y, pair, c)) *
                                widened(s.paired_value(in.v, d, odd, first_pair + pair));
    };
    if (s.odd_begin(value_rows)) add_single(rows_begin, 1);
    if (s.odd_end(value_rows)) add_single(rows_end, 0);
  } else {
    value_product(d, y, c) +=
        probabilities(y, rv.x, c) * widened(s.value(in.v, d, c * key_block + rv.x));
  }
  partial(d, y, c) = value_product(d, y, c);
  statistics(y, c) = Halide::Tuple(block_max(y, c), block_sum(y, c));

  // Merge: M = max(sink, max_c m), w_c = exp(m_c - M), L = exp(sink - M) + sum_c w_c l_c,
  // out = sum_c w_c o_c / L
  Func row_max("row_max"), merge_weight("merge_weight"), row_sum("row_sum"), row_scale("row_scale"),
      merged("merged"), result("result");
  Expr highest, total;
  if (single) {
    highest = block_max(y, only);
    total = block_sum(y, only);
  } else {
    row_max(y) = sink;
    row_max(y) = max(row_max(y), statistics(y, rc)[0]);
    merge_weight(y, c) = s.exp(statistics(y, c)[0] - max(row_max(y), kLowest));
    row_sum(y) = of_sink(row_max(y));
    row_sum(y) += merge_weight(y, rc) * statistics(y, rc)[1];
    merged(d, y) = 0.0f;
    merged(d, y) += merge_weight(y, rc) * partial(d, y, rc);
    highest = row_max(y);
    total = row_sum(y);
  }
  Func output("output");
  if (splits == nullptr) {
    row_scale(y) = one_over(total);
    result(d, y) = (single ? partial(d, y, 0) : merged(d, y)) * row_scale(y);
    output(d, t, h, b) = narrowed_to(in.output_type, result(d, s.row_in_block(t)));
    output.bound(d, 0, static_cast<int>(in.output_width));
    s.bound_rows(output, in.output_dense);
  }

  Stage stage;
  stage.name = "attention";
  s.add_inputs(stage);
  add_source(stage, in.v);
  if (sinks) add_input(stage, in.sink.input, in.sink.operand);
  scalars.add_to(stage);
  std::vector<Func> outputs = {output};
  if (splits != nullptr) {
    outputs = split_outputs(s, *splits, partial, block_max, block_sum, only);
    for (const Operand& operand : {splits->partial, splits->split_max, splits->split_sum})
      stage.operands.push_back(operand);
    for (const Func& part : outputs) name_funcs(stage, {part});
  } else {
    stage.operands.push_back(in.output);
    add_row_outputs(stage, outputs, s, in, {highest, total, row_scale(y)});
  }
  stage.pipeline = Halide::Pipeline(outputs);
  s.set_grid(stage);
  if (splits != nullptr) {
    stage.key_axis = static_cast<int>(stage.grid.size());
    stage.grid.push_back({1, Symbol::kKey, key_block});
  }
  if (attention.right) stage.reverse_axis = stage.query_axis;
  s.name_inputs(stage);
  name_funcs(stage, {product, scores, masked, block_max, shift, probabilities, pair_probabilities,
                     ones, block_sum, value_product, partial, statistics, row_max, merge_weight,
                     row_sum, row_scale, merged, result, output});
  stage.domains = {{"rd", rd}, {"rx", rx}, {"rs", rs}, {"rp", rp}, {"rq", rq},
                   {"rl", rl}, {"rv", rv}, {"rc", rc}, {"rr", rr}};
  for (size_t i = 0; i < singles.size(); i++)
    stage.domains["once" + std::to_string(i + 1)] = singles[i];
  stage.streams = {{"k", in.k.input}, {"v", in.v.input}};
  return stage;
}

}  // namespace mha
