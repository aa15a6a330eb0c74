// The oracle itself, held against cases done by hand and against a second formulation that shares
// no code with it.
#include "tools/reference/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tools/mha-run/random.h"

namespace mha {
namespace {

Spec attention_spec(int64_t heads, int64_t kv_heads, int64_t d_head, int64_t d_value) {
  Spec spec;
  spec.name = "hand";
  spec.op = Op::kAttention;
  spec.heads = heads;
  spec.kv_heads = kv_heads;
  spec.d_head = d_head;
  spec.d_value = d_value;
  spec.key_length_given = true;
  spec.scale = 1;
  spec.outputs = {"output", "weights", "lse"};
  return spec;
}

Arrays arrays_of(const HostTensors& tensors) {
  Arrays arrays;
  for (const auto& [name, tensor] : tensors) arrays[name] = tensor.array();
  return arrays;
}

Arrays random_arrays(const Spec& spec, const CallLengths& lengths, uint64_t seed) {
  HostTensors tensors;
  for (const auto& list : {input_tensors(spec, lengths), weight_tensors(spec)}) {
    for (const TensorDecl& decl : list) {
      tensors.emplace(decl.name, random_tensor(spec, lengths, decl, seed));
    }
  }
  return arrays_of(tensors);
}

TEST(Reference, OneQueryTwoKeysByHand) {
  const Spec spec = attention_spec(1, 1, 1, 1);
  // Scores 0 and ln 3: weights 1/4 and 3/4.
  const Arrays inputs = {{"query", {{1, 1, 1, 1}, {1}}},
                         {"key", {{1, 2, 1, 1}, {0, std::log(3.0)}}},
                         {"value", {{1, 2, 1, 1}, {4, 8}}}};
  const Reference got = reference(spec, {1, 1, 2}, inputs);
  EXPECT_NEAR(got.outputs.at("weights").values[0], 0.25, 1e-15);
  EXPECT_NEAR(got.outputs.at("weights").values[1], 0.75, 1e-15);
  EXPECT_NEAR(got.outputs.at("output").values[0], 7, 1e-14);
  EXPECT_NEAR(got.outputs.at("lse").values[0], std::log(4.0), 1e-15);
}

TEST(Reference, ScaleMultipliesTheScores) {
  Spec spec = attention_spec(1, 1, 1, 1);
  spec.scale = 0.5;
  const Arrays inputs = {{"query", {{1, 1, 1, 1}, {2}}},
                         {"key", {{1, 2, 1, 1}, {0, std::log(3.0)}}},
                         {"value", {{1, 2, 1, 1}, {4, 8}}}};
  EXPECT_NEAR(reference(spec, {1, 1, 2}, inputs).outputs.at("output").values[0], 7, 1e-14);
}

// With q = 0 every visible key weighs the same, so that outputs are means of visible values.
TEST(Reference, CausalOffsetsAndKeyLengths) {
  Spec spec = attention_spec(1, 1, 1, 1);
  spec.mask.causal = true;
  Arrays inputs = {{"query", {{1, 3, 1, 1}, {0, 0, 0}}},
                   {"key", {{1, 4, 1, 1}, {1, 2, 3, 4}}},
                   {"value", {{1, 4, 1, 1}, {1, 10, 100, 1000}}}};
  const CallLengths lengths{1, 3, 4};
  auto output = [&] { return reference(spec, lengths, inputs).outputs.at("output").values; };

  std::vector<double> got = output();
  EXPECT_DOUBLE_EQ(got[0], 1);
  EXPECT_DOUBLE_EQ(got[1], 5.5);
  EXPECT_DOUBLE_EQ(got[2], 37);

  spec.query_offset = QueryOffset::kEnd;  // query 0 stands at key 1
  got = output();
  EXPECT_DOUBLE_EQ(got[0], 5.5);
  EXPECT_DOUBLE_EQ(got[1], 37);
  EXPECT_DOUBLE_EQ(got[2], 277.75);

  spec.mask.key_lengths = true;  // two keys: query 0 stands at -1 and sees nothing
  inputs["key_lengths"] = {{1}, {2}};
  Reference all = reference(spec, lengths, inputs);
  got = all.outputs.at("output").values;
  EXPECT_EQ(got[0], 0);
  EXPECT_DOUBLE_EQ(got[1], 1);
  EXPECT_DOUBLE_EQ(got[2], 5.5);
  EXPECT_EQ(all.outputs.at("lse").values[0], -std::numeric_limits<double>::infinity());
  EXPECT_NEAR(all.outputs.at("lse").values[2], std::log(2.0), 1e-15);
  EXPECT_EQ(all.outputs.at("weights").values[0], 0);
  EXPECT_EQ(all.bounds.at("output").values[0], 0) << "a row that sees no key is exactly 0";

  spec.query_offset = QueryOffset::kInput;
  inputs["query_offset"] = {{1}, {-2}};
  got = output();
  EXPECT_EQ(got[0], 0);
  EXPECT_EQ(got[1], 0);
  EXPECT_DOUBLE_EQ(got[2], 1);
}

TEST(Reference, QueryHeadsShareKeyHeadsInOrder) {
  const Spec spec = attention_spec(4, 2, 1, 1);
  // One key, so every output is its value: heads 0 and 1 use key head 0, heads 2 and 3 key head 1.
  const Arrays inputs = {{"query", {{1, 1, 4, 1}, {1, 2, 3, 4}}},
                         {"key", {{1, 1, 2, 1}, {1, 1}}},
                         {"value", {{1, 1, 2, 1}, {5, 6}}}};
  EXPECT_EQ(reference(spec, {1, 1, 1}, inputs).outputs.at("output").values,
            (std::vector<double>{5, 5, 6, 6}));
}

TEST(Reference, LayoutsHoldTheSameNumbers) {
  Spec spec = attention_spec(3, 1, 5, 4);
  const CallLengths lengths{2, 7, 9};
  const Arrays bshd = random_arrays(spec, lengths, 3);
  auto swap_axes = [](const Array& a) {
    Array swapped{{a.shape[0], a.shape[2], a.shape[1], a.shape[3]}, a.values};
    size_t from = 0;
    for (int64_t b = 0; b < a.shape[0]; ++b) {
      for (int64_t i = 0; i < a.shape[1]; ++i) {
        for (int64_t h = 0; h < a.shape[2]; ++h) {
          for (int64_t d = 0; d < a.shape[3]; ++d) {
            swapped.values[static_cast<size_t>(
                ((b * a.shape[2] + h) * a.shape[1] + i) * a.shape[3] + d)] = a.values[from++];
          }
        }
      }
    }
    return swapped;
  };
  Arrays bhsd;
  for (const auto& [name, array] : bshd) bhsd[name] = swap_axes(array);
  const Array want = reference(spec, lengths, bshd).outputs.at("output");
  spec.layout = Layout::kBhsd;
  const Array got = reference(spec, lengths, bhsd).outputs.at("output");
  EXPECT_EQ(got.values, swap_axes(want).values);
}

TEST(Reference, HiddenKeysMayHoldAnything) {
  Spec spec = attention_spec(1, 1, 2, 2);
  spec.mask.key_lengths = true;
  Arrays inputs = random_arrays(spec, {1, 3, 4}, 5);
  inputs["key_lengths"].values = {2};
  const Array clean = reference(spec, {1, 3, 4}, inputs).outputs.at("output");
  for (size_t i = 4; i < 8; ++i) {
    inputs["key"].values[i] = std::numeric_limits<double>::quiet_NaN();
    inputs["value"].values[i] = std::numeric_limits<double>::infinity();
  }
  EXPECT_EQ(reference(spec, {1, 3, 4}, inputs).outputs.at("output").values, clean.values);
  // A visible NaN reaches every row that sees it.
  inputs["key"].values[0] = std::numeric_limits<double>::quiet_NaN();
  const Array poisoned = reference(spec, {1, 3, 4}, inputs).outputs.at("output");
  for (double value : poisoned.values) EXPECT_TRUE(std::isnan(value));
}

// The block once more, all different: every head's product with its slice of W_O summed up, masks
// as -infinity added to a full matrix of scores, the softmax by logarithms, in long double.
std::vector<double> block_by_sums(const Spec& spec, const CallLengths& lengths, const Arrays& in) {
  const int64_t m = spec.d_model, l = lengths.query, keys = lengths.key;
  const char* memory = spec.cross ? "memory" : "x";
  auto value = [&](const char* name, int64_t at) -> long double {
    auto found = in.find(name);
    return found == in.end() ? 0 : found->second.values[static_cast<size_t>(at)];
  };
  std::vector<double> y(static_cast<size_t>(lengths.batch * l * m));
  for (int64_t b = 0; b < lengths.batch; ++b) {
    for (int64_t h = 0; h < spec.heads; ++h) {
      const int64_t g = h * spec.kv_heads / spec.heads;
      auto project = [&](const char* x, const char* w, const char* bias, int64_t x_row,
                         int64_t row) {
        long double sum = value(bias, row);
        for (int64_t c = 0; c < m; ++c) sum += value(x, x_row * m + c) * value(w, row * m + c);
        return sum;
      };
      for (int64_t i = 0; i < l; ++i) {
        std::vector<long double> scores(static_cast<size_t>(keys));
        long double total = 0;
        for (int64_t j = 0; j < keys; ++j) {
          long double s = 0;
          for (int64_t d = 0; d < spec.d_head; ++d) {
            s += project("x", "w_q", "b_q", b * l + i, h * spec.d_head + d) *
                 project(memory, "w_k", "b_k", b * keys + j, g * spec.d_head + d);
          }
          s *= static_cast<long double>(spec.scale);
          if (spec.mask.causal && j > i) s = -std::numeric_limits<long double>::infinity();
          scores[static_cast<size_t>(j)] = s;
          total += std::exp(s);
        }
        const long double log_total = std::log(total);
        for (int64_t d = 0; d < spec.d_value; ++d) {
          long double o = 0;
          for (int64_t j = 0; j < keys; ++j) {
            o += std::exp(scores[static_cast<size_t>(j)] - log_total) *
                 project(memory, "w_v", "b_v", b * keys + j, g * spec.d_value + d);
          }
          for (int64_t c = 0; c < m; ++c) {
            y[static_cast<size_t>((b * l + i) * m + c)] += static_cast<double>(
                o * value("w_o", c * spec.heads * spec.d_value + h * spec.d_value + d));
          }
        }
      }
    }
    for (int64_t at = b * l * m; at < (b + 1) * l * m; ++at) {
      y[static_cast<size_t>(at)] += static_cast<double>(value("b_o", at % m));
    }
  }
  return y;
}

Spec block_spec() {
  Spec spec;
  spec.name = "block";
  spec.op = Op::kBlock;
  spec.d_model = 10;
  spec.heads = 4;
  spec.kv_heads = 2;
  spec.d_head = 3;
  spec.d_value = 5;
  spec.scale = 0.7;
  spec.projection_bias = {true, true, true, true};
  spec.outputs = {"output"};
  return spec;
}

TEST(Reference, BlockAgreesWithSecondFormulation) {
  Spec spec = block_spec();
  for (int variant = 0; variant < 3; ++variant) {
    spec.mask.causal = variant == 1;
    spec.cross = variant == 2;
    spec.key_length_given = spec.cross;
    const CallLengths lengths{2, 6, spec.cross ? 9 : 6};
    const Arrays inputs = random_arrays(spec, lengths, 11);
    const std::vector<double> want = block_by_sums(spec, lengths, inputs);
    const Reference got = reference(spec, lengths, inputs);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_NEAR(got.outputs.at("output").values[i], want[i], 1e-13) << "element " << i;
    }
  }
}

std::vector<float> floats(const Array& array) {
  return std::vector<float>(array.values.begin(), array.values.end());
}

TEST(Bound, HoldsForPlainF32AndNotForABug) {
  struct Case {
    Spec spec;
    CallLengths lengths;
  };
  Spec block = block_spec();
  block.d_model = 200;
  Spec wide = attention_spec(2, 1, 111, 59);
  wide.scale = 1 / std::sqrt(111.0);
  Spec narrow = attention_spec(2, 2, 1, 1);
  for (const Case& c :
       {Case{block, {2, 37, 37}}, Case{wide, {2, 17, 577}}, Case{narrow, {1, 7, 203}}}) {
    Arrays inputs = random_arrays(c.spec, c.lengths, 7);
    const Reference want = reference(c.spec, c.lengths, inputs);
    const Arrays plain = plain_f32(c.spec, c.lengths, inputs);
    for (const auto& [name, values] : plain) {
      const Comparison good = compare(floats(values), want.outputs.at(name), want.bounds.at(name));
      EXPECT_TRUE(good.passed()) << name << ": " << good.failures << " of " << good.compared;
      EXPECT_GT(good.max_error, 0) << name << " in f32 cannot be exact";
    }
    // One part in two thousand off in the scale, or one key lost: beyond the bound somewhere.
    Spec off = c.spec;
    off.scale *= 1.0005;
    const Arrays wrong = plain_f32(off, c.lengths, inputs);
    EXPECT_FALSE(
        compare(floats(wrong.at("output")), want.outputs.at("output"), want.bounds.at("output"))
            .passed());
  }
}

TEST(Bound, HoldsForLogitsOf10000) {
  Spec spec = attention_spec(2, 2, 16, 16);
  const CallLengths lengths{1, 33, 65};
  Arrays inputs = random_arrays(spec, lengths, 9);
  for (double& q : inputs["query"].values) q = static_cast<float>(q * 1000);
  const Reference want = reference(spec, lengths, inputs);
  double largest = 0;
  for (double lse : want.outputs.at("lse").values) largest = std::max(largest, std::abs(lse));
  EXPECT_GT(largest, 8000);
  for (const auto& [name, values] : plain_f32(spec, lengths, inputs)) {
    EXPECT_TRUE(compare(floats(values), want.outputs.at(name), want.bounds.at(name)).passed())
        << name;
  }
}

TEST(Bound, HoldsWhereAllTermsHaveOneSign) {
  // Roundings of a growing sum, and scores far below zero.
  Spec spec = attention_spec(1, 1, 64, 8);
  spec.scale = 0.125;
  const CallLengths lengths{1, 65, 300};
  Arrays inputs = random_arrays(spec, lengths, 5);
  for (double& q : inputs["query"].values) q = 1000;
  for (double& k : inputs["key"].values) k = static_cast<float>(-1.25 + 1e-4 * k);
  const Reference want = reference(spec, lengths, inputs);
  for (const auto& [name, values] : plain_f32(spec, lengths, inputs)) {
    EXPECT_TRUE(compare(floats(values), want.outputs.at(name), want.bounds.at(name)).passed())
        << name;
  }
}

TEST(Compare, NothingSlipsThrough) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  const float f_nan = std::numeric_limits<float>::quiet_NaN();
  const float f_inf = std::numeric_limits<float>::infinity();
  auto failures = [](float got, double want, double bound) {
    return compare({got}, {{1}, {want}}, {{1}, {bound}}).failures;
  };
  EXPECT_EQ(failures(1, 1, 0), 0);
  EXPECT_EQ(failures(1, 1.5, 0.5), 0);
  EXPECT_EQ(failures(1, 1.5, 0.25), 1);
  EXPECT_EQ(failures(f_nan, 1, 100), 1);
  EXPECT_EQ(failures(1, nan, 100), 1);
  EXPECT_EQ(failures(f_nan, nan, 0), 0);
  EXPECT_EQ(failures(1, 1.5, nan), 1);
  EXPECT_EQ(failures(f_inf, 1, inf), 1);
  EXPECT_EQ(failures(-f_inf, -inf, 0), 0);
  EXPECT_EQ(failures(f_inf, -inf, inf), 1);
  EXPECT_EQ(compare({0, 1}, {{2}, {0, 1}}, {{2}, {0, 0}}).zeros, 1);
}

TEST(Reference, RowsAreThoseOfTheWhole) {
  for (const bool block : {false, true}) {
    Spec spec = attention_spec(4, 2, 8, 8);
    spec.outputs = {"output"};
    if (block) {
      spec.op = Op::kBlock;
      spec.d_model = 24;
      spec.key_length_given = false;
    } else {
      spec.outputs = {"output", "weights", "mean_weights"};
    }
    ASSERT_TRUE(can_sample_rows(spec));
    const CallLengths lengths{3, 20, 20, 0};
    const Arrays inputs = random_arrays(spec, lengths, 3);
    const auto wanted = [](int64_t b, int64_t i) { return b != 1 && i % 3 == 1; };
    const Reference whole = reference(spec, lengths, inputs);
    const Reference rows = reference_of_rows(spec, lengths, inputs, wanted);
    for (const TensorDecl& decl : output_tensors(spec, lengths)) {
      const bool heads_first = decl.axes.starts_with("B,H");
      const int64_t heads = heads_first ? 4 : 1;
      const int64_t width = decl.elements() / (3 * heads * 20);
      int64_t compared = 0;
      for (int64_t n = 0; n < decl.elements(); ++n) {
        const int64_t row = n / width;
        const auto at = static_cast<size_t>(n);
        const double bound = rows.bounds.at(decl.name).values[at];
        if (!wanted(row / (heads * 20), row % 20)) {
          ASSERT_TRUE(std::isinf(bound)) << decl.name << " " << n;
          ASSERT_EQ(rows.outputs.at(decl.name).values[at], 0);
          continue;
        }
        ++compared;
        ASSERT_EQ(rows.outputs.at(decl.name).values[at], whole.outputs.at(decl.name).values[at]);
        ASSERT_EQ(bound, whole.bounds.at(decl.name).values[at]);
      }
      EXPECT_EQ(compared, 2 * 7 * heads * width);
    }
  }
}

}  // namespace
}  // namespace mha
