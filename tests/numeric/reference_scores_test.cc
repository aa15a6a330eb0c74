// Softcap, ALiBi, rules, tables, sinks and pruned heads of the oracle, against values done by hand
// and against full matrices in long double.
#include <cmath>

#include "generator/spec/error.h"
#include "tests/numeric/reference_tools.h"
#include "tools/reference/rules.h"

namespace mha {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
const char* const kShape =
    "op: attention\nheads: 4\nkv_heads: 2\nd_head: 8\nd_value: 5\nbatch: 2\nquery_length: 7\n"
    "key_length: 11\nscale: 0.9\noutputs: [output, weights, lse]\n";
const CallLengths kLengths{2, 7, 11};

Estimate evaluate(const std::string& text, bool is_score, const RuleScope& scope,
                  Rule::Arithmetic arithmetic = Rule::Arithmetic::kExact) {
  Spec spec;
  spec.heads = 6;
  spec.d_head = 64;
  spec.tables = {{"doc", {"4"}, Dtype::kI32}, {"bias", {"2", "3"}, Dtype::kF32}};
  const Arrays tables = {{"doc", {{4}, {7, 7, 9, -1}}},
                         {"bias", {{2, 3}, {0.5, 1.5, 2.5, 10, 20, 30}}}};
  return Rule(text, is_score, spec, tables, arithmetic)(scope);
}

TEST(Rules, ValuesByHand) {
  RuleScope scope;
  scope.s = {2.0, 0};
  scope.b = 1;
  scope.h = 2;
  scope.q = 5;
  scope.k = 3;
  scope.q_len = 8;
  scope.k_len = 10;
  const std::pair<const char*, double> cases[] = {
      {"s", 2},
      {"s + q - k", 4},
      {"-q * 2 + 1", -9},
      {"q / 2", 2.5},
      {"q // 2", 2},
      {"-q // 2", -3},
      {"-q % 3", 1},
      {"q % -3", -1},
      {"q // (h - 2)", 0},  // of whole numbers by 0
      {"q % (h - 2)", 0},
      {"-2.5 // 1", -3},
      {"-2.5 % 2", 1.5},
      {"s if q < k else -s", -2},
      {"1 if q < k or k < 4 and not h == 3 else 0", 1},
      {"1 if k < q < 6 else 0", 1},
      {"min(q, k, 4)", 3},
      {"max(s, 2.25)", 2.25},
      {"abs(k - q) + floor(-0.5)", 1},
      {"exp(s - 2) + sqrt(s * 8) + tanh(0 * s) + log(s / 2)", 5},
      {"b + heads + d_head + q_len + k_len", 89},
      {"bias[b, h] + doc[k]", 29},
      {"doc[doc[0] - 5]", 9},
  };
  for (const auto& [text, want] : cases) {
    const Estimate got = evaluate(text, true, scope);
    EXPECT_DOUBLE_EQ(got.value, want) << text;
    EXPECT_LT(got.error, 1e-4) << text;
  }
  EXPECT_EQ(evaluate("doc[0] == doc[1] and q > k", false, scope).value, 1);
  EXPECT_EQ(evaluate("doc[0] == doc[2]", false, scope).value, 0);
  // What a condition leaves out is not read.
  EXPECT_EQ(evaluate("q < 4 and doc[q] == 0", false, scope).value, 0);
  EXPECT_THROW(evaluate("doc[q] == 0", false, scope), UserError);
  EXPECT_THROW(evaluate("doc[-1] == 0", false, scope), UserError);
}

TEST(Rules, ErrorsHoldForFloat32) {
  const char* const rules[] = {
      "s * 0.3 + q / 7 - k / 3",
      "exp(s / 3) * tanh(s) - sqrt(abs(s) + 0.1)",
      "log(abs(s) + 1) / (1 + s * s)",
      "s - 0.1 * abs(q - k)",
      "min(s, 0.2) * max(s, -0.7, q / 100)",
      "s if s < 0.5 else s * 1.9 - 0.45",
      "(s * 3) % 0.7 + s // 0.3",
  };
  Random random(5, "rules");
  for (const char* text : rules) {
    int inexact = 0;
    for (int n = 0; n < 2000; ++n) {
      RuleScope scope;
      scope.q = random.integer(0, 3000);
      scope.k = random.integer(0, 3000);
      scope.s.value = static_cast<float>(4 * random.normal());
      const Estimate want = evaluate(text, true, scope);
      const Estimate got = evaluate(text, true, scope, Rule::Arithmetic::kFloat32);
      ASSERT_LE(std::abs(got.value - want.value), want.error) << text << " at " << scope.s.value;
      inexact += got.value != want.value;
      // A score that is off: the error covers what becomes of it.
      scope.s.error = 1e-3;
      const Estimate wide = evaluate(text, true, scope);
      for (double off : {-1e-3, 7e-4, 1e-3}) {
        RuleScope moved = scope;
        moved.s = {scope.s.value + off, 0};
        ASSERT_LE(std::abs(evaluate(text, true, moved).value - want.value),
                  wide.error * (1 + 1e-12) + 1e-12)
            << text << " at " << scope.s.value;
      }
    }
    EXPECT_GT(inexact, 200) << text;
  }
}

TEST(Rules, AnUncertainConditionMayGoEitherWay) {
  RuleScope scope;
  scope.s = {0.5, 0.01};
  EXPECT_NEAR(evaluate("1 if s < 0.505 else 0", true, scope).error, 1, 1e-12);
  EXPECT_EQ(evaluate("1 if s < 0.52 else 0", true, scope).error, 0);
  EXPECT_NEAR(evaluate("floor(s + 0.495)", true, scope).error, 1, 1e-12);
  EXPECT_EQ(evaluate("floor(s)", true, scope).error, 0);
}

TEST(Scores, SoftcapAlibiAndRuleInOrder) {
  Spec spec = parsed(std::string(kShape) +
                     "softcap: 1.5\nalibi: [0.5, 0.25, -0.125, 1]\nquery_offset: input\n"
                     "score_rule: s * 2 - k / 10 + bias[h, min(abs(q - k), 3)] + b\n"
                     "mask: {rule: \"k <= q or doc[k] == doc[0]\"}\n"
                     "table: {doc: [Lk], bias: {shape: [H, 4], dtype: f32}}\n");
  Arrays inputs = random_arrays(spec, kLengths, 3);
  inputs["query_offset"].values = {2, -1};
  inputs["doc"].values = {3, 3, 4, 4, 4, 3, 5, 5, 5, 5, 3};
  const std::vector<double>& bias = inputs.at("bias").values;
  const std::vector<double>& doc = inputs.at("doc").values;
  const double slopes[] = {0.5, 0.25, -0.125, 1};
  const auto place = [](const Pair& p) { return p.i + (p.b == 0 ? 2 : -1); };
  const ScoreOf score = [&](const Pair& p) -> long double {
    const int64_t q = place(p), distance = std::abs(q - p.j);
    if (!(p.j <= q || doc[static_cast<size_t>(p.j)] == doc[0])) return -kInf;
    const long double capped = 1.5L * std::tanh(p.s / 1.5L);
    const long double placed =
        capped - static_cast<long double>(slopes[p.h]) * static_cast<long double>(distance);
    return placed * 2 - static_cast<long double>(p.j) / 10 +
           static_cast<long double>(
               bias[static_cast<size_t>(p.h * 4 + std::min<int64_t>(distance, 3))]) +
           static_cast<long double>(p.b);
  };
  expect_near(by_matrix(spec, kLengths, inputs, score), reference(spec, kLengths, inputs).outputs,
              1e-12);
  spec.outputs = {"output", "weights", "lse", "scores", "scores_capped", "scores_masked"};
  const Arrays all = reference(spec, kLengths, inputs).outputs;
  for (size_t n = 0; n < all.at("scores").values.size(); ++n) {
    EXPECT_DOUBLE_EQ(all.at("scores_capped").values[n],
                     1.5 * std::tanh(all.at("scores").values[n] / 1.5));
    const auto at = static_cast<int64_t>(n);
    const Pair pair{at / (4 * 7 * 11), at / (7 * 11) % 4, at / 11 % 7, at % 11,
                    static_cast<long double>(all.at("scores").values[n])};
    const auto want = static_cast<double>(score(pair));
    if (std::isinf(want)) {
      EXPECT_EQ(all.at("scores_masked").values[n], -kInf);
    } else {
      EXPECT_NEAR(all.at("scores_masked").values[n], want, 1e-12);
    }
  }
  expect_bounds_hold(spec, kLengths, inputs);
  for (auto spoil :
       {+[](Spec* s) { s->softcap = 1.5005; }, +[](Spec* s) { s->alibi_slopes[1] = 0.2501; },
        +[](Spec* s) { s->score_rule = "s * 2 - k / 9.99"; },
        +[](Spec* s) { s->mask.rule = "k < q or doc[k] == doc[0]"; }}) {
    Spec wrong = spec;
    spoil(&wrong);
    expect_bounds_fail(spec, kLengths, inputs, wrong, inputs);
  }
}

TEST(Scores, AlibiOfThePaper) {
  const Spec spec = parsed(
      "op: attention\nheads: 8\nd_head: 4\nquery_length: 3\nalibi: true\n"
      "scale: 0\noutputs: [scores_masked]\n");
  const Arrays inputs = random_arrays(spec, {1, 3, 3}, 1);
  const Array got = reference(spec, {1, 3, 3}, inputs).outputs.at("scores_masked");
  for (int64_t h = 0; h < 8; ++h) {
    // Slopes 1/2, 1/4 ... 1/256.
    EXPECT_EQ(got.values[static_cast<size_t>(h * 9 + 2)],
              -2 * std::exp2(-static_cast<double>(h + 1)));
    EXPECT_EQ(got.values[static_cast<size_t>(h * 9 + 3)], -std::exp2(-static_cast<double>(h + 1)));
  }
}

TEST(Scores, RulesKnowTheLengthsOfASequence) {
  Spec spec = parsed(
      "op: attention\nheads: 1\nd_head: 1\nbatch: 2\nquery_length: 2\nkey_length: 4\n"
      "score_rule: q_len * 100 + k_len * 10 + b\noutputs: [scores_masked]\n"
      "mask: {key_lengths: true}\nquery_offset: end\n");
  Arrays inputs = random_arrays(spec, {2, 2, 4}, 1);
  inputs["key_lengths"].values = {4, 3};
  const std::vector<double> got =
      reference(spec, {2, 2, 4}, inputs).outputs.at("scores_masked").values;
  EXPECT_EQ(got[0], 240);
  EXPECT_EQ(got[8], 231);
  EXPECT_EQ(got[11], -kInf);

  Spec packed = parsed(
      "op: attention\nheads: 1\nd_head: 1\nbatch: 3\nquery_length: 4\npacked: true\n"
      "score_rule: q_len * 100 + k_len * 10 + shift[b]\n"
      "table: {shift: {shape: [B], dtype: f32}}\noutputs: [scores_masked]\n");
  const CallLengths lengths{3, 4, 4, 5};
  Arrays rows = random_arrays(packed, lengths, 1);
  rows["sequence_starts"].values = {0, 2, 2, 5};
  rows["shift"].values = {0.5, 7, 0.25};
  const std::vector<double> of_rows =
      reference(packed, lengths, rows).outputs.at("scores_masked").values;
  EXPECT_EQ(of_rows[0], 220.5);
  EXPECT_EQ(of_rows[2], -kInf);
  EXPECT_EQ(of_rows[8], 330.25);
}

TEST(Scores, ARuleHidesByMinusInfinity) {
  const Spec spec = parsed(std::string(kShape) + "score_rule: s if k > q else log(0 * s)\n");
  const Arrays inputs = random_arrays(spec, kLengths, 4);
  expect_near(by_matrix(spec, kLengths, inputs,
                        [](const Pair& p) -> long double { return p.j > p.i ? p.s : -kInf; }),
              reference(spec, kLengths, inputs).outputs, 1e-12);
}

TEST(Scores, ASinkJoinsTheSum) {
  const Spec spec = parsed(std::string(kShape) +
                           "sink: true\nmask: {causal: true}\n"
                           "query_offset: input\n");
  Arrays inputs = random_arrays(spec, kLengths, 4);
  inputs["query_offset"].values = {0, -3};  // rows 0 to 2 of the second sequence see nothing
  const std::vector<double> sinks = inputs.at("sink").values;
  const ScoreOf score = [](const Pair& p) -> long double {
    return p.j <= p.i - (p.b == 1 ? 3 : 0) ? p.s : -kInf;
  };
  const Reference got = reference(spec, kLengths, inputs);
  expect_near(by_matrix(spec, kLengths, inputs, score, sinks), got.outputs, 1e-12);
  const size_t blind = 4 * 7;  // the first row of the second sequence
  EXPECT_DOUBLE_EQ(got.outputs.at("lse").values[blind], sinks[0]);
  EXPECT_EQ(got.outputs.at("output").values[7 * 4 * 5], 0);
  EXPECT_EQ(got.bounds.at("output").values[7 * 4 * 5], 0);
  expect_bounds_hold(spec, kLengths, inputs);
  Arrays other = inputs;
  other["sink"].values[1] += 0.01;
  expect_bounds_fail(spec, kLengths, inputs, spec, other);
}

TEST(Scores, PrunedHeadsAreZeroAndTheOthersAsTheyWere) {
  Spec spec = parsed(
      "op: attention\nheads: 4\nkv_heads: 2\nd_head: 8\nbatch: 2\nquery_length: 7\n"
      "top_k: 2\noutputs: [output, weights, mean_weights, lse, scores, "
      "scores_masked]\nmask: {causal: true}\n");
  const CallLengths lengths{2, 7, 7};
  const Arrays inputs = random_arrays(spec, lengths, 8);
  const Reference full = reference(spec, lengths, inputs);
  spec.pruned_heads = {0, 2};
  const Reference pruned = reference(spec, lengths, inputs);
  for (const TensorDecl& decl : output_tensors(spec, lengths)) {
    const std::vector<double>& got = pruned.outputs.at(decl.name).values;
    const std::vector<double>& whole = full.outputs.at(decl.name).values;
    if (decl.name == "mean_weights") {
      for (size_t n = 0; n < got.size(); ++n) {
        double sum = 0;
        for (size_t h : {1, 3})
          sum += full.outputs.at("weights").values[(n / 49 * 4 + h) * 49 + n % 49];
        EXPECT_NEAR(got[n], sum / 4, 1e-15);
      }
      continue;
    }
    for (size_t n = 0; n < got.size(); ++n) {
      const bool inside = decl.name == "output";  // heads lie inside the rows
      const size_t width = got.size() / (2 * 4 * 7);
      const size_t h = inside ? n / width % 4 : n / (width * 7) % 4;
      EXPECT_EQ(got[n], h == 0 || h == 2 ? 0 : whole[n]) << decl.name << " " << n;
    }
  }
  EXPECT_TRUE(compare_output("top_indices", pruned.outputs, pruned).passed());
  Arrays other = pruned.outputs;
  other["top_indices"].values[0] = -1;
  EXPECT_FALSE(compare_output("top_indices", other, pruned).passed());
}

TEST(Scores, ABlockWithoutSomeHeads) {
  Spec spec = parsed("d_model: 12\nheads: 3\nquery_length: 5\nprojection_bias: {out: true}\n");
  Arrays inputs = random_arrays(spec, {1, 5, 5}, 8);
  spec.pruned_heads = {1};
  const Array got = reference(spec, {1, 5, 5}, inputs).outputs.at("output");
  spec.pruned_heads = {};
  for (size_t n = 0; n < 12 * 12; ++n) {
    if (n % 12 / 4 == 1) inputs["w_o"].values[n] = 0;
  }
  const Array want = reference(spec, {1, 5, 5}, inputs).outputs.at("output");
  for (size_t n = 0; n < 60; ++n) EXPECT_NEAR(got.values[n], want.values[n], 1e-14);
}

}  // namespace
}  // namespace mha
