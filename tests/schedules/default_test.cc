// The analytic default: legal for every plan on every machine, and the same each time.
#include <gtest/gtest.h>

#include <algorithm>

#include "generator/pipeline/pipeline.h"
#include "schedules/apply.h"
#include "schedules/space.h"
#include "tests/schedules/plans.h"

namespace mha {
namespace {

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

// Legal, complete, in order, and each parameter in the order of the table.
void expect_sound(const Plan& plan, const Machine& machine, int threads) {
  SCOPED_TRACE(machine.target + ", " + std::to_string(threads) + " threads");
  const Schedule schedule = default_schedule(plan, machine, threads);
  EXPECT_EQ(joined(check_schedule(schedule, plan, machine)), "") << schedule.text();
  EXPECT_EQ(schedule.origin, "default");
  std::vector<std::string> names;
  for (const StageSchedule& stage : schedule.stages) {
    names.push_back(stage.stage);
    std::vector<std::string> params, table;
    for (const auto& [name, value] : stage.params) params.push_back(name);
    for (const ParamInfo& info : stage_space(stage.stage)) table.push_back(info.name);
    EXPECT_EQ(params, table) << stage.stage;
  }
  EXPECT_EQ(names, stage_names(plan));
  EXPECT_EQ(default_schedule(plan, machine, threads).text(), schedule.text());
}

TEST(Default, IsLegalForEveryShippedConfigOnEveryMachine) {
  const auto plans = shipped_plans();
  ASSERT_GE(plans.size(), 5u);
  for (const auto& [path, plan] : plans) {
    SCOPED_TRACE(path);
    for (const Machine& machine : named_machines()) {
      for (int threads : {1, 2, 16}) expect_sound(plan, machine, threads);
    }
    expect_sound(plan, host_machine(), 1);
  }
}

TEST(Default, IsLegalForRandomPlansOnEveryMachine) {
  const uint64_t seed = test_seed();
  std::mt19937_64 random(seed);
  int done = 0;
  while (done < 500 && !HasFailure()) {
    const std::optional<std::string> config = random_config(random);
    if (!config) continue;
    SCOPED_TRACE("MHA_TEST_SEED=" + std::to_string(seed) + ", plan " + std::to_string(done) +
                 ":\n" + *config);
    const Plan plan = plan_of(*config);
    for (const Machine& machine : named_machines()) expect_sound(plan, machine, 1 + done % 3);
    ++done;
  }
}

// Any cache sizes: a host may report what no table holds.
TEST(Default, IsLegalWhateverTheCaches) {
  for (const auto& [path, plan] : shipped_plans()) {
    SCOPED_TRACE(path);
    for (Machine machine : named_machines()) {
      for (int64_t scale : {1, 4, 64}) {
        machine.l1d_bytes = (8 << 10) * scale;
        machine.l2_bytes = (64 << 10) * scale;
        machine.l3_bytes = (256 << 10) * scale;
        expect_sound(plan, machine, 1);
      }
    }
  }
}

TEST(Schedule, TextIsOneLineAStage) {
  Schedule schedule;
  schedule.stages = {{"project_qkv", {{"row_tile", 8}, {"panel_vectors", 2}}},
                     {"attention", {{"query_block", 64}}}};
  EXPECT_EQ(schedule.text(),
            "project_qkv: row_tile=8 panel_vectors=2\n"
            "attention: query_block=64\n");
}

TEST(Schedule, MissingNamesAreOutOfRange) {
  Schedule schedule;
  schedule.stages = {{"attention", {{"query_block", 64}}}};
  EXPECT_EQ(schedule.stage("attention").get("query_block"), 64);
  EXPECT_THROW(schedule.stage("attention").get("row_tile"), std::out_of_range);
  EXPECT_THROW(schedule.stage("project_out"), std::out_of_range);
}

TEST(Blocking, FollowsTheSchedule) {
  const Plan plan =
      plan_of("version: 1\nname: t\nop: block\nd_model: 128\nheads: 2\nquery_length: 512\n");
  const Machine machine = machine_named("x86-64-v3");
  Schedule schedule = default_schedule(plan, machine, 1);
  schedule = with(schedule, "attention", "query_block", 96);
  schedule = with(schedule, "attention", "key_block", 256);
  schedule = with(schedule, "attention", "key_tile", 4);
  schedule = with(schedule, "attention", "pack_values", 1);
  schedule = with(schedule, "project_qkv", "row_tile", 6);
  schedule = with(schedule, "project_qkv", "panel_vectors", 2);
  schedule = with(schedule, "project_qkv", "task_rows", 240);
  schedule = with(schedule, "project_out", "row_tile", 12);
  schedule = with(schedule, "project_out", "panel_vectors", 1);
  schedule = with(schedule, "project_out", "task_rows", 960);
  const Blocking blocking = blocking_of(schedule, machine);
  EXPECT_EQ(blocking.lanes, 8);
  EXPECT_EQ(blocking.attention.query_block, 96);
  EXPECT_EQ(blocking.attention.key_block, 256);
  EXPECT_EQ(blocking.attention.key_tile, 4);
  EXPECT_FALSE(blocking.attention.pack_keys);
  EXPECT_TRUE(blocking.attention.pack_values);
  ASSERT_EQ(blocking.projections.size(), 2u);
  EXPECT_EQ(blocking.projections.at("project_qkv").row_tile, 6);
  EXPECT_EQ(blocking.projections.at("project_qkv").panel, 16);
  EXPECT_EQ(blocking.projections.at("project_qkv").task_rows, 240);
  EXPECT_EQ(blocking.projections.at("project_out").row_tile, 12);
  EXPECT_EQ(blocking.projections.at("project_out").panel, 8);
  EXPECT_EQ(blocking.projections.at("project_out").task_rows, 960);
}

// Search and docs read the same table as legality does.
TEST(Space, ValuesAscendAndSayWhatTheyMean) {
  for (const char* stage : {"attention", "decode", "project_qkv", "project_out"}) {
    std::vector<std::string> names;
    for (const ParamInfo& info : stage_space(stage)) {
      names.push_back(info.name);
      EXPECT_FALSE(info.values.empty()) << info.name;
      EXPECT_TRUE(std::is_sorted(info.values.begin(), info.values.end())) << info.name;
      EXPECT_EQ(std::adjacent_find(info.values.begin(), info.values.end()), info.values.end())
          << info.name;
      EXPECT_FALSE(info.meaning.empty()) << info.name;
    }
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end()) << stage;
  }
}

TEST(Space, StagesOfAPlan) {
  EXPECT_EQ(stage_names(plan_of("version: 1\nname: t\nop: attention\nheads: 2\nd_head: 16\n"
                                "query_length: 8\noutputs: [output, weights]\n")),
            std::vector<std::string>{"attention"});
  EXPECT_EQ(stage_names(plan_of("version: 1\nname: t\nd_model: 32\nheads: 2\nquery_length: 8\n")),
            (std::vector<std::string>{"project_qkv", "attention", "project_out"}));
  EXPECT_EQ(stage_names(plan_of("version: 1\nname: t\nd_model: 32\nheads: 2\nd_value: 8\n"
                                "query_length: 8\n")),
            (std::vector<std::string>{"project_qk", "project_v", "attention", "project_out"}));
  const std::string cached =
      "version: 1\nname: t\nop: attention\nheads: 2\nd_head: 16\n"
      "kv_cache: {capacity: 99}\n";
  EXPECT_EQ(stage_names(plan_of(cached + "query_length: 16\n")),
            std::vector<std::string>{"decode"});
  EXPECT_EQ(stage_names(plan_of(cached + "query_length: 17\n")),
            std::vector<std::string>{"attention"});
  EXPECT_EQ(stage_names(plan_of(cached + "query_length: 1\noutputs: [output, weights]\n")),
            (std::vector<std::string>{"decode", "attention"}));
}

}  // namespace
}  // namespace mha
