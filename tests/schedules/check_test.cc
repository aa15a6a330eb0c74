// Every rule of check.cc, broken once: exactly its message, and nothing else.
#include <gtest/gtest.h>

#include "schedules/space.h"
#include "tests/schedules/plans.h"

namespace mha {
namespace {

using Lines = std::vector<std::string>;

const char kBlock[] = "version: 1\nname: t\nop: block\nd_model: 512\nheads: 8\nquery_length: 512\n";
const char kAttention[] =
    "version: 1\nname: t\nop: attention\nheads: 8\nd_head: 64\nquery_length: 512\n";
// V's width fills no whole vectors.
const char kOdd[] =
    "version: 1\nname: t\nop: attention\nheads: 2\nd_head: 64\nd_value: 24\nquery_length: 512\n";
const char kBf16[] =
    "version: 1\nname: t\nop: attention\nheads: 8\nd_head: 64\nquery_length: 512\n"
    "dtype: bf16\n";
const char kOddBf16[] =
    "version: 1\nname: t\nop: attention\nheads: 8\nd_head: 63\nd_value: 64\n"
    "query_length: 512\ndtype: bf16\n";

// One legal schedule that no change of the default moves.
Schedule legal(const Plan& plan) {
  Schedule schedule;
  for (const std::string& name : stage_names(plan)) {
    if (name != "attention") {
      schedule.stages.push_back({name,
                                 {{"row_tile", 8},
                                  {"panel_vectors", 2},
                                  {"depth_unroll", 4},
                                  {"task_panels", 1},
                                  {"task_rows", 512},
                                  {"task_order", 0},
                                  {"loop_order", 0},
                                  {"prefetch", 0}}});
      continue;
    }
    const bool odd = plan.attention.d_value % 16 != 0 || plan.dtype == Dtype::kBF16;
    schedule.stages.push_back({name,
                               {{"query_block", 64},
                                {"key_block", 128},
                                {"key_tile", 8},
                                {"query_vectors", 2},
                                {"value_rows", 8},
                                {"value_vectors", 2},
                                {"width_unroll", 4},
                                {"key_unroll", 2},
                                {"pack_keys", plan.attention.d_head % 2},
                                {"pack_values", odd ? 1 : 0},
                                {"task_order", 0},
                                {"score_order", 0},
                                {"value_order", 0},
                                {"prefetch", 0},
                                {"softmax_level", 0},
                                {"split_keys", 0},
                                {"exp", 0}}});
  }
  return schedule;
}

// The problems of a legal schedule for `config` on zen5 after one change.
Lines after(const std::string& config, const std::string& stage, const std::string& param,
            int64_t value) {
  const Plan plan = plan_of(config);
  return check_schedule(with(legal(plan), stage, param, value), plan, machine_named("zen5"));
}

TEST(Check, NothingToSay) {
  for (const char* config : {kBlock, kAttention, kOdd, kBf16, kOddBf16}) {
    const Plan plan = plan_of(config);
    EXPECT_EQ(check_schedule(legal(plan), plan, machine_named("zen5")), Lines{}) << config;
  }
}

TEST(Check, ValuesOfTheTable) {
  EXPECT_EQ(after(kBlock, "attention", "key_unroll", 3),
            Lines{"attention.key_unroll = 3: must be one of 1, 2, 4, 8"});
  EXPECT_EQ(after(kBlock, "attention", "pack_keys", -1),
            Lines{"attention.pack_keys = -1: must be one of 0, 1"});
  EXPECT_EQ(after(kBlock, "project_out", "depth_unroll", 0),
            Lines{"project_out.depth_unroll = 0: must be one of 1, 2, 4, 8"});
}

// Every parameter of every stage refuses what its range does not list.
TEST(Check, EveryParameterHasItsRange) {
  const Plan plan = plan_of(kBlock);
  for (const std::string& stage : stage_names(plan)) {
    for (const ParamInfo& info : stage_space(stage)) {
      const int64_t bad = info.values.back() + 1;
      std::string values;
      for (int64_t value : info.values) {
        values += (values.empty() ? "" : ", ") + std::to_string(value);
      }
      EXPECT_EQ(after(kBlock, stage, info.name, bad),
                Lines{stage + "." + info.name + " = " + std::to_string(bad) + ": must be one of " +
                      values});
    }
  }
}

TEST(Check, MissingAndUnknownParameters) {
  const Plan plan = plan_of(kAttention);
  Schedule schedule = legal(plan);
  schedule.stages[0].params.erase(schedule.stages[0].params.begin());
  EXPECT_EQ(check_schedule(schedule, plan, machine_named("zen5")),
            Lines{"attention.query_block is missing"});
  schedule = legal(plan);
  schedule.stages[0].params.emplace_back("row_tile", 8);
  EXPECT_EQ(check_schedule(schedule, plan, machine_named("zen5")),
            Lines{"attention.row_tile is not a parameter of this stage"});
}

TEST(Check, Stages) {
  const Plan plan = plan_of(kBlock);
  Schedule schedule = legal(plan);
  schedule.stages.erase(schedule.stages.begin());
  EXPECT_EQ(check_schedule(schedule, plan, machine_named("zen5")),
            Lines{"stage project_qkv is missing"});
  schedule = legal(plan);
  schedule.stages.push_back(schedule.stages[0]);
  EXPECT_EQ(check_schedule(schedule, plan, machine_named("zen5")),
            Lines{"stage project_qkv is there more than once"});
  schedule = legal(plan);
  schedule.stages.push_back({"project_kv", schedule.stages[0].params});
  EXPECT_EQ(check_schedule(schedule, plan, machine_named("zen5")),
            Lines{"project_kv is not a stage of this plan"});
  EXPECT_EQ(check_schedule({}, plan, machine_named("zen5")),
            (Lines{"stage project_qkv is missing", "stage attention is missing",
                   "stage project_out is missing"}));
}

TEST(Check, QueryBlockHoldsWholeTiles) {
  EXPECT_EQ(after(kBlock, "attention", "query_block", 48),
            Lines{"attention.query_block = 48: must be a multiple of query_vectors x 16 lanes"});
  EXPECT_EQ(after(kBlock, "attention", "value_rows", 12),
            Lines{"attention.query_block = 64: must be a multiple of value_rows"});
}

TEST(Check, KeyBlockHoldsWholeTiles) {
  EXPECT_EQ(after(kBlock, "attention", "key_tile", 12),
            Lines{"attention.key_block = 128: must be a multiple of key_tile"});
}

TEST(Check, PairsOfBf16) {
  EXPECT_EQ(
      after(kBf16, "attention", "key_tile", 1),
      Lines{"attention.key_tile = 1: must be even: keys are multiplied with V two at a time"});
  EXPECT_EQ(after(kBf16, "attention", "pack_values", 0),
            Lines{"attention.pack_values = 0: V must be packed: its rows are multiplied two at a "
                  "time"});
  EXPECT_EQ(after(kOddBf16, "attention", "pack_keys", 0),
            Lines{"attention.pack_keys = 0: K must be packed: its width 63 is odd, and is "
                  "multiplied two at a time"});
  // Where they are converted, nothing comes in pairs.
  const Plan plan = plan_of(kOddBf16);
  Schedule free = with(legal(plan), "attention", "pack_keys", 0);
  free = with(with(free, "attention", "pack_values", 0), "attention", "key_tile", 1);
  EXPECT_EQ(check_schedule(free, plan, machine_named("x86-64-v4")), Lines{});
}

TEST(Check, TilesFitTheRegisterFile) {
  const Plan plan = plan_of(kBlock);
  const Machine zen5 = machine_named("zen5");
  // 8 x 4 accumulators, 4 vectors, 1 scalar: 37 of 32.
  Schedule schedule = with(legal(plan), "attention", "query_vectors", 4);
  EXPECT_EQ(check_schedule(schedule, plan, zen5),
            Lines{"attention.key_tile = 8: 8 x 4 accumulators and their operands do not fit 32 "
                  "registers"});
  // 8 x 3 + 3 + 1 = 28 fit; 16 x 2 + 2 + 1 = 35 do not.
  schedule = with(legal(plan), "attention", "value_rows", 16);
  EXPECT_EQ(check_schedule(schedule, plan, zen5),
            Lines{"attention.value_rows = 16: 16 x 2 accumulators and their operands do not fit 32 "
                  "registers"});
  EXPECT_EQ(after(kBlock, "project_out", "row_tile", 16),
            Lines{"project_out.row_tile = 16: 16 x 2 accumulators and their operands do not fit 32 "
                  "registers"});
  // 14 x 2 + 2 + 1 = 31 fit, exactly as many as there are minus one.
  schedule = with(with(legal(plan), "project_out", "row_tile", 14), "project_out", "task_rows", 8);
  EXPECT_EQ(check_schedule(schedule, plan, zen5),
            Lines{"project_out.task_rows = 8: must be a multiple of row_tile"});
}

// The same tile on a machine with half the registers.
TEST(Check, TheRegisterFileIsTheMachines) {
  const Plan plan = plan_of(kAttention);
  Schedule schedule = with(legal(plan), "attention", "value_rows", 4);
  EXPECT_EQ(check_schedule(schedule, plan, machine_named("x86-64-v3")),
            Lines{"attention.key_tile = 8: 8 x 2 accumulators and their operands do not fit 16 "
                  "registers"});
  schedule = with(schedule, "attention", "key_tile", 4);
  EXPECT_EQ(check_schedule(schedule, plan, machine_named("x86-64-v3")), Lines{});
}

TEST(Check, TilesDivideTheWidths) {
  EXPECT_EQ(after(kBlock, "attention", "value_vectors", 3),
            Lines{"attention.value_vectors = 3: x 16 lanes must divide the padded value width 64"});
  EXPECT_EQ(
      after(kBlock, "project_qkv", "panel_vectors", 3),
      Lines{"project_qkv.panel_vectors = 3: x 16 lanes must divide the padded head width 64"});
  EXPECT_EQ(after(kBlock, "project_qkv", "task_panels", 2), Lines{});
  EXPECT_EQ(after(kBlock, "project_qkv", "task_panels", 4),
            Lines{"project_qkv.task_panels = 4: panels of 32 columns must divide the padded head "
                  "width 64"});
  // The columns of the output projection belong to no head.
  EXPECT_EQ(after(kBlock, "project_out", "panel_vectors", 3), Lines{});
  EXPECT_EQ(after(kBlock, "project_out", "task_panels", 16), Lines{});
}

TEST(Check, OrdersOfOneAreRefused) {
  EXPECT_EQ(after(kBlock, "project_out", "loop_order", 1),
            Lines{"project_out.loop_order = 1: a task of one panel has no other order"});
  const Plan plan = plan_of(kBlock);
  const Machine zen5 = machine_named("zen5");
  Schedule schedule = with(legal(plan), "attention", "score_order", 1);
  EXPECT_EQ(check_schedule(schedule, plan, zen5), Lines{});
  schedule = with(schedule, "attention", "query_block", 32);
  EXPECT_EQ(check_schedule(schedule, plan, zen5),
            Lines{"attention.score_order = 1: a tile that holds all queries of the task has no "
                  "other order"});
  schedule = with(legal(plan), "attention", "value_order", 1);
  EXPECT_EQ(check_schedule(schedule, plan, zen5), Lines{});
  schedule = with(with(schedule, "attention", "value_vectors", 4), "attention", "value_rows", 4);
  EXPECT_EQ(check_schedule(schedule, plan, zen5),
            Lines{"attention.value_order = 1: a tile that holds the whole width has no other "
                  "order"});
}

TEST(Check, GroupsOfQueriesAreSeveral) {
  EXPECT_EQ(after(kBlock, "attention", "softmax_level", 1), Lines{});
  const Plan plan = plan_of(kBlock);
  const Machine zen5 = machine_named("zen5");
  const Schedule grouped = with(legal(plan), "attention", "softmax_level", 1);
  EXPECT_EQ(check_schedule(with(grouped, "attention", "query_block", 32), plan, zen5),
            Lines{"attention.softmax_level = 1: the queries of the task are a single group"});
  EXPECT_EQ(
      check_schedule(with(grouped, "attention", "key_block", 512), plan, zen5),
      Lines{"attention.softmax_level = 1: one block of keys holds all of them, and nothing is "
            "left to arrange otherwise"});
  EXPECT_EQ(check_schedule(with(grouped, "attention", "score_order", 1), plan, zen5),
            Lines{"attention.score_order = 1: a tile that holds all queries of a group has no "
                  "other order"});
}

TEST(Check, KeysOfSeveralBlocksAreSplit) {
  EXPECT_EQ(after(kBlock, "attention", "split_keys", 1), Lines{});
  EXPECT_EQ(after(kAttention, "attention", "split_keys", 1), Lines{});
  const Plan plan = plan_of(kAttention);
  const Machine zen5 = machine_named("zen5");
  const Schedule split = with(legal(plan), "attention", "split_keys", 1);
  EXPECT_EQ(check_schedule(with(split, "attention", "key_block", 512), plan, zen5),
            Lines{"attention.split_keys = 1: one block of keys holds all of them"});
  EXPECT_EQ(check_schedule(with(split, "attention", "softmax_level", 1), plan, zen5),
            Lines{"attention.softmax_level = 1: one block of keys is a task, and nothing is left "
                  "to arrange otherwise"});
  const std::string head = "version: 1\nname: t\nop: attention\nheads: 2\nd_head: 64\n";
  EXPECT_EQ(after(head + "query_length: 513\n", "attention", "split_keys", 1),
            Lines{"attention.split_keys = 1: more than 512 queries give tasks enough, and would be "
                  "merged by few"});
  EXPECT_EQ(after(head + "query_length: 300\npacked: true\n", "attention", "split_keys", 1),
            Lines{"attention.split_keys = 1: keys of packed sequences are not split"});
  EXPECT_EQ(after(head + "query_length: 300\nmask: {rule: \"(q + 2 * k) % 5 != 2\"}\n", "attention",
                  "split_keys", 1),
            Lines{"attention.split_keys = 1: which blocks a mask rule shows is found out once for "
                  "all of them"});
}

TEST(Check, ExpOfDegree4IsForBf16) {
  const std::string head = "version: 1\nname: t\nop: attention\nheads: 2\nd_head: 64\n";
  const Lines coarse = {
      "attention.exp = 2: degree 4 is exact enough for bf16, and where nothing but the output "
      "depends on it"};
  for (int form : {0, 1}) EXPECT_EQ(after(kAttention, "attention", "exp", form), Lines{});
  EXPECT_EQ(after(kAttention, "attention", "exp", 2), coarse);
  const std::string narrow = head + "query_length: 300\ndtype: bf16\n";
  EXPECT_EQ(after(narrow, "attention", "exp", 2), Lines{});
  EXPECT_EQ(after(narrow + "outputs: [output, lse]\n", "attention", "exp", 2), coarse);
  EXPECT_EQ(after(head + "query_length: 300\ndtype: f16\n", "attention", "exp", 2), coarse);
}

TEST(Check, TasksHoldWholeRowTiles) {
  EXPECT_EQ(after(kBlock, "project_qkv", "task_rows", 120), Lines{});
  EXPECT_EQ(after(kBlock, "project_qkv", "row_tile", 6),
            Lines{"project_qkv.task_rows = 512: must be a multiple of row_tile"});
}

TEST(Check, PackingIsForOpAttention) {
  EXPECT_EQ(after(kBlock, "attention", "pack_keys", 1),
            Lines{"attention.pack_keys = 1: a block's projection writes K packed already"});
  EXPECT_EQ(after(kBlock, "attention", "pack_values", 1),
            Lines{"attention.pack_values = 1: a block's projection writes V packed already"});
  EXPECT_EQ(after(kAttention, "attention", "pack_keys", 1), Lines{});
  const Lines turned = {
      "attention.pack_keys = 0: K must be packed: that is where it gets its norm and its rotation"};
  for (const char* more : {"rope: {style: half}\n", "qk_norm: {}\n"}) {
    EXPECT_EQ(after(std::string(kAttention) + more, "attention", "pack_keys", 0), turned);
    EXPECT_EQ(after(std::string(kAttention) + more, "attention", "pack_keys", 1), Lines{});
    EXPECT_EQ(after(std::string(kBlock) + more, "attention", "pack_keys", 0), Lines{});
  }
  EXPECT_EQ(after(kAttention, "attention", "pack_values", 1), Lines{});
}

TEST(Check, RaggedValuesMustBePacked) {
  EXPECT_EQ(after(kOdd, "attention", "pack_values", 0),
            Lines{"attention.pack_values = 0: V must be packed: its width 24 is no multiple of 16 "
                  "lanes"});
}

TEST(Check, EveryBrokenRuleIsSaid) {
  const Plan plan = plan_of(kBlock);
  Schedule schedule = with(legal(plan), "attention", "pack_keys", 1);
  schedule = with(schedule, "project_out", "row_tile", 6);
  EXPECT_EQ(check_schedule(schedule, plan, machine_named("zen5")),
            (Lines{"attention.pack_keys = 1: a block's projection writes K packed already",
                   "project_out.task_rows = 512: must be a multiple of row_tile"}));
}

}  // namespace
}  // namespace mha
