// All pairs of values of all keys, in as few specs as that takes; MHA_TEST_THREE_WAY=1: all
// triples. MHA_TEST_ROW=N with --gtest_filter=Pairwise.OneRow repeats one.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/numeric/harness.h"
#include "tests/numeric/pairwise_specs.h"
#include "tests/numeric/random_config.h"

namespace mha {
namespace {

// Tests among which the rows are shared, so that processes can run side by side.
constexpr int kShards = 4;

int strength() { return std::getenv("MHA_TEST_THREE_WAY") != nullptr ? 3 : 2; }

const Covering& built_rows() {
  static const Covering kRows = covering(spec_problem(strength(), true));
  return kRows;
}

void check_row(size_t number) {
  const std::string yaml = spec_text(built_rows().rows.at(number));
  SCOPED_TRACE("repeat with: MHA_TEST_ROW=" + std::to_string(number) +
               (strength() == 3 ? " MHA_TEST_THREE_WAY=1" : "") +
               " numeric_test --gtest_filter=Pairwise.OneRow\n" + yaml);
  try {
    const TestKernel kernel(yaml);
    Random random(number, "pairwise");
    Tally tally;
    for (int which : {0, 2}) {
      const auto call = random_call(kernel.spec(), which, number, random);
      if (!call) continue;
      const Outputs outputs = run_kernel(kernel, call->lengths, call->inputs, {});
      EXPECT_EQ(
          check_against_reference(kernel, call->lengths, call->inputs, outputs, false, &tally), "");
      const Outputs again =
          run_kernel(kernel, call->lengths, call->inputs, {.threads = 2, .strided = true});
      for (const auto& [name, values] : outputs) {
        EXPECT_TRUE(same_bits(values, again.at(name))) << name << " differs when strided";
      }
    }
    EXPECT_GT(tally.compared, 0);
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
}

class PairRows : public testing::TestWithParam<int> {};

TEST_P(PairRows, RowsAreWithinTheirBounds) {
  const size_t count = built_rows().rows.size();
  for (size_t n = static_cast<size_t>(GetParam()); n < count; n += kShards) check_row(n);
}

INSTANTIATE_TEST_SUITE_P(Pairwise, PairRows, testing::Range(0, kShards));

TEST(Pairwise, OneRow) {
  const char* text = std::getenv("MHA_TEST_ROW");
  const size_t row = text != nullptr ? static_cast<size_t>(std::atoi(text)) : 0;
  ASSERT_LT(row, built_rows().rows.size());
  check_row(row);
}

// What means something and is not in a row is not built: here is how much of it there is.
TEST(Pairwise, WhatIsMissingIsRefused) {
  const Covering all = covering(spec_problem(2, false)), built = covering(spec_problem(2, true));
  int missing = 0;
  for (const CoveringTuple& pair : all.covered) {
    if (built.covered.count(pair) > 0) continue;
    if (missing++ < 20) std::printf("not built: %s\n", tuple_text(pair).c_str());
  }
  for (const CoveringTuple& pair : all.impossible) {
    std::printf("without meaning: %s\n", tuple_text(pair).c_str());
  }
  std::printf("%zu rows cover %zu pairs; %d pairs are not built, %zu have no meaning\n",
              built.rows.size(), built.covered.size(), missing, all.impossible.size());
  EXPECT_GT(built.covered.size(), 100u);
}

TEST(Covering, EveryPairOfASmallProblem) {
  CoveringProblem problem;
  problem.sizes = {2, 3, 4, 2, 3};
  problem.effective = [](CoveringRow row) {
    if (row[0] == 0) row[1] = 0;  // the second factor has an effect with the first alone
    return row;
  };
  problem.valid = [](const CoveringRow& row) { return !(row[2] == 3 && row[3] == 1); };
  problem.bases = {{1, 0, 0, 0, 0}};
  const Covering got = covering(problem);
  // (0, 1 and 2 of the second) and (3, 1) cannot be.
  const std::vector<CoveringTuple> impossible = {
      {{0, 0}, {1, 1}}, {{0, 0}, {1, 2}}, {{2, 3}, {3, 1}}};
  EXPECT_EQ(got.impossible, impossible);
  EXPECT_LE(got.rows.size(), 16u);
  size_t pairs = 0;
  for (size_t a = 0; a < 5; ++a) {
    for (size_t b = a + 1; b < 5; ++b) {
      pairs += static_cast<size_t>(problem.sizes[a] * problem.sizes[b]);
    }
  }
  EXPECT_EQ(got.covered.size(), pairs - 3);
  for (const CoveringRow& row : got.rows) EXPECT_TRUE(problem.valid(row));
  // A covered pair stands in a row.
  for (const CoveringTuple& pair : got.covered) {
    EXPECT_TRUE(std::any_of(got.rows.begin(), got.rows.end(), [&](const CoveringRow& row) {
      return row[static_cast<size_t>(pair[0].first)] == pair[0].second &&
             row[static_cast<size_t>(pair[1].first)] == pair[1].second;
    }));
  }
  problem.strength = 3;
  EXPECT_GT(covering(problem).rows.size(), got.rows.size());
}

}  // namespace
}  // namespace mha
