#include "schedules/tuner/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "generator/spec/error.h"

namespace mha {
namespace {

TEST(Statistics, MedianIsTheMiddle) {
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({5, 1, 3}), 3);
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
  EXPECT_THROW(median({}), InternalError);
}

TEST(Statistics, SpreadOverlooksOneWildValue) {
  EXPECT_NEAR(spread({1, 2, 3, 4, 1000}), 1.4826, 1e-12);
  EXPECT_EQ(spread({2, 2, 2}), 0);
}

// The printed tables, as far as they go; one degree is a Cauchy distribution and two have a root.
TEST(Statistics, QuantilesOfTAreThoseOfTheTables) {
  EXPECT_NEAR(t_quantile(1, 0.25), 1, 1e-9);
  EXPECT_NEAR(t_quantile(1, 0.005), 63.657, 5e-4);
  EXPECT_NEAR(t_quantile(2, 0.025), 4.303, 5e-4);
  EXPECT_NEAR(t_quantile(3, 0.005), 5.841, 5e-4);
  EXPECT_NEAR(t_quantile(4, 0.005), 4.604, 5e-4);
  EXPECT_NEAR(t_quantile(4, 0.0005), 8.610, 5e-4);
  EXPECT_NEAR(t_quantile(7, 0.001), 4.785, 5e-4);
  EXPECT_NEAR(t_quantile(10, 0.05), 1.812, 5e-4);
  EXPECT_NEAR(t_quantile(11, 0.01), 2.718, 5e-4);
  EXPECT_NEAR(t_quantile(30, 0.025), 2.042, 5e-4);
  EXPECT_NEAR(t_quantile(1000, 0.025), 1.962, 5e-4);
  EXPECT_THROW(t_quantile(0, 0.01), InternalError);
  EXPECT_THROW(t_quantile(5, 0.5), InternalError);
}

TEST(Statistics, AnIntervalNeedsTwoValues) {
  EXPECT_TRUE(std::isinf(mean_interval({1}, 0.01).half_width));
  EXPECT_TRUE(std::isinf(mean_interval({}, 0.01).half_width));
  const Interval same = mean_interval({2, 2, 2}, 0.01);
  EXPECT_EQ(same.middle, 2);
  EXPECT_EQ(same.half_width, 0);
}

TEST(Statistics, AnIntervalCoversAsOftenAsItSays) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal(3, 2);
  int above = 0, below = 0;
  for (int i = 0; i < 20000; ++i) {
    const Interval interval =
        mean_interval({normal(random), normal(random), normal(random), normal(random)}, 0.05);
    above += interval.low() > 3;
    below += interval.high() < 3;
  }
  EXPECT_NEAR(above, 1000, 130);
  EXPECT_NEAR(below, 1000, 130);
}

TEST(Statistics, TheMiddleDoesNotMindTheEnds) {
  // By hand: the middle six of ten; winsorized 3 3 3 4 5 6 7 8 8 8, of variance 42.5 / 9.
  const double error = std::sqrt(42.5 / 9) / (0.6 * std::sqrt(10));
  for (const double wild : {10.0, 1e6}) {
    const Interval interval = trimmed_interval({wild, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 0.025);
    EXPECT_DOUBLE_EQ(interval.middle, 5.5);
    EXPECT_NEAR(interval.half_width, 2.5706 * error, 1e-3);
  }
  const Interval few = trimmed_interval({1, 2, 9, 4}, 0.025),
                 all = mean_interval({1, 2, 9, 4}, 0.025);
  EXPECT_EQ(few.middle, all.middle);
  EXPECT_EQ(few.half_width, all.half_width);
}

TEST(Statistics, AnIntervalOfTheMiddleCoversHeavyTailsToo) {
  std::mt19937_64 random(8);
  std::student_t_distribution<double> heavy(2);
  int above = 0, below = 0;
  for (int i = 0; i < 20000; ++i) {
    std::vector<double> values;
    for (int n = 0; n < 10; ++n) values.push_back(heavy(random));
    const Interval interval = trimmed_interval(values, 0.05);
    above += interval.low() > 0;
    below += interval.high() < 0;
  }
  EXPECT_GT(above, 500);
  EXPECT_LT(above, 1100);
  EXPECT_GT(below, 500);
  EXPECT_LT(below, 1100);
}

TEST(Statistics, LooksGrowByHalf) {
  EXPECT_EQ(look_schedule(4, 20), (std::vector<int>{4, 6, 9, 14, 20}));
  EXPECT_EQ(look_schedule(5, 12), (std::vector<int>{5, 8, 12}));
  EXPECT_EQ(look_schedule(4, 4), (std::vector<int>{4}));
  EXPECT_EQ(look_schedule(9, 4), (std::vector<int>{4}));
}

TEST(Statistics, ProportionsAreThoseOfClopperAndPearson) {
  const Interval none = proportion_interval(0, 1000);  // 1 - 0.025^(1/1000)
  EXPECT_NEAR(none.low(), 0, 1e-12);
  EXPECT_NEAR(none.high(), 0.003682, 1e-6);
  const Interval some = proportion_interval(5, 1000);
  EXPECT_NEAR(some.low(), 0.001625, 1e-6);
  EXPECT_NEAR(some.high(), 0.011629, 1e-6);
  const Interval all = proportion_interval(10, 10);
  EXPECT_NEAR(all.low(), 0.691503, 1e-6);
  EXPECT_NEAR(all.high(), 1, 1e-12);
}

}  // namespace
}  // namespace mha
