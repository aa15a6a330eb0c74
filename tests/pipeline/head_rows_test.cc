// cos and sin of positions near and far; lists of heads as expressions.
#include "generator/pipeline/head_rows.h"

#include <gtest/gtest.h>

#include <climits>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>
#include <vector>

#include "generator/pipeline/head_groups.h"

namespace mha {
namespace {

// The largest error of cos or sin over these positions and frequencies.
double worst_error(const std::vector<int>& positions, const std::vector<double>& inv_freq) {
  Halide::Buffer<int> places(static_cast<int>(positions.size()));
  for (size_t i = 0; i < positions.size(); ++i) places(static_cast<int>(i)) = positions[i];
  const TurnSteps steps = turn_steps(inv_freq);
  Halide::Var pair("pair"), row("row");
  Halide::Func turned("turned");
  turned(pair, row) = cos_sin(places(row), steps, pair);
  turned.vectorize(pair, 4, Halide::TailStrategy::GuardWithIf);
  const int pairs = static_cast<int>(inv_freq.size()), rows = static_cast<int>(positions.size());
  Halide::Realization got = turned.realize({pairs, rows});
  const Halide::Buffer<float> cos = got[0], sin = got[1];
  double worst = 0;
  for (int i = 0; i < rows; ++i) {
    for (int p = 0; p < pairs; ++p) {
      // In more digits than double has: at 2^31 its last one of the product is 1e-7 of a turn.
      const long double angle = static_cast<long double>(positions[static_cast<size_t>(i)]) *
                                static_cast<long double>(inv_freq[static_cast<size_t>(p)]);
      worst = std::max(worst, std::abs(static_cast<double>(std::cos(angle)) - cos(p, i)));
      worst = std::max(worst, std::abs(static_cast<double>(std::sin(angle)) - sin(p, i)));
    }
  }
  return worst;
}

std::vector<double> frequencies(double theta, int pairs) {
  std::vector<double> inv_freq;
  for (int i = 0; i < pairs; ++i) inv_freq.push_back(std::pow(theta, -1.0 * i / pairs));
  return inv_freq;
}

std::vector<int> random_positions(int bits) {
  std::mt19937_64 random(1);
  std::vector<int> positions = {0, 1, 2, 3, -1, -2};
  for (int i = 0; i < 2000; ++i) {
    const int size = static_cast<int>(random() >> (64 - 1 - i % bits));
    positions.push_back(i % 2 == 0 ? size : -size);
  }
  return positions;
}

TEST(Turns, OfEveryPosition) {
  for (double theta : {10000.0, 500000.0}) {
    EXPECT_LT(worst_error(random_positions(24), frequencies(theta, 32)), 2e-7);
    EXPECT_LT(worst_error(random_positions(31), frequencies(theta, 32)), 4e-7);
  }
  EXPECT_LT(
      worst_error({(1 << 20) + 1, -(1 << 20), 1 << 30, INT_MAX, INT_MIN}, frequencies(10000, 64)),
      4e-7);
}

TEST(Turns, OfOddFrequencies) {
  std::vector<int> positions;
  for (int i = -500; i < 500; ++i) positions.push_back(i * 37);
  // None, whole and half turns and their neighbours, many turns, next to none.
  const double turn = 2 * std::numbers::pi;
  EXPECT_LT(worst_error(positions, {0, turn, turn / 2, turn / 4, turn / 8, std::nextafter(turn, 7),
                                    std::nextafter(turn, 6), 1e5, 1e-9, 1e-30}),
            2e-7);
}

// Of both signs and all quarters, 0 is exact: position 0 turns nothing.
TEST(Turns, AtTheStartAreNone) { EXPECT_EQ(worst_error({0}, frequencies(10000, 32)), 0); }

TEST(Pick, GivesTheNumbers) {
  for (const std::vector<int64_t>& numbers : std::vector<std::vector<int64_t>>{
           {5}, {0, 1, 2, 3}, {0, 0, 0, 1, 1, 2}, {1, 2, 5, 6, 7, 11}, {3, 9, 27, 28}, {0, 2, 4}}) {
    Halide::Var n("n");
    Halide::Func picked("picked");
    picked(n) = pick(numbers, n);
    const Halide::Buffer<int> got = picked.realize({static_cast<int>(numbers.size())});
    for (size_t i = 0; i < numbers.size(); ++i) EXPECT_EQ(got(static_cast<int>(i)), numbers[i]);
  }
}

// Heads 1, 4, 5 and 6 of eight are left, and of their KV heads those of two each.
TEST(HeadGroups, OfPrunedHeads) {
  Attention attention;
  attention.heads = 4;
  attention.kv_heads = 3;
  attention.kv_head_of = {0, 1, 1, 2};
  const HeadGroups groups = head_groups(attention);
  EXPECT_EQ(groups.rows, 2);
  const auto values = [](const Halide::Expr& value, const Halide::Var& n, int count) {
    Halide::Func of("of");
    of(n) = value;
    const Halide::Buffer<int> got = of.realize({count});
    return std::vector<int>(got.begin(), got.begin() + count);
  };
  Halide::Var n("n");
  // A group of one head has it twice.
  EXPECT_EQ(values(head_of_row(groups, n / 2, n % 2), n, 6), (std::vector<int>{0, 0, 1, 2, 3, 3}));
  EXPECT_EQ(values(row_of_head(groups, n), n, 4), (std::vector<int>{0, 0, 1, 0}));
  EXPECT_EQ(values(kv_head_of(groups, n), n, 4), (std::vector<int>{0, 1, 1, 2}));
}

}  // namespace
}  // namespace mha
