// Choosing the schedules of a range of lengths from a table of times.
#include "schedules/tuner/variants.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <stdexcept>

namespace mha {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// Schedules that are told apart by a number, and packed by another.
Schedule schedule(int64_t number, int64_t panel = 2) {
  Schedule result;
  result.stages = {{"project_qkv", {{"row_tile", number}, {"panel_vectors", panel}}}};
  return result;
}

LengthTable table(std::vector<int64_t> lengths, std::vector<std::vector<double>> seconds) {
  LengthTable result{std::move(lengths), {}, std::move(seconds)};
  for (size_t i = 0; i < result.seconds.size(); ++i) {
    result.candidates.push_back(schedule(static_cast<int64_t>(i)));
  }
  return result;
}

using Ranges = std::vector<ChosenRange>;

TEST(ChooseRanges, EachLengthItsBestWhereThatIsPossible) {
  const LengthTable t = table({1, 16, 64, 512}, {{1, 1, 9, 9}, {2, 2, 2, 9}, {9, 9, 4, 4}});
  const ChosenRanges all = choose_ranges(t);
  EXPECT_EQ(all.ranges, (Ranges{{0, 0, 1}, {1, 2, 2}, {2, 3, 3}}));
  EXPECT_EQ(all.worst, 0);
  EXPECT_EQ(all.mean, 0);
  const ChosenRanges two = choose_ranges(t, {.most = 2});
  EXPECT_EQ(two.ranges, (Ranges{{0, 0, 1}, {2, 2, 3}}));
  EXPECT_DOUBLE_EQ(two.worst, 1);
  EXPECT_DOUBLE_EQ(two.mean, 0.25);
}

// The smallest worst loss comes first; of those that reach it the smallest mean.
TEST(ChooseRanges, WorstThenMean) {
  const LengthTable t = table({1, 2, 3}, {{1, 1.5, 1.5}, {1.5, 1, 1.5}, {1.5, 1.5, 1}});
  EXPECT_EQ(choose_ranges(t, {.most = 1}).ranges.size(), 1u);
  const ChosenRanges two = choose_ranges(t, {.most = 2});
  EXPECT_DOUBLE_EQ(two.worst, 0.5);
  EXPECT_NEAR(two.mean, 0.5 / 3, 1e-12);
  // A prefix that is worse by itself is part of the best whole.
  const LengthTable u = table({1, 2, 3, 4}, {{1, 1.4, 1.4, 3}, {1.3, 1.3, 1.3, 3}, {9, 1, 1, 1.4}});
  const ChosenRanges best = choose_ranges(u, {.most = 2});
  EXPECT_EQ(best.ranges, (Ranges{{0, 0, 0}, {2, 1, 3}}));
}

TEST(ChooseRanges, TiesTakeTheFewestAndTheFirst) {
  const LengthTable t = table({1, 2, 3}, {{1, 1, 1}, {1, 1, 1}});
  EXPECT_EQ(choose_ranges(t).ranges, (Ranges{{0, 0, 2}}));
  const LengthTable noisy = table({1, 2, 3}, {{1, 1, 1.01}, {1.01, 1.01, 1}});
  EXPECT_EQ(choose_ranges(noisy).ranges.size(), 2u);
  EXPECT_EQ(choose_ranges(noisy, {.slack = 0.02}).ranges, (Ranges{{0, 0, 2}}));
}

TEST(ChooseRanges, AllPackWeightsAlike) {
  LengthTable t = table({1, 2}, {{1, 9}, {9, 1}, {3, 3}});
  t.candidates[1] = schedule(1, 4);
  t.candidates[2] = schedule(2, 4);
  const ChosenRanges chosen = choose_ranges(t);
  EXPECT_EQ(chosen.ranges, (Ranges{{2, 0, 0}, {1, 1, 1}}));
  EXPECT_DOUBLE_EQ(chosen.worst, 2);
}

TEST(ChooseRanges, WhatDoesNotRunIsNotChosen) {
  const LengthTable t = table({1, 2}, {{1, kNever}, {kNever, 1}});
  EXPECT_EQ(choose_ranges(t).ranges, (Ranges{{0, 0, 0}, {1, 1, 1}}));
  EXPECT_TRUE(choose_ranges(t, {.most = 1}).ranges.empty());
}

TEST(ChooseRanges, TablesThatAreNone) {
  EXPECT_THROW(choose_ranges({}), std::invalid_argument);
  EXPECT_THROW(choose_ranges(table({2, 2}, {{1, 1}})), std::invalid_argument);
  EXPECT_THROW(choose_ranges(table({1, 2}, {{1}})), std::invalid_argument);
  EXPECT_THROW(choose_ranges(table({1}, {{0}})), std::invalid_argument);
  EXPECT_THROW(choose_ranges(table({1}, {{std::nan("")}})), std::invalid_argument);
  EXPECT_THROW(choose_ranges(table({1}, {{kNever}})), std::invalid_argument);
  LengthTable rows = table({1}, {{1}});
  rows.candidates.clear();
  EXPECT_THROW(choose_ranges(rows), std::invalid_argument);
}

// Every way to serve the lengths, one after the other.
ChosenRanges by_force(const LengthTable& t, size_t most) {
  const size_t count = t.lengths.size();
  ChosenRanges best{{}, kNever, kNever};
  std::vector<ChosenRange> now;
  const std::function<void(size_t)> extend = [&](size_t first) {
    if (first == count) {
      double worst = 0, sum = 0;
      for (const ChosenRange& range : now) {
        for (size_t l = range.first; l <= range.last; ++l) {
          double fastest = kNever;
          for (const auto& row : t.seconds) fastest = std::min(fastest, row[l]);
          const double loss = t.seconds[range.candidate][l] / fastest - 1;
          worst = std::max(worst, loss);
          sum += loss;
        }
      }
      const double mean = sum / static_cast<double>(count);
      const double eps = 1e-12;
      if (worst < best.worst - eps || (worst < best.worst + eps && mean < best.mean - eps) ||
          (worst < best.worst + eps && mean < best.mean + eps && now.size() < best.ranges.size())) {
        best = {now, worst, mean};
      }
      return;
    }
    if (now.size() == most) return;
    for (size_t last = first; last < count; ++last) {
      for (size_t c = 0; c < t.candidates.size(); ++c) {
        if (!now.empty() &&
            !packed_differences(t.candidates[now[0].candidate], t.candidates[c]).empty()) {
          continue;
        }
        now.push_back({c, first, last});
        extend(last + 1);
        now.pop_back();
      }
    }
  };
  extend(0);
  return best;
}

TEST(ChooseRanges, AsGoodAsEveryOtherWay) {
  std::mt19937_64 random(20260101);
  for (int round = 0; round < 1500; ++round) {
    const size_t lengths = 1 + random() % 5, rows = 1 + random() % 4, most = 1 + random() % 4;
    LengthTable t;
    for (size_t l = 0; l < lengths; ++l) t.lengths.push_back(static_cast<int64_t>(l) * 7 + 1);
    for (size_t c = 0; c < rows; ++c) {
      // Few different times, so that there are ties.
      t.candidates.push_back(schedule(static_cast<int64_t>(c), 1 + random() % 2));
      t.seconds.emplace_back();
      for (size_t l = 0; l < lengths; ++l) t.seconds.back().push_back(1.0 + random() % 6 / 4.0);
    }
    const ChosenRanges chosen = choose_ranges(t, {.most = most});
    const ChosenRanges best = by_force(t, most);
    ASSERT_NEAR(chosen.worst, best.worst, 1e-9) << round;
    ASSERT_NEAR(chosen.mean, best.mean, 1e-9) << round;
    ASSERT_EQ(chosen.ranges.size(), best.ranges.size()) << round;
    ASSERT_EQ(choose_ranges(t, {.most = most}).ranges, chosen.ranges) << round;
  }
}

TEST(VariantsOf, EndWhereTheirLastSampleIs) {
  const LengthTable t = table({1, 16, 512}, {{1, 1, 9}, {9, 9, 1}});
  const std::vector<LengthVariant> variants = variants_of(choose_ranges(t), t);
  ASSERT_EQ(variants.size(), 2u);
  EXPECT_EQ(variants[0].max_query_length, 16);
  EXPECT_EQ(variants[0].schedule.stages, t.candidates[0].stages);
  EXPECT_EQ(variants[1].max_query_length, 512);
  LengthTable same = t;
  same.candidates[1] = same.candidates[0];
  EXPECT_EQ(variants_of(choose_ranges(same), same).size(), 1u);
}

TEST(SampleLengths, BothEndsAndEqualRatios) {
  using Lengths = std::vector<int64_t>;
  EXPECT_EQ(sample_lengths({1, 512}, 10), (Lengths{1, 2, 4, 8, 16, 32, 64, 128, 256, 512}));
  EXPECT_EQ(sample_lengths({1, 512}, 4), (Lengths{1, 8, 64, 512}));
  EXPECT_EQ(sample_lengths({1, 3}, 8), (Lengths{1, 2, 3}));
  EXPECT_EQ(sample_lengths({7, 7}, 5), (Lengths{7}));
  EXPECT_EQ(sample_lengths({100, 1000}, 0), (Lengths{100, 1000}));
}

}  // namespace
}  // namespace mha
