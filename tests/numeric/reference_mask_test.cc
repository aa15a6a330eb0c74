// Masks, packed batches and every output of the oracle, held against a second formulation that
// shares no code with it: a full matrix of scores in long double, -infinity where a mask hides.
#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

#include "tools/mha-run/random.h"
#include "tools/reference/reference.h"

namespace mha {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Array random_array(const std::vector<int64_t>& shape, Random& random) {
  Array array{shape, {}};
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  for (int64_t i = 0; i < count; ++i) {
    array.values.push_back(static_cast<float>(random.normal()));
  }
  return array;
}

Spec small_spec() {
  Spec spec;
  spec.name = "masks";
  spec.op = Op::kAttention;
  spec.heads = 4;
  spec.kv_heads = 2;
  spec.d_head = 3;
  spec.d_value = 2;
  spec.key_length_given = true;
  spec.scale = 0.75;
  spec.outputs = {"output", "weights",       "mean_weights", "lse",
                  "scores", "scores_capped", "scores_masked"};
  spec.top_k = 3;
  return spec;
}

// Whether query i sees key j, from the sentences of docs/spec.md one by one.
bool sees(const Spec& spec, const CallLengths& l, const Arrays& in, int64_t b, int64_t h, int64_t i,
          int64_t j) {
  auto number = [&](const char* name) {
    return static_cast<int64_t>(in.at(name).values.at(static_cast<size_t>(b)));
  };
  const int64_t limit = spec.mask.key_lengths ? number("key_lengths") : l.key;
  int64_t offset = 0;
  if (spec.query_offset == QueryOffset::kEnd) offset = limit - l.query;
  if (spec.query_offset == QueryOffset::kInput) offset = number("query_offset");
  if (spec.mask.causal && !(j <= i + offset)) return false;
  if (spec.mask.window) {
    const Window& w = *spec.mask.window;
    if (w.left != -1 && !(i + offset - w.left <= j)) return false;
    if (w.right != -1 && !(j <= i + offset + w.right)) return false;
  }
  if (spec.mask.key_lengths && !(j < limit)) return false;
  if (spec.mask.key_starts && !(j >= number("key_starts"))) return false;
  if (spec.mask.tensor == MaskTensor::kNone) return true;
  const std::vector<int64_t>& s = in.at("mask").shape;
  const int64_t at = (((b % s[0]) * s[1] + h % s[1]) * s[2] + i % s[2]) * s[3] + j % s[3];
  const double value = in.at("mask").values.at(static_cast<size_t>(at));
  return spec.mask.tensor == MaskTensor::kBool ? value != 0 : value != -kInf;
}

double mask_value(const Spec& spec, const Arrays& in, int64_t b, int64_t h, int64_t i, int64_t j) {
  if (spec.mask.tensor != MaskTensor::kAdditive) return 0;
  const std::vector<int64_t>& s = in.at("mask").shape;
  const int64_t at = (((b % s[0]) * s[1] + h % s[1]) * s[2] + i % s[2]) * s[3] + j % s[3];
  return in.at("mask").values.at(static_cast<size_t>(at));
}

// All outputs of op attention in layout bshd.
Arrays by_matrix(const Spec& spec, const CallLengths& l, const Arrays& in) {
  const int64_t rows = l.batch * spec.heads * l.query, k = spec.top_k;
  auto zeros = [](int64_t count) {
    return Array{{count}, std::vector<double>(static_cast<size_t>(count))};
  };
  Arrays out = {{"output", zeros(rows * spec.d_value)},
                {"weights", zeros(rows * l.key)},
                {"mean_weights", zeros(l.batch * l.query * l.key)},
                {"lse", zeros(rows)},
                {"scores", zeros(rows * l.key)},
                {"scores_masked", zeros(rows * l.key)},
                {"top_weights", zeros(rows * k)},
                {"top_indices", zeros(rows * k)}};
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t b = row / (spec.heads * l.query), h = row / l.query % spec.heads,
                  i = row % l.query;
    const int64_t g = h * spec.kv_heads / spec.heads;
    long double total = 0;
    for (int64_t j = 0; j < l.key; ++j) {
      long double s = 0;
      for (int64_t d = 0; d < spec.d_head; ++d) {
        const size_t q_at =
            static_cast<size_t>(((b * l.query + i) * spec.heads + h) * spec.d_head + d);
        const size_t k_at =
            static_cast<size_t>(((b * l.key + j) * spec.kv_heads + g) * spec.d_head + d);
        s += static_cast<long double>(in.at("query").values[q_at]) * in.at("key").values[k_at];
      }
      s *= spec.scale;
      const size_t pair = static_cast<size_t>(row * l.key + j);
      out["scores"].values[pair] = static_cast<double>(s);
      s = sees(spec, l, in, b, h, i, j) ? s + mask_value(spec, in, b, h, i, j)
                                        : -std::numeric_limits<long double>::infinity();
      out["scores_masked"].values[pair] = static_cast<double>(s);
      total += std::exp(s);
    }
    out["lse"].values[static_cast<size_t>(row)] = static_cast<double>(std::log(total));
    std::vector<bool> taken(static_cast<size_t>(l.key));
    for (int64_t j = 0; total > 0 && j < l.key; ++j) {
      const size_t pair = static_cast<size_t>(row * l.key + j);
      const double p = static_cast<double>(
          std::exp(static_cast<long double>(out["scores_masked"].values[pair])) / total);
      out["weights"].values[pair] = p;
      out["mean_weights"].values[static_cast<size_t>((b * l.query + i) * l.key + j)] +=
          p / static_cast<double>(spec.heads);
      for (int64_t d = 0; d < spec.d_value; ++d) {
        const size_t v_at =
            static_cast<size_t>(((b * l.key + j) * spec.kv_heads + g) * spec.d_value + d);
        const size_t o_at =
            static_cast<size_t>(((b * l.query + i) * spec.heads + h) * spec.d_value + d);
        if (p > 0) out["output"].values[o_at] += p * in.at("value").values[v_at];
      }
    }
    for (int64_t rank = 0; rank < k; ++rank) {
      int64_t best = -1;
      for (int64_t j = 0; j < l.key; ++j) {
        const double s = out["scores_masked"].values[static_cast<size_t>(row * l.key + j)];
        if (taken[static_cast<size_t>(j)] || s == -kInf) continue;
        if (best >= 0 && s <= out["scores_masked"].values[static_cast<size_t>(row * l.key + best)])
          continue;
        best = j;
      }
      const size_t at = static_cast<size_t>(row * k + rank);
      out["top_indices"].values[at] = static_cast<double>(best);
      if (best < 0) continue;
      taken[static_cast<size_t>(best)] = true;
      out["top_weights"].values[at] =
          out["weights"].values[static_cast<size_t>(row * l.key + best)];
    }
  }
  return out;
}

void expect_near(const Arrays& want, const Arrays& got, double allowed) {
  for (const auto& [name, array] : want) {
    const std::vector<double>& values = got.at(name).values;
    ASSERT_EQ(values.size(), array.values.size()) << name;
    for (size_t i = 0; i < values.size(); ++i) {
      if (array.values[i] == values[i]) continue;
      ASSERT_NEAR(values[i], array.values[i], allowed) << name << " " << i;
    }
  }
}

// Masks of every kind and broadcast, drawn at random.
TEST(ReferenceMasks, AgreeWithAFullMatrix) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed, "masks");
    Spec spec = small_spec();
    const CallLengths l{random.integer(1, 3), random.integer(1, 7), random.integer(3, 9)};
    spec.mask.causal = random.uniform() < 0.3;
    if (random.uniform() < 0.5) spec.mask.window = {random.integer(-1, 4), random.integer(-1, 3)};
    spec.mask.tensor = static_cast<MaskTensor>(random.integer(0, 2));
    spec.mask.key_lengths = random.uniform() < 0.4;
    spec.mask.key_starts = random.uniform() < 0.4;
    spec.query_offset = static_cast<QueryOffset>(random.integer(0, 2));
    Arrays in = {
        {"query", random_array({l.batch, l.query, spec.heads, spec.d_head}, random)},
        {"key", random_array({l.batch, l.key, spec.kv_heads, spec.d_head}, random)},
        {"value", random_array({l.batch, l.key, spec.kv_heads, spec.d_value}, random)},
    };
    auto indices = [&](const char* name, int64_t low, int64_t high) {
      Array& array = in[name] = {{l.batch}, {}};
      for (int64_t b = 0; b < l.batch; ++b) {
        array.values.push_back(static_cast<double>(random.integer(low, high)));
      }
    };
    indices("key_lengths", 0, l.key);
    indices("key_starts", 0, l.key);
    indices("query_offset", -3, 5);
    auto axis = [&](int64_t full) { return random.uniform() < 0.5 ? full : 1; };
    Array& mask = in["mask"] =
        random_array({axis(l.batch), axis(spec.heads), axis(l.query), axis(l.key)}, random);
    for (double& value : mask.values) {
      if (spec.mask.tensor == MaskTensor::kBool) value = value > -0.5 ? 1 : 0;
      if (spec.mask.tensor == MaskTensor::kAdditive && value < -0.5) value = -kInf;
    }
    SCOPED_TRACE("seed " + std::to_string(seed));
    // s + m is rounded to float32 where a mask adds.
    const double allowed = spec.mask.tensor == MaskTensor::kAdditive ? 2e-6 : 1e-13;
    Arrays want = by_matrix(spec, l, in);
    const Reference got = reference(spec, l, in);
    EXPECT_EQ(got.outputs.at("scores").values, got.outputs.at("scores_capped").values);
    for (const char* name : {"output", "weights", "scores_masked"}) {
      // A kernel may not be off where a key is hidden.
      for (size_t i = 0; i < want[name].values.size(); ++i) {
        const double value = want[name].values[i];
        if (value == 0 || value == -kInf) {
          EXPECT_EQ(got.bounds.at(name).values[i], 0) << name;
        }
      }
    }
    expect_near(want, got.outputs, allowed);
    for (const auto& [name, array] : want) {
      EXPECT_TRUE(compare_output(name, got.outputs, got).passed()) << name;
    }
    // The plain float32 computation stands within the bounds too.
    const Arrays plain = plain_f32(spec, l, in);
    for (const auto& [name, array] : plain) {
      EXPECT_TRUE(compare_output(name, plain, got).passed()) << name;
    }
  }
}

// Two sequences, and one without rows between them, as rows of a padded batch.
TEST(ReferencePacked, IsTheSequencesOfAPaddedBatch) {
  Random random(5, "packed");
  Spec padded = small_spec();
  padded.mask.window = {2, 1};
  padded.mask.tensor = MaskTensor::kBool;
  padded.mask.key_lengths = padded.mask.key_starts = true;
  padded.query_offset = QueryOffset::kInput;
  const CallLengths l{3, 6, 6};
  const int64_t counts[] = {6, 0, 4};
  Arrays in = {
      {"query", random_array({3, 6, 4, 3}, random)},
      {"key", random_array({3, 6, 2, 3}, random)},
      {"value", random_array({3, 6, 2, 2}, random)},
      {"mask", random_array({3, 1, 6, 6}, random)},
      {"key_lengths", {{3}, {5, 0, 4}}},
      {"key_starts", {{3}, {1, 0, 0}}},
      {"query_offset", {{3}, {0, 0, 1}}},
  };
  for (double& value : in["mask"].values) value = value > -1 ? 1 : 0;
  const Arrays want = reference(padded, l, in).outputs;

  Spec packed = padded;
  packed.packed = true;
  packed.key_length_given = false;
  // Rows of sequences 0 and 2, without what pads them.
  auto pack = [&](const Array& array, int64_t heads) {
    const int64_t width = static_cast<int64_t>(array.values.size()) / (3 * heads * 6);
    Array result{{10 * heads * width}, {}};
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t b = 0; b < 3; ++b) {
        const auto begin = array.values.begin() + (b * heads + h) * 6 * width;
        result.values.insert(result.values.end(), begin, begin + counts[b] * width);
      }
    }
    return result;
  };
  Arrays flat = in;
  flat["query"] = {{10, 4, 3}, pack(in["query"], 1).values};
  flat["key"] = {{10, 2, 3}, pack(in["key"], 1).values};
  flat["value"] = {{10, 2, 2}, pack(in["value"], 1).values};
  flat["sequence_starts"] = {{4}, {0, 6, 6, 10}};
  const Reference got = reference(packed, {3, 6, 6, 10}, flat);
  for (const auto& [name, array] : want) {
    const bool head_first = name != "output" && name != "mean_weights";
    std::vector<double> expected = pack(array, head_first ? 4 : 1).values;
    if (name == "scores" || name == "scores_capped") {
      // Keys behind the end of a sequence do not exist.
      for (size_t row = 0; row < 40; ++row) {
        if (row % 10 >= 6) expected[row * 6 + 4] = expected[row * 6 + 5] = 0;
      }
    }
    EXPECT_EQ(got.outputs.at(name).values, expected) << name;
    EXPECT_TRUE(compare_output(name, got.outputs, got).passed()) << name;
  }
}

// query_offset: end of a packed batch stands at the end of each sequence's own keys.
TEST(ReferencePacked, OffsetsCountWithinTheSequence) {
  Spec spec = small_spec();
  spec.heads = spec.kv_heads = spec.d_head = spec.d_value = 1;
  spec.outputs = {"output"};
  spec.top_k = 0;
  spec.packed = true;
  spec.key_length_given = false;
  spec.mask.causal = true;
  spec.mask.key_lengths = true;
  spec.query_offset = QueryOffset::kEnd;
  const Arrays in = {{"query", {{5, 1, 1}, {0, 0, 0, 0, 0}}},
                     {"key", {{5, 1, 1}, {1, 1, 1, 1, 1}}},
                     {"value", {{5, 1, 1}, {1, 3, 5, 7, 9}}},
                     {"key_lengths", {{2}, {2, 1}}},
                     {"sequence_starts", {{3}, {0, 2, 5}}}};
  // Sequence 1: three queries, one key, so that query 0 stands at -2.
  EXPECT_EQ(reference(spec, {2, 3, 3, 5}, in).outputs.at("output").values,
            (std::vector<double>{1, 2, 0, 0, 5}));
}

struct OneRow {
  Spec spec = small_spec();
  Arrays in = {{"query", {{1, 1, 1, 1}, {1}}}, {"mask", {{1, 1, 1, 4}, {0, 0, 0, 0}}}};
  OneRow(std::vector<double> scores, std::vector<double> mask) {
    spec.heads = spec.kv_heads = spec.d_head = spec.d_value = 1;
    spec.scale = 1;
    spec.mask.tensor = MaskTensor::kAdditive;
    in["value"] = {{1, 4, 1, 1}, {1, 10, 100, 1000}};
    in["key"] = {{1, 4, 1, 1}, std::move(scores)};
    in["mask"].values = std::move(mask);
  }
  Reference run() const { return reference(spec, {1, 1, 4}, in); }
};

TEST(ReferenceAdditive, LowestFloatHidesNothing) {
  // A whole row of it: whatever the scores are, they vanish in the sum, and the row is uniform.
  const Reference whole = OneRow({3, -2, 0.5, 1}, {-FLT_MAX, -FLT_MAX, -FLT_MAX, -FLT_MAX}).run();
  EXPECT_EQ(whole.outputs.at("output").values[0], 277.75);
  EXPECT_LT(whole.bounds.at("output").values[0], 0.01) << "equal scores have no error";
  EXPECT_EQ(whole.outputs.at("scores_masked").values, std::vector<double>(4, -FLT_MAX));
  EXPECT_EQ(whole.outputs.at("top_indices").values, (std::vector<double>{0, 1, 2}));
  // Part of a row of it: no weight, but visible; the bound is that of the other keys.
  const Reference part = OneRow({0, 0, 5, 5}, {0, 0, -FLT_MAX, -kInf}).run();
  EXPECT_EQ(part.outputs.at("output").values[0], 5.5);
  EXPECT_LT(part.bounds.at("output").values[0], 1e-4);
  EXPECT_EQ(part.outputs.at("weights").values, (std::vector<double>{0.5, 0.5, 0, 0}));
  EXPECT_EQ(part.outputs.at("scores_masked").values, (std::vector<double>{0, 0, -FLT_MAX, -kInf}));
  EXPECT_EQ(part.outputs.at("top_indices").values, (std::vector<double>{0, 1, 2}));
  // The lowest number twice is no -infinity.
  const Reference twice = OneRow({-FLT_MAX, -FLT_MAX, 0, 0}, {-FLT_MAX, -1, -kInf, -kInf}).run();
  EXPECT_EQ(twice.outputs.at("output").values[0], 5.5);
}

TEST(ReferenceAdditive, NanPoisonsItsRowAndOnlyWhereItIsVisible) {
  OneRow row({0, 0, 0, 0}, {0, kNan, 0, 0});
  row.spec.mask.key_lengths = true;
  row.in["key_lengths"] = {{1}, {3}};
  Reference got = row.run();
  EXPECT_TRUE(std::isnan(got.outputs.at("output").values[0]));
  EXPECT_TRUE(std::isnan(got.outputs.at("mean_weights").values[0]));
  EXPECT_EQ(got.outputs.at("weights").values[3], 0) << "a hidden key has no weight in any row";
  EXPECT_EQ(got.outputs.at("scores_masked").values[0], 0);
  row.in["key_lengths"] = {{1}, {1}};
  got = row.run();
  EXPECT_EQ(got.outputs.at("output").values[0], 1);
}

TEST(Top, AKeyMayStandWhereItsScoreAllows) {
  // Keys 1 and 2 are closer to each other than a kernel can tell.
  const double near = 1 + 1e-9;
  OneRow row({3, 1, near, -2}, {0, 0, 0, 0});
  const Reference want = row.run();
  EXPECT_EQ(want.outputs.at("top_indices").values, (std::vector<double>{0, 1, 2}))
      << "1 + 1e-9 rounds to 1, and equal scores go by key";
  auto wrong = [&](const std::vector<double>& indices) {
    Arrays got = want.outputs;
    got["top_indices"].values = indices;
    return compare_output("top_indices", got, want).failures;
  };
  EXPECT_EQ(wrong({0, 1, 2}), 0);
  EXPECT_EQ(wrong({0, 2, 1}), 0);
  EXPECT_EQ(wrong({1, 0, 2}), 2) << "descending";
  EXPECT_EQ(wrong({0, 1, 1}), 1) << "distinct";
  EXPECT_EQ(wrong({0, 1, 3}), 1) << "strongest";
  EXPECT_EQ(wrong({0, 1, -1}), 1) << "as many as there are";
  EXPECT_EQ(wrong({0, 1, 4}), 1) << "in range";
}

TEST(Top, EqualScoresWithoutErrorGoByKey) {
  OneRow row({5, 7, 9, 1}, {0, 0, 0, 0});
  row.in["query"].values = {0};
  const Reference want = row.run();
  Arrays got = want.outputs;
  EXPECT_EQ(got["top_indices"].values, (std::vector<double>{0, 1, 2}));
  got["top_indices"].values = {0, 2, 1};
  EXPECT_EQ(compare_output("top_indices", got, want).failures, 2);
}

TEST(Top, WeightsBelongToTheIndicesBesideThem) {
  OneRow row({3, 1, 1, -2}, {0, 0, -kInf, -kInf});
  const Reference want = row.run();
  Arrays got = want.outputs;
  EXPECT_EQ(got["top_indices"].values, (std::vector<double>{0, 1, -1}));
  EXPECT_EQ(got["top_weights"].values[2], 0);
  std::swap(got["top_weights"].values[0], got["top_weights"].values[1]);
  EXPECT_EQ(compare_output("top_weights", got, want).failures, 2);
  got = want.outputs;
  got["top_indices"].values = {0, 1, 2};
  EXPECT_EQ(compare_output("top_indices", got, want).failures, 1) << "a hidden key";
  got = want.outputs;
  got["top_weights"].values[2] = 1e-30;
  EXPECT_EQ(compare_output("top_weights", got, want).failures, 1) << "no key, no weight";
}

TEST(Top, ARowOfNanPromisesNoKeys) {
  const Reference want = OneRow({3, kNan, 1, -2}, {0, 0, 0, 0}).run();
  Arrays got = want.outputs;
  got["top_indices"].values = {2, 2, -1};
  got["top_weights"].values = {kNan, 0, kNan};
  EXPECT_TRUE(compare_output("top_weights", got, want).passed());
  EXPECT_TRUE(compare_output("top_indices", got, want).passed());
  got["top_indices"].values = {4, 0, 0};
  got["top_weights"].values[0] = 0.5;
  EXPECT_EQ(compare_output("top_weights", got, want).failures, 1);
  EXPECT_EQ(compare_output("top_indices", got, want).failures, 1);
}

}  // namespace
}  // namespace mha
