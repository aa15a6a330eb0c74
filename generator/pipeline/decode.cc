// Attention of few queries over the keys of a cache. One task is a fixed number of keys (a split)
// of one KV head, for all rows that read them: the heads of that KV head and the queries of a
// sequence, or of all sequences of the call where they share the keys. So K and V are read once.
//
// S[row][key x of panel c] = sum_d Q[row][d] K[c][d][x]: keys lie in lanes, as K's panels have
// them. The product with V has the width in lanes. Every split gives a partial result (o, l, m) of
// each row; `merge` adds them up in the order of the splits, so that bits depend on nothing else.
//
// Where products take pairs of bf16, those of q with K are two neighbours in the width, and those
// with V two keys, as the cache has them; P is rounded to bf16.
#include "generator/pipeline/head_groups.h"
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

// The keys [begin, end) of the `split` keys from `first` on; not `cut`: all of them.
struct KeyRange {
  Expr first, begin, end;
  int split = 0;
  bool cut = true;
};

// Keys of V whose products are summed up in registers: so many that they stay in L1 for all rows.
// Over shared keys there are many rows, each of which is then added to rarely.
constexpr int kValueBlock = kCachePanel, kSharedValueBlock = 4 * kCachePanel;

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

// value_product += P V, the keys of a block summed up in registers before they are added: V comes
// from memory once, for all rows, and from L1 for what does not fit the registers at a time. V is
// read exactly as far as some row sees: what lies beyond may be anything. Where products take
// pairs, a key at an end whose neighbour no row sees goes by itself.
class ValueProduct {
 public:
  ValueProduct(Stage& stage, const Scores& s, const HeadSource& v, const KeyRange& keys, int block)
      : stage_(stage), s_(s), v_(v), keys_(keys), block_(block) {}

  // P[row y][lane x of panel c], of two bf16 in a word where products take pairs.
  void add(Func value_product, Func probabilities) {
    probabilities_ = probabilities;
    const int panels = block_ / kCachePanel;
    Var d = s_.d, y = s_.y, b("b");
    Func block_product("block_product");
    block_product(d, y, b) = 0.0f;
    if (s_.pairs) {
      RDom rv(0, 2, 0, kCachePanel / 2, 0, panels, "rv");
      Expr panel = b * panels + rv.z, key = panel * kCachePanel + 2 * rv.y;
      if (keys_.cut) rv.where(key >= keys_.begin && key + 1 < keys_.end);
      block_product(d, y, b) +=
          Halide::cast<float>(probabilities(2 * rv.y + rv.x, panel, y)) *
          Halide::cast<float>(s_.paired_value(v_, d, rv.x, panel * (kCachePanel / 2) + rv.y));
      stage_.domains["rv"] = rv;
    } else {
      RDom rv(0, kCachePanel, 0, panels, "rv");
      Expr panel = b * panels + rv.y, key = panel * kCachePanel + rv.x;
      if (keys_.cut) rv.where(key >= keys_.begin && key < keys_.end);
      block_product(d, y, b) += probabilities(rv.x, panel, y) * widened(s_.value(v_, d, key));
      stage_.domains["rv"] = rv;
    }
    Expr first = keys_.begin / block_;
    Expr count = (keys_.end + block_ - 1) / block_ - first;
    RDom rb(first, Halide::clamp(count, 0, keys_.split / block_), "rb");
    value_product(d, y) = 0.0f;
    value_product(d, y) += block_product(d, y, rb);
    stage_.domains["rb"] = rb;
    name_funcs(stage_, {value_product, block_product});
    if (!s_.pairs || !keys_.cut) return;
    add_single(value_product, keys_.begin, 1, "once1");
    add_single(value_product, keys_.end, 0, "once2");
  }

 private:
  // The key of a pair that `bound` cuts: its odd one, or its even one.
  void add_single(Func value_product, const Expr& bound, int odd, const char* name) {
    RDom once(0, 1, "once");
    once.where(bound % 2 == 1 && keys_.begin < keys_.end);
    Expr first = keys_.first / 2;
    Expr pair = Halide::clamp(bound / 2, first, first + keys_.split / 2 - 1) + once;
    Expr panel = pair / (kCachePanel / 2), lane = pair % (kCachePanel / 2) * 2 + odd;
    value_product(s_.d, s_.y) +=
        widened(probabilities_(lane, panel, s_.y)) * widened(s_.paired_value(v_, s_.d, odd, pair));
    stage_.domains[name] = once;
  }

  Stage& stage_;
  const Scores& s_;
  const HeadSource& v_;
  const KeyRange keys_;
  const int block_;
  Func probabilities_;
};

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
    if (attention.left || attention.key_starts)
      begin = Halide::clamp(s.key_begin, first, first + split);
    end = min(s.key_end, end);
  }
  Expr first_panel = begin / kCachePanel;
  Expr count = (end + kCachePanel - 1) / kCachePanel - first_panel;
  // Never more than the split has, which bounds of begin and end do not show.
  Expr most = split / kCachePanel;
  RDom rd = s.width_domain("rd"), rl(0, kCachePanel, "rl");
  RDom rc(first_panel, Halide::clamp(count, 0, most), "rc");

  Func product("product"), scores("scores"), masked("masked");
  product(x, c, y) = 0.0f;
  product(x, c, y) += s.product_term(rd);
  scores(x, c, y) = Halide::undef<float>();
  scores(x, rc, y) = s.shaped(s.scaled(product(x, rc, y)), rc * kCachePanel + x);
  masked(x, c, y) = s.masked_score(scores(x, c, y));

  // m[row] = max_x S, P[row][x] = exp(S - m), l[row] = sum_x P; by lanes first. Where P is rounded,
  // the sum is of what was rounded if nothing but the output depends on it.
  const bool rounded_sum = s.pairs && plan.outputs == std::vector<std::string>{"output"};
  Func lane_max("lane_max"), block_max("block_max"), shift("shift"), probabilities,
      pair_probabilities, lane_sum("lane_sum"), block_sum("block_sum");
  lane_max(x, y) = -kInfinity;
  lane_max(x, y) = max(lane_max(x, y), masked(x, rc, y));
  block_max(y) = -kInfinity;
  block_max(y) = max(block_max(y), lane_max(rl, y));
  shift(y) = max(block_max(y), kLowest);
  Expr probability = s.exp(masked(x, rc, y) - shift(y));
  if (!rounded_sum) {
    probabilities = Func("probabilities");
    probabilities(x, c, y) = Halide::undef<float>();
    probabilities(x, rc, y) = probability;
    probability = probabilities(x, rc, y);
  }
  if (s.pairs) {
    pair_probabilities = Func("pair_probabilities");
    pair_probabilities(x, c, y) = Halide::undef<Halide::bfloat16_t>();
    pair_probabilities(x, rc, y) = narrowed_probability(probability);
  }
  lane_sum(x, y) = 0.0f;
  lane_sum(x, y) += rounded_sum ? widened(pair_probabilities(x, rc, y)) : probability;
  block_sum(y) = 0.0f;
  block_sum(y) += lane_sum(rl, y);

  // o[row][d] = sum_x P[row][x] V[x][d]
  Func value_product("value_product"), partial("partial"), split_max("split_max"),
      split_sum("split_sum");
  Stage stage;
  ValueProduct(stage, s, in.v, {first, begin, end, split, !shared},
               shared ? kSharedValueBlock : kValueBlock)
      .add(value_product, s.pairs ? pair_probabilities : probabilities);
  Expr row = r - s.first_tile_row();
  partial(d, r, n, g) = value_product(d, row);
  split_max(r, n, g) = block_max(row);
  split_sum(r, n, g) = block_sum(row);
  partial.bound(d, 0, static_cast<int>(in.partial_width));
  for (Func output : {partial, split_max, split_sum}) {
    output.bound(r, s.first_tile_row(), s.tile_rows()).bound(n, task, 1).bound(g, head, 1);
  }

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
  name_funcs(stage, {s.query_rows, s.query_pairs, s.sequence_of_row, s.mask_rows, product, scores,
                     masked, lane_max, block_max, shift, probabilities, pair_probabilities,
                     lane_sum, block_sum, partial, split_max, split_sum});
  stage.domains.insert({{"rd", rd}, {"rc", rc}, {"rl", rl}});
  stage.streams = {{"k", in.k.input}, {"v", in.v.input}};
  return stage;
}

// M = max(sink, max_n m), w_n = exp(m_n - M), L = exp(sink - M) + sum_n w_n l_n, out = sum_n w_n
// o_n / L, over the splits n that hold a key which some row of the sequence sees. One head of a
// sequence a task.
Stage build_merge(const Plan& plan, const Blocking& blocking, const DecodeInputs& splits,
                  const AttentionInputs& in) {
  const int split = splits.of_blocks ? blocking.attention.key_block : blocking.decode.split;
  const HeadGroups groups = splits.of_blocks ? HeadGroups() : head_groups(plan.attention);
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
  output(d, t, h, b) = narrowed_to(in.output_type, result(d, s.row_in_block(t)));
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
