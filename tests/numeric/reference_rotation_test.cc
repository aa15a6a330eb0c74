// RoPE and the norm of q and k in the oracle, against figures that another program computed from
// the papers' formulas, and against what must hold of any rotation.
#include <cmath>

#include "tests/numeric/reference_tools.h"
#include "tools/reference/rotation.h"

namespace mha {
namespace {

Rope rope_of(const std::string& rope, int64_t d_head) {
  return *parsed("op: attention\nheads: 1\nd_head: " + std::to_string(d_head) +
                 "\nquery_length: 1\nrope: " + rope + "\n")
              .rope;
}

void expect_frequencies(const std::string& rope, int64_t d_head, const std::vector<double>& want,
                        double factor) {
  const Frequencies got = frequencies(rope_of(rope, d_head));
  ASSERT_EQ(got.inv_freq.size(), want.size()) << rope;
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got.inv_freq[i], want[i], 1e-14 * want[i]) << rope << " " << i;
  }
  EXPECT_NEAR(got.attention_factor, factor, 1e-14) << rope;
}

TEST(Rotation, Frequencies) {
  expect_frequencies("{style: half}", 8, {1, 0.1, 0.01, 0.001}, 1);
  expect_frequencies("{style: half, dims: 4, theta: 100}", 9, {1, 0.1}, 1);
  expect_frequencies("{style: half, scaling: {type: linear, factor: 4}}", 8,
                     {0.25, 0.025, 0.0025, 0.00025}, 1);
  expect_frequencies("{style: half, scaling: {inv_freq: [3, 0.5], attention_factor: 1.25}}", 4,
                     {3, 0.5}, 1.25);
  expect_frequencies(
      "{style: half, theta: 500000, scaling: {type: llama3, factor: 8, low_freq_factor: 1, "
      "high_freq_factor: 4, original_length: 8192}}",
      16,
      {1.0, 0.19392274474868576, 0.03760603093086393, 0.007292664737217109, 0.0005248461609929547,
       3.428102195952591e-05, 6.647869871181235e-06, 1.2891731721515574e-06},
      1);
  expect_frequencies("{style: half, scaling: {type: yarn, factor: 4, original_length: 2048}}", 16,
                     {1.0, 0.31622776601683794, 0.1, 0.02569350598886808, 0.00625,
                      0.001383496476323666, 0.00025, 7.905694150420948e-05},
                     1.138629436111989);
  expect_frequencies(
      "{style: half, theta: 150000, scaling: {type: yarn, factor: 32, original_length: 4096, "
      "truncate: false}}",
      16,
      {1.0, 0.22541800020287084, 0.050813274815461475, 0.006794959489732219, 0.00045648391922324086,
       1.818833668168956e-05, 4.09997848180298e-06, 9.242089502428302e-07},
      1.3465735902799727);
  const std::string deepseek =
      "{style: half, scaling: {type: yarn, factor: 40, original_length: 4096, mscale: 1, "
      "mscale_all_dim: 0.707";
  EXPECT_NEAR(frequencies(rope_of(deepseek + "}}", 16)).attention_factor, 1.0857263992561355,
              1e-14);
  EXPECT_EQ(frequencies(rope_of(deepseek + ", attention_factor: 0.5}}", 16)).attention_factor, 0.5);
}

// One row at position 7, four of its five dims turned.
std::vector<double> turned(const std::string& style) {
  Spec spec;
  spec.rope = rope_of("{style: " + style + ", dims: 4, theta: 100}", 5);
  Heads<double> rows(1, 1, 1, 5, true);
  rows.values = {1, -2, 0.5, 3, 9};
  transform_rows(spec, nullptr, [](int64_t, int64_t) { return 7; }, &rows);
  EXPECT_EQ(rows.errors[4], 0);
  EXPECT_GT(rows.errors[0], 0);
  return rows.values;
}

TEST(Rotation, ARowByHand) {
  const std::vector<double> half = {0.42540895498391007, -3.4623374362820503, 1.0339377258904414,
                                    1.0060911873780831, 9};
  const std::vector<double> interleaved = {2.067875451780883, -0.8508179099678201,
                                           -1.5502319680708294, 2.616635405472311, 9};
  for (size_t d = 0; d < 5; ++d) {
    EXPECT_NEAR(turned("half")[d], half[d], 1e-15);
    EXPECT_NEAR(turned("interleaved")[d], interleaved[d], 1e-15);
  }
}

TEST(Norm, RowsByHand) {
  Spec spec;
  spec.qk_norm = QkNorm{.eps = 0.5, .weight_offset = 0, .all_width = false, .before_rope = true};
  Heads<double> rows(1, 2, 1, 2, true);
  rows.values = {1, 2, 3, 4};
  const Array weight{{2}, {2, -1}};
  const PositionOf anywhere = [](int64_t, int64_t) { return 0; };
  Heads<double> each = rows;
  transform_rows(spec, &weight, anywhere, &each);
  // mean squares 2.5 and 12.5
  const double first = 1 / std::sqrt(3.0), second = 1 / std::sqrt(13.0);
  const double of_each[] = {2 * first, -2 * first, 6 * second, -4 * second};
  for (size_t n = 0; n < 4; ++n) EXPECT_NEAR(each.values[n], of_each[n], 1e-15);

  spec.qk_norm->all_width = true;
  spec.qk_norm->weight_offset = 1;
  const Array wide{{4}, {0, 1, 2, 3}};
  transform_rows(spec, &wide, anywhere, &rows);
  for (size_t n = 0; n < 4; ++n) {
    const double x = static_cast<double>(n + 1);
    EXPECT_NEAR(rows.values[n], x * x / std::sqrt(7.5 + 0.5), 1e-15);
  }
}

const CallLengths kLengths{2, 9, 13};
std::string shape_with(const std::string& keys) {
  return "op: attention\nheads: 4\nkv_heads: 2\nd_head: 8\nbatch: 2\nquery_length: 9\n"
         "key_length: 13\nquery_offset: input\noutputs: [output, weights, lse, scores]\n" +
         keys;
}

TEST(Rotation, ScoresDependOnDistanceAlone) {
  for (const char* style : {"half", "interleaved"}) {
    const Spec spec = parsed(shape_with(std::string("rope: {style: ") + style + ", dims: 6}\n"));
    Arrays inputs = random_arrays(spec, kLengths, 2);
    // All keys alike, so that key j + 2 is to query i + 2 what j is to i.
    for (size_t n = 0; n < inputs["key"].values.size(); ++n) {
      inputs["key"].values[n] = inputs["key"].values[n % 8];
    }
    for (size_t n = 0; n < inputs["query"].values.size(); ++n) {
      inputs["query"].values[n] = inputs["query"].values[n % 8];
    }
    inputs["query_offset"].values = {3, -2};
    const Array scores = reference(spec, kLengths, inputs).outputs.at("scores");
    const auto at = [&](size_t b, size_t i, size_t j) {
      return scores.values[(b * 36 + i) * 13 + j];
    };
    EXPECT_NEAR(at(0, 1, 4), at(0, 6, 9), 1e-13);
    EXPECT_NEAR(at(0, 0, 1), at(1, 5, 1), 1e-13);  // both stand at position 3
    EXPECT_GT(std::abs(at(0, 1, 4) - at(0, 1, 5)), 1e-3);
  }
}

TEST(Rotation, BoundsHoldForPlainF32) {
  for (const char* keys :
       {"rope: {style: half}\n", "rope: {style: interleaved, dims: 4, theta: 50}\n",
        "qk_norm: {}\n", "qk_norm: {width: all, weight_offset: 1}\nrope: {style: half}\n",
        "qk_norm: {order: after_rope, eps: 0.01}\nrope: {style: half, scaling: {type: yarn, "
        "factor: 4, original_length: 64}}\n"}) {
    const Spec spec = parsed(shape_with(keys));
    Arrays inputs = random_arrays(spec, kLengths, 6);
    inputs["query_offset"].values = {100000, -30};
    expect_bounds_hold(spec, kLengths, inputs);
    Spec wrong = spec;
    if (spec.rope) wrong.rope->theta *= 1.0001;
    if (!spec.rope) wrong.qk_norm->eps = 0.001;
    expect_bounds_fail(spec, kLengths, inputs, wrong, inputs);
  }
}

TEST(Norm, TakesTheSizeOutOfARow) {
  for (const char* keys : {"qk_norm: {eps: 1e-20}\n", "qk_norm: {eps: 1e-20, width: all}\n",
                           "qk_norm: {eps: 1e-20, order: after_rope}\nrope: {style: half}\n"}) {
    const Spec spec = parsed(shape_with(keys));
    Arrays inputs = random_arrays(spec, kLengths, 6);
    const Array want = reference(spec, kLengths, inputs).outputs.at("output");
    for (double& q : inputs["query"].values) q *= 16;
    const Array got = reference(spec, kLengths, inputs).outputs.at("output");
    for (size_t n = 0; n < got.values.size(); ++n) {
      EXPECT_NEAR(got.values[n], want.values[n], 1e-12);
    }
  }
}

}  // namespace
}  // namespace mha
