// The legal schedules of a stage: all, some, and the nearest.
#include "schedules/tuner/candidates.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

#include "schedules/tuner/model.h"
#include "tests/tuner/problems.h"

namespace mha {
namespace {

const std::vector<std::pair<std::string, std::vector<int64_t>>> kSmall = {
    {"query_block", {16, 32, 48, 64}},
    {"key_block", {96, 128, 256}},
    {"key_tile", {4, 6, 8, 12}},
    {"query_vectors", {1, 2, 3}},
    {"value_rows", {4, 6, 8}},
    {"value_vectors", {1, 2, 3}},
    {"width_unroll", {4}},
    {"key_unroll", {2}},
    {"pack_keys", {0}},
    {"pack_values", {0}},
    {"prefetch", {0}},
    {"softmax_level", {0}},
    {"split_keys", {0}},
    {"exp", {0}}};

TEST(Candidates, AreThoseThatTheRulesAllow) {
  const Problem problem(kAttention, "attention", kSmall);
  const Candidates candidates(problem.get());
  // By brute force over the product, in the order of the space.
  std::vector<std::string> expected;
  StageSchedule schedule = problem.get().analytic;
  std::function<void(size_t)> vary = [&](size_t param) {
    if (param == candidates.params().size()) {
      if (check_stage(schedule, problem.plan(), problem.machine()).empty()) {
        expected.push_back(candidate_text(schedule));
      }
      return;
    }
    for (int64_t value : candidates.params()[param].values) {
      schedule.params[param].second = value;
      vary(param + 1);
    }
  };
  vary(0);
  ASSERT_GT(expected.size(), 50u);
  std::vector<std::string> found;
  const std::vector<StageSchedule> all = candidates.all(10000).value();
  for (const StageSchedule& one : all) {
    found.push_back(candidate_text(one));
  }
  EXPECT_EQ(found, expected);
  EXPECT_FALSE(candidates.all(static_cast<int64_t>(expected.size()) - 1));
  EXPECT_TRUE(candidates.all(static_cast<int64_t>(expected.size())));
}

TEST(Candidates, RandomOnesAndNeighboursAreLegalAndRepeatable) {
  for (const char* stage : {"attention", "project_qkv", "project_out"}) {
    const Problem problem(kBlock, stage);
    const Candidates candidates(problem.get());
    Random one(7), again(7), other(8);
    std::set<std::string> different;
    for (int i = 0; i < 50; ++i) {
      const StageSchedule a = candidates.random(one).value();
      EXPECT_EQ(a, candidates.random(again).value());
      different.insert(candidate_text(a));
      different.insert(candidate_text(candidates.random(other).value()));
      EXPECT_TRUE(candidates.contains(a)) << candidate_text(a);
      std::set<std::string> around;
      for (const StageSchedule& near : candidates.neighbours(a)) {
        EXPECT_TRUE(candidates.contains(near)) << candidate_text(near);
        EXPECT_NE(near, a);
        EXPECT_TRUE(around.insert(candidate_text(near)).second);
      }
      EXPECT_GE(around.size(), candidates.params().size() - 3) << candidate_text(a);
      Random mixing(static_cast<uint64_t>(i));
      const auto child = candidates.crossover(a, problem.get().analytic, mixing);
      if (child) {
        EXPECT_TRUE(candidates.contains(*child));
      }
    }
    EXPECT_GT(different.size(), 50u) << stage;
  }
}

TEST(Candidates, TheNearestOfAnythingIsLegal) {
  const Problem problem(kAttention, "attention", kSmall);
  const Candidates candidates(problem.get());
  StageSchedule far = problem.get().analytic;
  for (auto& [name, value] : far.params) value = 1000;
  const StageSchedule near = candidates.nearest(far).value();
  EXPECT_TRUE(candidates.contains(near)) << candidate_text(near);
  EXPECT_FALSE(candidates.contains(far));
  const StageSchedule inside = candidates.all(10000).value()[17];
  EXPECT_EQ(candidates.nearest(inside).value(), inside);
}

TEST(Candidates, ASubspaceIsPartOfTheSpace) {
  EXPECT_THROW(Candidates(Problem(kAttention, "attention", {{"speed", {1}}}).get()),
               std::invalid_argument);
  EXPECT_THROW(Candidates(Problem(kAttention, "attention", {{"key_tile", {7}}}).get()),
               std::invalid_argument);
}

// What is fastest on one thread must not leave others without work.
TEST(Model, KeepsTasksForMoreThreads) {
  const Problem projection(kBlock, "project_out");
  const CostModel model(projection.get());
  StageSchedule whole = projection.get().analytic;
  for (auto& [name, value] : whole.params) {
    if (name == "task_panels") value = 16;
    if (name == "task_rows") value = 4096;
  }
  ASSERT_TRUE(check_stage(whole, projection.plan(), projection.machine()).empty());
  EXPECT_EQ(model.prunes(whole).value_or(""), "1 tasks are too few for more threads");
  EXPECT_FALSE(model.prunes(projection.get().analytic));
}

TEST(Model, KnowsWhatIsFarWorse) {
  const Problem attention(kAttention, "attention");
  const CostModel model(attention.get());
  EXPECT_FALSE(model.prunes(attention.get().analytic));
  StageSchedule bad = attention.get().analytic;
  for (auto& [name, value] : bad.params) {
    if (name == "key_tile" || name == "query_vectors" || name == "value_rows") value = 1;
  }
  ASSERT_TRUE(check_stage(bad, attention.plan(), attention.machine()).empty());
  EXPECT_TRUE(model.prunes(bad));
  const Problem projection(kBlock, "project_out");
  const CostModel of_projection(projection.get());
  StageSchedule thin = projection.get().analytic;
  for (auto& [name, value] : thin.params) {
    if (name == "row_tile" || name == "panel_vectors") value = 1;
  }
  EXPECT_TRUE(of_projection.prunes(thin));
}

// Over a cache: tiles that hold all rows of a KV head beat those that read K and V again.
TEST(Model, OfDecoding) {
  const Problem problem(
      "version: 1\nname: t\nop: attention\nheads: 16\nkv_heads: 4\nd_head: 64\nquery_length: 1\n"
      "kv_cache: {capacity: 4096}\n",
      "decode");
  const CostModel model(problem.get());
  const Candidates candidates(problem.get());
  const StageSchedule& analytic = problem.get().analytic;
  EXPECT_TRUE(candidates.contains(analytic));
  EXPECT_FALSE(model.prunes(analytic));
  Random random(3);
  for (int i = 0; i < 50; ++i) {
    const auto drawn = candidates.random(random);
    ASSERT_TRUE(drawn);
    EXPECT_TRUE(candidates.contains(*drawn));
    EXPECT_GT(model.cost(*drawn), 0);
  }
  const auto with = [&](const char* name, int64_t value) {
    StageSchedule schedule = analytic;
    for (auto& [param, old] : schedule.params) {
      if (param == name) old = value;
    }
    return model.cost(schedule);
  };
  EXPECT_LT(with("score_rows", 4), with("score_rows", 1));
  EXPECT_LT(with("value_rows", 4), with("value_rows", 1));
  EXPECT_LT(with("split", 512), with("split", 64));
}

}  // namespace
}  // namespace mha
