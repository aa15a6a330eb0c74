// What is computed from the scores of every pair, as far as the user asks for it: the softmax and
// its mean over heads, scores before and after masking, the strongest keys of each row.
//
// These stages compute the scores once more, a block of queries at a time. The softmax reads the
// max and the sum of each row that the attention stage has left.

#include "generator/pipeline/scores.h"

namespace mha {

using Halide::Expr;
using Halide::Func;
using Halide::RDom;
using Halide::select;
using Halide::Tuple;
using Halide::Var;

namespace {

// A block that holds every key: c is 0 throughout.
AttentionBlocking one_block(const Blocking& blocking) {
  AttentionBlocking one = blocking.attention;
  one.key_block = 1 << 28;
  return one;
}

// S^T[x][y] = sum_d Q[y][d] K[x][d]; and, with the statistics of the rows, the softmax.
struct Pairs {
  Func product{"product"}, scores{"scores"}, masked{"masked"};
  Func row_max{"row_max"}, row_scale{"row_scale"}, normalised{"normalised"};
  Halide::ImageParam max_in{Halide::Float(32), 3, "row_max_in"},
      scale_in{Halide::Float(32), 3, "row_scale_in"};
  RDom rd;

  explicit Pairs(const Scores& s) {
    rd = s.width_domain("rd");
    const auto pair = s.at({s.y, s.x, s.c}, s.h);
    product(s.vars({s.y, s.x, s.c})) = 0.0f;
    product(pair) += s.product_term(rd);
    scores(s.vars({s.y, s.x, s.c})) = s.shaped(s.scaled(product(pair)), s.x);
    masked(s.vars({s.y, s.x, s.c})) = s.masked_score(scores(pair));
  }

  // normalised = exp(masked - row_max) * row_scale
  void normalise(const Scores& s, int query_block) {
    const auto pair = s.at({s.y, s.x, s.c}, s.h);
    Expr row = s.block * query_block + s.y;
    if (s.query_tail) row = min(row, s.query_length - 1);
    row_max(s.vars({s.y})) = max_in(s.first_row + row, s.head, s.batch_index);
    row_scale(s.vars({s.y})) = scale_in(s.first_row + row, s.head, s.batch_index);
    Expr highest = row_max(s.at({s.y}, s.h)), scale = row_scale(s.at({s.y}, s.h));
    // Hidden once more: a row that sees a NaN has a NaN scale, and its hidden keys are 0 all the
    // same.
    normalised(s.vars({s.y, s.x, s.c})) =
        s.where_visible(s.exp(masked(pair) - highest) * scale, 0.0f);
  }

  void finish(Stage& stage, const std::string& name, const Scores& s, StageScalars& scalars,
              const PairInputs& in) {
    stage.name = name;
    s.add_inputs(stage);
    if (row_max.defined()) {
      add_input(stage, max_in, in.row_max);
      add_input(stage, scale_in, in.row_scale);
    }
    scalars.add_to(stage);
    s.set_grid(stage);
    s.name_inputs(stage);
    name_funcs(stage, {product, scores, masked, row_max, row_scale, normalised});
    stage.domains["rd"] = rd;
  }
};

// Lk of the call: in a packed batch of the longest sequence.
Expr all_keys(const Plan& plan, const Scores& s, StageScalars& scalars) {
  if (plan.cache) return scalars.length(plan.keys(), Symbol::kKey);
  return plan.packed ? scalars.length(plan.query_length, Symbol::kQuery) : s.key_length;
}

}  // namespace

Stage build_pairs(const std::string& name, const Plan& plan, const Blocking& blocking,
                  const PairInputs& in) {
  StageScalars scalars(name);
  const AttentionBlocking block = one_block(blocking);
  const bool softmax = name == "weights";
  Scores s(plan, block, scalars, in,
           {.unit = softmax ? softmax_unit(plan) : ScoreUnit::kNatural,
            .step = name == "scores"          ? ScoreStep::kProduct
                    : name == "scores_capped" ? ScoreStep::kCapped
                                              : ScoreStep::kAll});
  Pairs pairs(s);
  Func output("output");
  Expr row = s.row_in_block(s.t);
  if (softmax) {
    pairs.normalise(s, block.query_block);
    output(s.x, s.t, s.h, s.b) = pairs.normalised(row, s.x, 0);
  } else {
    Func& values = pairs.normalised;
    const bool masks = name == "scores_masked";
    // Where a sequence has no key there is no score either.
    Expr score = pairs.scores(s.y, s.x, s.c);
    values(s.y, s.x, s.c) = masks                       ? s.masked_score(score)
                            : plan.packed || plan.cache ? select(s.is_key(), score, 0.0f)
                                                        : score;
    output(s.x, s.t, s.h, s.b) = values(row, s.x, 0);
  }
  output.bound(s.x, 0, all_keys(plan, s, scalars));
  s.bound_rows(output);

  Stage stage;
  pairs.finish(stage, name, s, scalars, in);
  stage.operands.push_back(in.output);
  stage.pipeline = Halide::Pipeline(output);
  name_funcs(stage, {output});
  return stage;
}

Stage build_mean_weights(const Plan& plan, const Blocking& blocking, const PairInputs& in) {
  StageScalars scalars("mean_weights");
  const AttentionBlocking block = one_block(blocking);
  Scores s(plan, block, scalars, in, {.unit = softmax_unit(plan), .every_head = true});
  Pairs pairs(s);
  pairs.normalise(s, block.query_block);
  const int heads = static_cast<int>(plan.attention.heads);
  RDom rh(0, heads, "rh");
  Func sum("sum"), output("output");
  sum(s.y, s.x) = 0.0f;
  sum(s.y, s.x) += pairs.normalised(s.y, s.x, 0, rh);
  // Pruned heads add nothing, but they count.
  const float all = static_cast<float>(plan.attention.all_heads);
  output(s.x, s.t, s.b) = sum(s.row_in_block(s.t), s.x) * (1.0f / all);
  output.bound(s.x, 0, all_keys(plan, s, scalars));
  s.bound_rows(output);

  Stage stage;
  pairs.finish(stage, "mean_weights", s, scalars, in);
  stage.operands.push_back(in.output);
  stage.pipeline = Halide::Pipeline(output);
  name_funcs(stage, {sum, output});
  stage.domains["rh"] = rh;
  return stage;
}

Stage build_top(const Plan& plan, const Blocking& blocking, const PairInputs& in,
                const Operand& indices) {
  StageScalars scalars("top_k");
  const AttentionBlocking block = one_block(blocking);
  const int k = static_cast<int>(plan.top_k);
  Scores s(plan, block, scalars, in, {.unit = softmax_unit(plan)});
  Pairs pairs(s);
  pairs.normalise(s, block.query_block);

  // strongest(y, 1..k): (score, key) in falling order; a key moves in where its score is higher
  // than what stands there, so that of equal scores the first key leads, and -inf (hidden) never
  // enters. From the last place to the first, as each place may pass on what it held to the next.
  // Place 0 is above all.
  Func strongest("strongest"), weights("top_weights"), keys("top_indices");
  Var n("n");
  strongest(s.y, n) = Tuple(select(n == 0, kInfinity, -kInfinity), -1);
  RDom rt(0, k, s.key_begin, max(s.key_end - s.key_begin, 0), "rt");
  Expr place = k - rt.x, score = pairs.masked(s.y, rt.y, 0);
  Tuple here = strongest(s.y, place), above = strongest(s.y, place - 1);
  Expr over_here = score > here[0], over_above = score > above[0];
  strongest(s.y, place) = Tuple(select(over_here, select(over_above, above[0], score), here[0]),
                                select(over_here, select(over_above, above[1], rt.y), here[1]));

  Expr row = s.row_in_block(s.t);
  Func held("held");
  held(s.y, n) =
      select(strongest(s.y, n + 1)[1] < 0, 0.0f,
             s.exp(strongest(s.y, n + 1)[0] - pairs.row_max(s.y)) * pairs.row_scale(s.y));
  weights(n, s.t, s.h, s.b) = held(row, n);
  keys(n, s.t, s.h, s.b) = strongest(row, n + 1)[1];
  for (Func output : {weights, keys}) {
    output.bound(n, 0, k);
    s.bound_rows(output);
  }

  Stage stage;
  pairs.finish(stage, "top_k", s, scalars, in);
  stage.operands.push_back(in.output);
  stage.operands.push_back(indices);
  stage.pipeline = Halide::Pipeline({weights, keys});
  stage.funcs.erase("normalised");
  name_funcs(stage, {strongest, held, weights, keys});
  stage.domains["rt"] = rt;
  return stage;
}

}  // namespace mha
