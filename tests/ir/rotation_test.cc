// The frequencies of RoPE against numbers that were computed apart from this code: by the formulas
// of Hugging Face transformers' modeling_rope_utils.py, written out in Python, in float64.
#include "generator/ir/rotation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <vector>

namespace mha {
namespace {

Rope rope(double theta, int64_t dims, const std::string& type = "",
          const std::map<std::string, double>& numbers = {}) {
  Rope rope;
  rope.theta = theta;
  rope.dims = dims;
  rope.scaling.type = type;
  rope.scaling.numbers = numbers;
  return rope;
}

void expect_frequencies(const Rotation& rotation, size_t count,
                        const std::map<size_t, double>& some, double sum) {
  ASSERT_EQ(rotation.inv_freq.size(), count);
  for (const auto& [i, frequency] : some) {
    EXPECT_NEAR(rotation.inv_freq[i] / frequency, 1, 1e-13) << i;
  }
  const double all = std::accumulate(rotation.inv_freq.begin(), rotation.inv_freq.end(), 0.0);
  EXPECT_NEAR(all / sum, 1, 1e-13);
}

TEST(Rotation, Plain) {
  const Rotation rotation = rotation_of(rope(10000, 8));
  expect_frequencies(rotation, 4, {{0, 1}, {1, 0.1}, {2, 0.01}, {3, 0.001}}, 1.111);
  EXPECT_EQ(rotation.attention_factor, 1);
  EXPECT_FALSE(rotation.interleaved);
}

TEST(Rotation, Linear) {
  Rope of = rope(10000, 8, "linear", {{"factor", 4}});
  of.interleaved = true;
  const Rotation rotation = rotation_of(of);
  expect_frequencies(rotation, 4, {{0, 0.25}, {3, 0.00025}}, 1.111 / 4);
  EXPECT_TRUE(rotation.interleaved);
}

// Llama 3.1.
TEST(Rotation, Llama3) {
  expect_frequencies(rotation_of(rope(500000, 128, "llama3",
                                      {{"factor", 8},
                                       {"low_freq_factor", 1},
                                       {"high_freq_factor", 4},
                                       {"original_length", 8192}})),
                     64,
                     {{0, 1.0},
                      {1, 0.8146172338565447},
                      {28, 0.0032114459947525913},
                      {29, 0.002166570763503359},
                      {31, 0.0008567514129196321},
                      {34, 0.00017850781276799638},
                      {35, 9.556212353964683e-05},
                      {36, 7.78465527393245e-05},
                      {63, 3.068925988914511e-07}},
                     5.386058200728572);
}

// Qwen 2.5 with a longer context.
TEST(Rotation, Yarn) {
  const Rotation rotation = rotation_of(
      rope(1e6, 128, "yarn", {{"factor", 4}, {"original_length", 32768}, {"truncate", 1}}));
  expect_frequencies(rotation, 64,
                     {{0, 1.0},
                      {22, 0.008659643233600653},
                      {23, 0.006978305848598663},
                      {24, 0.005375321490790102},
                      {30, 0.0010643609812470017},
                      {39, 6.490394320837028e-05},
                      {40, 4.445698525097307e-05},
                      {41, 3.582531425592407e-05},
                      {63, 3.102344401879299e-07}},
                     5.144034721740073);
  EXPECT_NEAR(rotation.attention_factor, 1.138629436111989, 1e-14);
}

// gpt-oss.
TEST(Rotation, YarnBetweenWholeDims) {
  const Rotation rotation = rotation_of(
      rope(150000, 64, "yarn", {{"factor", 32}, {"original_length", 4096}, {"truncate", 0}}));
  expect_frequencies(rotation, 32,
                     {{8, 0.050813274815461475},
                      {9, 0.03170569618466377},
                      {16, 0.00045648391922324086},
                      {17, 0.00012931870124506317},
                      {18, 3.8308812373753384e-05},
                      {31, 3.0235114281192144e-07}},
                     3.1804382769298654);
  EXPECT_NEAR(rotation.attention_factor, 1.3465735902799727, 1e-14);
}

TEST(Rotation, YarnOfARangeOfOnePair) {
  expect_frequencies(rotation_of(rope(10000, 8, "yarn",
                                      {{"factor", 4},
                                       {"original_length", 8},
                                       {"beta_fast", 1.4},
                                       {"beta_slow", 1.1},
                                       {"truncate", 1}})),
                     4, {{0, 1.0}, {1, 0.025}, {2, 0.0025}, {3, 0.00025}}, 1.02775);
}

// DeepSeek's two factors: their quotient where both are given and not 0, else neither.
TEST(Rotation, YarnsAttentionFactor) {
  const auto factor = [](std::map<std::string, double> more) {
    more.insert({{"factor", 40}, {"original_length", 4096}});
    return rotation_of(rope(10000, 64, "yarn", more)).attention_factor;
  };
  EXPECT_NEAR(factor({{"mscale", 0.707}, {"mscale_all_dim", 0.707}}), 1, 1e-14);
  EXPECT_NEAR(factor({{"mscale", 1}, {"mscale_all_dim", 0.5}}), 1.1557219901962608, 1e-14);
  EXPECT_NEAR(factor({{"mscale", 1}}), 1.3688879454113936, 1e-14);
  EXPECT_NEAR(factor({{"mscale", 0}, {"mscale_all_dim", 0.5}}), 1.3688879454113936, 1e-14);
  EXPECT_EQ(factor({{"mscale", 1}, {"mscale_all_dim", 0.5}, {"attention_factor", 1.25}}), 1.25);
  const Rotation whole =
      rotation_of(rope(10000, 64, "yarn", {{"factor", 1}, {"original_length", 4096}}));
  EXPECT_EQ(whole.attention_factor, 1);
  EXPECT_NEAR(whole.inv_freq[5] / 0.23713737056616555, 1, 1e-13);
}

TEST(Rotation, FrequenciesThemselves) {
  Rope of = rope(7, 4);
  of.scaling.inv_freq = {3, 0};
  of.scaling.numbers = {{"attention_factor", 1.5}};
  const Rotation rotation = rotation_of(of);
  EXPECT_EQ(rotation.inv_freq, (std::vector<double>{3, 0}));
  EXPECT_EQ(rotation.attention_factor, 1.5);
}

}  // namespace
}  // namespace mha
