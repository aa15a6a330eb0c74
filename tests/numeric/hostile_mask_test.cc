// Cruelty to masks: what stands where a mask hides it, rows that see nothing, numbers at the ends
// of float32.
#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <tuple>

#include "tests/numeric/hostile.h"
#include "tools/reference/visibility.h"

namespace mha {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// --- what hidden keys hold, for every kind of mask ---

struct MaskCase {
  const char* name;
  const char* mask;  // and query_offset
  std::function<void(const Spec&, HostTensors&)> fill;
};

const int64_t kBatch = 2, kQueries = 75, kKeys = 300;

const std::vector<MaskCase>& mask_cases() {
  static const auto kHide = [](int64_t i, int64_t j) {
    return (i * 7 + j * 3) % 5 == 0 || j / 40 == 3 || (i > 60 && i < 70);
  };
  static const std::vector<MaskCase> kCases = {
      {"Window", "mask: {window: {left: 30, right: 9}}, query_offset: input",
       [](const Spec&, HostTensors& in) { in.at("query_offset").ints = {-3, 170}; }},
      {"CausalWindow", "mask: {causal: true, window: {left: 130}}, query_offset: end",
       [](const Spec&, HostTensors&) {}},
      {"KeyStarts", "mask: {key_starts: true}",
       [](const Spec&, HostTensors& in) { in.at("key_starts").ints = {129, 7}; }},
      {"StartsAndLengths", "mask: {causal: true, key_starts: true, key_lengths: true}",
       [](const Spec&, HostTensors& in) {
         in.at("key_starts").ints = {20, 63};
         in.at("key_lengths").ints = {64, 64};
       }},
      {"BoolOfKeys", "mask: {tensor: bool}",
       [](const Spec& spec, HostTensors& in) {
         in.at("mask") = mask_by(spec, {kBatch, 1, 1, kKeys}, [](int64_t b, auto, auto, int64_t j) {
           return j % 3 == b || j > 280 ? 0 : 1;
         });
       }},
      {"BoolOfPairs", "mask: {tensor: bool, causal: true}, query_offset: end",
       [](const Spec& spec, HostTensors& in) {
         in.at("mask") =
             mask_by(spec, {1, 2, kQueries, kKeys},
                     [](auto, int64_t h, int64_t i, int64_t j) { return kHide(i + h, j) ? 0 : 1; });
       }},
      {"AdditiveOfPairs", "mask: {tensor: additive, key_lengths: true}",
       [](const Spec& spec, HostTensors& in) {
         in.at("key_lengths").ints = {300, 160};
         in.at("mask") = mask_by(spec, {kBatch, 2, kQueries, kKeys},
                                 [](int64_t b, int64_t h, int64_t i, int64_t j) -> double {
                                   return kHide(i + h, j + b) ? -kInf : 0.01 * (j % 17);
                                 });
       }},
      {"AdditiveOfKeys", "mask: {tensor: additive, window: {left: 200, right: 200}}",
       [](const Spec& spec, HostTensors& in) {
         in.at("mask") =
             mask_by(spec, {1, 2, 1, kKeys}, [](auto, int64_t h, auto, int64_t j) -> double {
               return (j + h) % 4 == 0 ? -kInf : -0.5;
             });
       }},
      {"BoolOfRows", "mask: {tensor: bool}",
       [](const Spec& spec, HostTensors& in) {
         in.at("mask") = mask_by(
             spec, {kBatch, 2, kQueries, 1},
             [](int64_t b, int64_t h, int64_t i, auto) { return (b + h + i) % 6 == 0 ? 0 : 1; });
       }},
  };
  return kCases;
}

// In f32, and in bf16, where keys come in pairs.
class HostileMask : public testing::TestWithParam<std::tuple<size_t, const char*>> {
 protected:
  HostileMask()
      : case_(mask_cases()[std::get<0>(GetParam())]),
        kernel_(std::string("{version: 1, name: masks, op: attention, heads: 2, kv_heads: 1,"
                            " d_head: 19, batch: 2, query_length: 75, key_length: 300, dtype: ") +
                std::get<1>(GetParam()) + ", " + case_.mask +
                ", outputs: [output, weights, lse, scores_masked], top_k: 5}"),
        inputs_(random_inputs(kernel_.spec(), lengths_, 1)) {
    case_.fill(kernel_.spec(), inputs_);
  }
  Outputs run(const HostTensors& inputs) {
    return run_kernel(kernel_, lengths_, inputs, {.threads = 2, .strided = true});
  }

  void poison_keys();
  void enlarge_scores();

  const MaskCase& case_;
  const CallLengths lengths_{kBatch, kQueries, kKeys};
  TestKernel kernel_;
  HostTensors inputs_;
};

// First what nobody sees is poisoned, and nothing may change. Then keys 40 and 156 too: rows that
// see one of them are NaN, the others keep their bits. Values are poisoned where the place of a key
// hides it from all; a mask tensor only makes their weights 0.
void HostileMask::poison_keys() {
  SCOPED_TRACE("poisoned keys");
  const Outputs clean = run(inputs_);
  const Arrays arrays = arrays_of(inputs_);
  Spec places = kernel_.spec();
  places.mask.tensor = MaskTensor::kNone;
  const Visibility visibility(kernel_.spec(), lengths_, arrays);
  const Visibility by_place(places, lengths_, arrays);
  const auto bad_key = [](int64_t j) { return j == 40 || j == 156; };
  std::vector<bool> seen(static_cast<size_t>(kBatch * kKeys)), in_place = seen, row_sees_bad_key;
  for (int64_t b = 0; b < kBatch; ++b) {
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t i = 0; i < kQueries; ++i) {
        const std::vector<int64_t> keys = visibility.keys(b, h, i);
        row_sees_bad_key.push_back(std::any_of(keys.begin(), keys.end(), bad_key));
        for (int64_t j : keys) seen[static_cast<size_t>(b * kKeys + j)] = true;
        for (int64_t j : by_place.keys(b, h, i))
          in_place[static_cast<size_t>(b * kKeys + j)] = true;
      }
    }
  }
  HostTensors inputs = inputs_;
  for (bool seen_ones : {false, true}) {
    SCOPED_TRACE(seen_ones);
    for (size_t row = 0; row < seen.size(); ++row) {
      const bool bad = seen_ones && bad_key(static_cast<int64_t>(row) % kKeys);
      for (size_t d = 0; d < 19; ++d) {
        const size_t at = row * 19 + d;
        if (!in_place[row]) inputs.at("value").floats[at] = d % 2 == 0 ? kNan : -kInf;
        if (!seen[row] || bad) inputs.at("key").floats[at] = d % 2 == 0 ? kInf : kNan;
      }
    }
    const Outputs got = run(inputs);
    for (size_t row = 0; row < row_sees_bad_key.size(); ++row) {
      const size_t b = row / (2 * kQueries), h = row / kQueries % 2, i = row % kQueries;
      const size_t output = ((b * kQueries + i) * 2 + h) * 19;
      if (seen_ones && row_sees_bad_key[row]) {
        for (size_t d = 0; d < 19; ++d) {
          ASSERT_TRUE(std::isnan(got.at("output")[output + d])) << row;
        }
        ASSERT_TRUE(std::isnan(got.at("lse")[row])) << row;
        continue;
      }
      const auto same = [&](const char* name, size_t first, size_t count) {
        return std::memcmp(&got.at(name)[first], &clean.at(name)[first], count * 4) == 0;
      };
      ASSERT_TRUE(same("output", output, 19)) << row;
      ASSERT_TRUE(same("lse", row, 1)) << row;
      ASSERT_TRUE(same("weights", row * kKeys, kKeys)) << row;
      ASSERT_TRUE(same("scores_masked", row * kKeys, kKeys)) << row;
      ASSERT_TRUE(same("top_weights", row * 5, 5)) << row;
      ASSERT_TRUE(same("top_indices", row * 5, 5)) << row;
    }
    // Weights of hidden keys are 0 in rows of NaN too, and lists there stay in range.
    expect_right(kernel_, lengths_, inputs, got);
  }
}

void HostileMask::enlarge_scores() {
  SCOPED_TRACE("logits of 10000");
  for (float& q : inputs_.at("query").floats) q *= 4000;
  const Outputs outputs = run(inputs_);
  float largest = 0;
  for (float lse : outputs.at("lse")) {
    if (std::isfinite(lse)) largest = std::max(largest, std::abs(lse));
  }
  EXPECT_GT(largest, 10000);
  expect_right(kernel_, lengths_, inputs_, outputs);
}

// One test, as the kernel costs more than the calls.
TEST_P(HostileMask, IsRightWhateverHiddenKeysHold) {
  expect_right(kernel_, lengths_, inputs_, run(inputs_));
  poison_keys();
  enlarge_scores();
}

INSTANTIATE_TEST_SUITE_P(Kinds, HostileMask,
                         testing::Combine(testing::Range(size_t{0}, mask_cases().size()),
                                          testing::Values("f32", "bf16")),
                         [](const auto& info) {
                           return std::string(mask_cases()[std::get<0>(info.param)].name) + "_" +
                                  std::get<1>(info.param);
                         });

// --- rows that see nothing ---

TEST(Hostile, RowsThatSeeNothingByEachMask) {
  struct Blind {
    const char* mask;
    std::function<void(const Spec&, HostTensors&)> fill;
  };
  const auto set = [](const char* name, std::vector<int32_t> values) {
    return [=](const Spec&, HostTensors& in) { in.at(name).ints = values; };
  };
  const auto mask = [](double hidden, double shown) {
    return [=](const Spec& spec, HostTensors& in) {
      in.at("mask") = mask_by(spec, {3, 1, 20, 1}, [=](int64_t b, auto, int64_t i, auto) {
        return b == 0 || (b == 1 && i % 2 == 0) ? hidden : shown;
      });
    };
  };
  const Blind cases[] = {
      {"mask: {key_lengths: true}", set("key_lengths", {0, 140, 1})},
      {"mask: {key_starts: true}", set("key_starts", {140, 139, 0})},
      {"mask: {key_starts: true, key_lengths: true}",
       [&](const Spec& spec, HostTensors& in) {
         set("key_starts", {100, 7, 0})(spec, in);
         set("key_lengths", {50, 7, 140})(spec, in);
       }},
      {"mask: {causal: true}, query_offset: input", set("query_offset", {-20, -7, 200})},
      {"mask: {window: {left: 3, right: 2}}, query_offset: input",
       set("query_offset", {-22, 142, -12})},
      {"mask: {window: {left: 0}}, query_offset: input", set("query_offset", {130, 0, 1 << 30})},
      {"mask: {window: {right: 0}}, query_offset: input", set("query_offset", {-5, 0, -(1 << 30)})},
      {"mask: {tensor: bool}", mask(0, 1)},
      {"mask: {tensor: additive}", mask(-kInf, 1)},
  };
  for (const Blind& blind : cases) {
    SCOPED_TRACE(blind.mask);
    const TestKernel kernel(
        std::string("{version: 1, name: blind, op: attention, heads: 2, d_head: 9, batch: 3,"
                    " query_length: 20, key_length: 140, ") +
        blind.mask + kMaskedOutputs);
    const CallLengths lengths{3, 20, 140};
    HostTensors inputs = random_inputs(kernel.spec(), lengths, 2);
    blind.fill(kernel.spec(), inputs);
    EXPECT_GT(share_of_blind_rows(kernel.spec(), lengths, inputs), 0);
    expect_right(kernel, lengths, inputs, run_kernel(kernel, lengths, inputs, {.threads = 2}));
  }
}

// A block's output row is the bias where no head sees a key.
TEST(Hostile, BlindRowsOfABlockAreTheBias) {
  const TestKernel kernel(
      "{version: 1, name: blind_block, op: block, d_model: 21, heads: 3, batch: 2,"
      " query_length: 18, mask: {key_starts: true}, projection_bias: {v: true, out: true}}");
  const CallLengths lengths{2, 18, 18};
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 2);
  inputs.at("key_starts").ints = {18, 3};
  const Outputs outputs = run_kernel(kernel, lengths, inputs, {});
  expect_right(kernel, lengths, inputs, outputs);
  for (size_t i = 0; i < 18 * 21; ++i) {
    ASSERT_EQ(outputs.at("output")[i], inputs.at("b_o").floats[i % 21]) << i;
  }
}

// --- the ends of float32 in an additive mask ---

TEST(Hostile, LowestFloatInWholeRowsAndInParts) {
  for (const char* more : {"", ", causal: true", ", key_lengths: true"}) {
    SCOPED_TRACE(more);
    const TestKernel kernel(
        std::string("{version: 1, name: lowest, op: attention, heads: 2, d_head: 16, batch: 2,"
                    " query_length: 40, key_length: 200, query_offset: end,"
                    " mask: {tensor: additive") +
        more + "}" + kMaskedOutputs);
    const CallLengths lengths{2, 40, 200};
    HostTensors inputs = random_inputs(kernel.spec(), lengths, 3);
    if (inputs.count("key_lengths") > 0) inputs.at("key_lengths").ints = {200, 131};
    inputs.at("mask") =
        mask_by(kernel.spec(), {1, 1, 40, 200}, [](auto, auto, int64_t i, int64_t j) -> double {
          if (i % 4 == 0) return -FLT_MAX;                      // all of the row
          if (i % 4 == 1) return j % 3 == 0 ? -FLT_MAX : 0.25;  // parts of it
          if (i % 4 == 2) return j < 150 ? -kInf : -FLT_MAX;    // the rest is hidden
          return j % 2 == 0 ? -1e30 : -FLT_MAX;
        });
    for (float scale : {1.0F, 3000.0F}) {
      for (float& q : inputs.at("query").floats) q *= scale;
      const Outputs outputs = run_kernel(kernel, lengths, inputs, {.threads = 2});
      expect_right(kernel, lengths, inputs, outputs);
      // A whole row of it is uniform over the keys that it sees.
      const size_t row = 36;
      const float* weights = &outputs.at("weights")[row * 200];
      float seen = 0;
      for (size_t j = 0; j < 200; ++j) seen += weights[j] > 0 ? 1 : 0;
      EXPECT_GT(seen, 100);
      for (size_t j = 0; j < 200; ++j) {
        if (weights[j] > 0) {
          EXPECT_NEAR(weights[j] * seen, 1, 1e-4) << j;
        }
      }
    }
  }
}

TEST(Hostile, SumsBelowTheLowestFloatHideNothing) {
  const TestKernel kernel(
      std::string("{version: 1, name: below, op: attention, heads: 1, d_head: 8, query_length: 9,"
                  " key_length: 70, scale: 1, mask: {tensor: additive}") +
      kAllOutputs);
  const CallLengths lengths{1, 9, 70};
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 4);
  // Scores of -1.6e38, and a mask of -3.4e38.
  for (float& q : inputs.at("query").floats) q = 1e19F;
  for (float& k : inputs.at("key").floats) k = -2e18F;
  inputs.at("mask") = mask_by(kernel.spec(), {1, 1, 1, 70}, [](auto, auto, auto, int64_t j) {
    return j < 64 ? static_cast<double>(-FLT_MAX) : -static_cast<double>(kInf);
  });
  const Outputs outputs = run_kernel(kernel, lengths, inputs, {});
  expect_right(kernel, lengths, inputs, outputs);
  for (size_t j = 0; j < 70; ++j) {
    EXPECT_NEAR(outputs.at("weights")[j], j < 64 ? 1.0 / 64 : 0, 1e-6) << j;
  }
}

TEST(Hostile, NanInAMaskPoisonsTheRowsThatSeeIt) {
  const TestKernel kernel(
      std::string("{version: 1, name: nan_mask, op: attention, heads: 2, d_head: 8,"
                  " query_length: 30, mask: {tensor: additive, causal: true}") +
      kAllOutputs);
  const CallLengths lengths{1, 30, 30};
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 5);
  inputs.at("mask") = mask_by(kernel.spec(), {1, 1, 1, 30}, [](auto, auto, auto, int64_t j) {
    return j == 17 ? static_cast<double>(kNan) : 0.1 * static_cast<double>(j % 3);
  });
  const Outputs outputs = run_kernel(kernel, lengths, inputs, {});
  expect_right(kernel, lengths, inputs, outputs);
  for (size_t i = 0; i < 30; ++i) EXPECT_EQ(std::isnan(outputs.at("lse")[i]), i >= 17) << i;
}

}  // namespace
}  // namespace mha
