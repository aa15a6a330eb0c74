// Attention of few queries over the keys of a cache. One task is a fixed number of keys (a split)
// of one KV head, for all rows that read them: the heads of that KV head and the queries of a
// sequence, or of all sequences of the call where they share the keys. So K and V are read once.
//
// S[row][key x of panel c] = sum_d Q[row][d] K[c][d][x]: keys lie in lanes, as K's panels have
// them. The product with V has the width in lanes. Every split gives a partial result (o, l, m) of
// each row; `merge` adds them up in the order of the splits, so that bits depend on nothing else.

#include "generator/pipeline/head_groups.h"
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

// Rows of all queries of a sequence are one block.
AttentionBlocking all_queries(const Blocking& blocking, int key_block, TileRows rows) {
  AttentionBlocking block = blocking.attention;
  block.query_block = 1 << 20;
  block.key_block = key_block;
  block.key_tile = kCachePanel;
  block.heads_first = false;
  block.whole_rows = true;
  block.rows = rows;
  return block;
}

}  // namespace

Stage build_decode(const Plan& plan, const Blocking& blocking, const DecodeInputs& in,
                   bool shared) {
  const Attention& attention = plan.attention;
  const int split = blocking.decode.split;
  const std::string name = shared ? "decode_shared" : "decode";
  StageScalars scalars(name);
  const AttentionBlocking panels =
      all_queries(blocking, kCachePanel, shared ? TileRows::kShared : TileRows::kGroup);
  Scores s(plan, panels, scalars, in, {.unit = softmax_unit(plan)});
  Var d = s.d, y = s.y, x = s.x, c = s.c, r("r"), n("n"), g("g");
  Expr task = scalars.get(Symbol::kTask0), head = scalars.get(Symbol::kTask1);

  // The keys of the split that some row sees; the panels that hold them.
  Expr first = task * split;
  Expr begin = first, end = first + split;
  if (!shared) {
    if (attention.left || attention.key_starts) begin = max(s.key_begin, begin);
    end = min(s.key_end, end);
  }
  Expr first_panel = begin / kCachePanel;
  Expr count = (end + kCachePanel - 1) / kCachePanel - first_panel;
  // Never more than the split has, which bounds of begin and end do not show.
  Expr most = split / kCachePanel;
  RDom rd(0, static_cast<int>(attention.d_head), "rd"), rl(0, kCachePanel, "rl");
  RDom rc(first_panel, Halide::clamp(count, 0, most), "rc");
  RDom rv(begin, Halide::clamp(end - begin, 0, split), "rv");

  Func product("product"), scores("scores"), masked("masked");
  product(x, c, y) = 0.0f;
  product(x, c, y) += s.query_rows(rd, y) * s.key(rd);
  scores(x, c, y) = Halide::undef<float>();
  scores(x, rc, y) = s.shaped(product(x, rc, y), rc * kCachePanel + x);
  masked(x, c, y) = s.masked_score(scores(x, c, y));

  // m[row] = max_x S, P[row][x] = exp(S - m), l[row] = sum_x P; by lanes first.
  Func lane_max("lane_max"), block_max("block_max"), shift("shift"), probabilities("probabilities"),
      lane_sum("lane_sum"), block_sum("block_sum");
  lane_max(x, y) = -kInfinity;
  lane_max(x, y) = max(lane_max(x, y), masked(x, rc, y));
  block_max(y) = -kInfinity;
  block_max(y) = max(block_max(y), lane_max(rl, y));
  shift(y) = max(block_max(y), kLowest);
  probabilities(x, c, y) = Halide::undef<float>();
  probabilities(x, rc, y) = s.exp(masked(x, rc, y) - shift(y));
  lane_sum(x, y) = 0.0f;
  lane_sum(x, y) += probabilities(x, rc, y);
  block_sum(y) = 0.0f;
  block_sum(y) += lane_sum(rl, y);

  // o[row][d] = sum_x P[row][x] V[x][d]
  Func value_product("value_product"), partial("partial"), split_max("split_max"),
      split_sum("split_sum");
  value_product(d, y) = 0.0f;
  value_product(d, y) +=
      probabilities(rv % kCachePanel, rv / kCachePanel, y) * s.value(in.v, d, rv);
  Expr row = r - s.first_tile_row();
  partial(d, r, n, g) = value_product(d, row);
  split_max(r, n, g) = block_max(row);
  split_sum(r, n, g) = block_sum(row);
  partial.bound(d, 0, static_cast<int>(in.partial_width));
  for (Func output : {partial, split_max, split_sum}) {
    output.bound(r, s.first_tile_row(), s.tile_rows()).bound(n, task, 1).bound(g, head, 1);
  }

  Stage stage;
  stage.name = name;
  s.add_inputs(stage);
  add_source(stage, in.v);
  scalars.add_to(stage);
  for (const Operand& output : {in.partial, in.split_max, in.split_sum})
    stage.operands.push_back(output);
  stage.pipeline = Halide::Pipeline({partial, split_max, split_sum});
  stage.grid = {{1, shared ? Symbol::kShared : Symbol::kKey, split},
                {attention.kv_heads, Symbol::kOne, 1},
                {1, shared ? Symbol::kOne : Symbol::kBatch, 1}};
  if (!shared) {
    stage.key_axis = 0;
    stage.batch_axis = 2;
  }
  name_funcs(stage, {s.query_rows, s.sequence_of_row, s.mask_rows, product, scores, masked,
                     lane_max, block_max, shift, probabilities, lane_sum, block_sum, value_product,
                     partial, split_max, split_sum});
  stage.domains.insert({{"rd", rd}, {"rc", rc}, {"rl", rl}, {"rv", rv}});
  stage.streams = {{"k", in.k.input}, {"v", in.v.input}};
  return stage;
}

// M = max(sink, max_n m), w_n = exp(m_n - M), L = exp(sink - M) + sum_n w_n l_n, out = sum_n w_n
// o_n / L, over the splits n that hold a key which some row of the sequence sees. One head of a
// sequence a task.
Stage build_merge(const Plan& plan, const Blocking& blocking, const DecodeInputs& splits,
                  const AttentionInputs& in) {
  const int split = blocking.decode.split;
  const HeadGroups groups = head_groups(plan.attention);
  const int group = static_cast<int>(groups.rows);
  StageScalars scalars("merge");
  const AttentionBlocking whole = all_queries(blocking, split, TileRows::kQueries);
  Scores s(plan, whole, scalars, in, {.unit = softmax_unit(plan), .step = ScoreStep::kProduct});
  Var d = s.d, y = s.y, c = s.c, t = s.t, h = s.h, b = s.b;
  Halide::ImageParam partial(Halide::Float(32), 4, "partial"),
      split_max(Halide::Float(32), 3, "split_max"), split_sum(Halide::Float(32), 3, "split_sum");
  partial.dim(0).set_bounds(0, static_cast<int>(splits.partial_width));
  partial.dim(1).set_stride(static_cast<int>(splits.partial_width));

  Expr first = s.key_begin / split;
  RDom rc(first, max((s.key_end + split - 1) / split - first, 0), "rc");
  // Row y of the partial results: query y of this sequence and this head.
  Expr sequence_row = plan.packed ? s.first_row : s.sequence * s.query_length;
  Expr row =
      (sequence_row + min(y, s.query_length - 1)) * group + row_of_head(groups, s.computed_head);
  Expr kv_head = kv_head_of(groups, s.computed_head);
  Func row_max("row_max"), merge_weight("merge_weight"), row_sum("row_sum"), row_scale("row_scale"),
      merged("merged"), result("result"), output("output");
  // A sink is a split before the first, of a key whose V is 0.
  const bool sinks = plan.attention.sink;
  Expr sink = sinks ? s.sink(in.sink) : Expr(-kInfinity);
  row_max(y) = sink;
  row_max(y) = max(row_max(y), split_max(row, rc, kv_head));
  merge_weight(y, c) = s.exp(split_max(row, c, kv_head) - max(row_max(y), kLowest));
  row_sum(y) = sinks ? s.exp(sink - max(row_max(y), kLowest)) : Expr(0.0f);
  row_sum(y) += merge_weight(y, rc) * split_sum(row, rc, kv_head);
  merged(d, y) = 0.0f;
  merged(d, y) += merge_weight(y, rc) * partial(d, row, rc, kv_head);
  Expr total = row_sum(y);
  row_scale(y) = one_over(total);
  result(d, y) = merged(d, y) * row_scale(y);
  output(d, t, h, b) = result(d, s.row_in_block(t));
  output.bound(d, 0, static_cast<int>(in.output_width));
  s.bound_rows(output, in.output_dense);

  Stage stage;
  stage.name = "merge";
  add_input(stage, partial, splits.partial);
  add_input(stage, split_max, splits.split_max);
  add_input(stage, split_sum, splits.split_sum);
  if (sinks) add_input(stage, in.sink.input, in.sink.operand);
  scalars.add_to(stage);
  std::vector<Func> outputs = {output};
  stage.operands.push_back(in.output);
  add_row_outputs(stage, outputs, s, in, {row_max(y), total, row_scale(y)});
  stage.pipeline = Halide::Pipeline(outputs);
  stage.grid = {
      {1, Symbol::kOne, 1}, {plan.attention.heads, Symbol::kOne, 1}, {1, Symbol::kBatch, 1}};
  stage.batch_axis = 2;
  name_funcs(stage, {row_max, merge_weight, row_sum, row_scale, merged, result, output});
  stage.domains = {{"rc", rc}};
  return stage;
}

}  // namespace mha
