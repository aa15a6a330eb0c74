// Candidates as processes: that good ones are measured, on every kind of call.
#include "schedules/tuner/process_lab.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "schedules/tuner/fingerprint.h"
#include "tests/tuner/lab_case.h"

namespace mha {
namespace {

void expect_slice(const Slice& slice, size_t parts) {
  ASSERT_EQ(slice.seconds.size(), parts);
  for (const double seconds : slice.seconds) {
    EXPECT_GT(seconds, 0);
    EXPECT_LT(seconds, 0.1);
  }
  EXPECT_GE(slice.calls, 1);
  EXPECT_GT(slice.peak_flops, 1e8);
  EXPECT_GE(slice.switches, 0);
}

void expect_measured(const LabCase& c) {
  const Built built = c.build();
  ASSERT_EQ(built.outcome, Outcome::kMeasured) << built.detail;
  const std::unique_ptr<Runner> runner = c.lab->start(built, 1);
  expect_slice(runner->stages(0.002), c.lab->stages().size());
  expect_slice(runner->whole(0.002), 1);
}

TEST(ProcessLab, MeasuresAttention) {
  LabCase c("{version: 1, name: a, op: attention, heads: 2, d_head: 64, query_length: 33}");
  EXPECT_EQ(c.lab->machine(), fingerprint().text());
  EXPECT_EQ(c.lab->stages(), std::vector<std::string>{"attention"});
  expect_measured(c);
}

TEST(ProcessLab, MeasuresABlockOnTwoThreads) {
  LabCase c("{version: 1, name: b, op: block, d_model: 64, heads: 2, query_length: 33}", 2);
  EXPECT_EQ(c.lab->stages().size(), 3u);
  expect_measured(c);
}

}  // namespace
}  // namespace mha
