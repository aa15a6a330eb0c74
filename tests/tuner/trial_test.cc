#include "schedules/tuner/trial.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace mha {
namespace {

TEST(Trial, OutcomesHaveNamesThatReadBack) {
  for (int i = 0; i <= static_cast<int>(Outcome::kMemory); ++i) {
    EXPECT_EQ(outcome_of(outcome_name(static_cast<Outcome>(i))), static_cast<Outcome>(i));
  }
  EXPECT_THROW(outcome_of("fine"), std::out_of_range);
}

TEST(Trial, ACandidateIsItsParametersInOrder) {
  EXPECT_EQ(candidate_text({"attention", {{"query_block", 64}, {"key_block", 128}}}),
            "query_block=64 key_block=128");
}

}  // namespace
}  // namespace mha
