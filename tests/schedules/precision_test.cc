// Instructions of the projections for each storage of weights and activations: what multiplies,
// what converts, and that nothing else does.
#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "generator/emit/compile.h"
#include "generator/emit/target.h"
#include "schedules/apply.h"
#include "tests/schedules/plans.h"

namespace mha {
namespace {

constexpr const char* kConfig =
    "version: 1\nname: t\nop: block\nd_model: 256\nheads: 4\nquery_length: 128\n";

Plan plan_in(Dtype dtype, Dtype weights) {
  Plan plan = plan_of(kConfig);
  plan.dtype = dtype;
  plan.weights = weights;
  return plan;
}

// How often each instruction stands in the assembly of a stage.
std::map<std::string, int> instructions(const Plan& plan, const std::string& target,
                                        const std::string& stage_name) {
  const Machine machine = machine_named(target);
  Program program = scheduled_program(plan, default_schedule(plan, machine, 1), machine);
  std::map<std::string, int> counts;
  for (const Stage& stage : program.stages) {
    if (stage.name != stage_name) continue;
    const Halide::Module module =
        lower_stage(stage, "t_stage", halide_target(machine, Sanitizer::kNone));
    std::istringstream lines(compile_stage(module, {"asm"}).at("asm"));
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string word;
      words >> word;
      // EVEX and VEX forms are the same to us.
      ++counts[word];
    }
  }
  return counts;
}

// Of all instructions that begin with `prefix`.
int count(const std::map<std::string, int>& counts, const std::string& prefix) {
  int sum = 0;
  for (const auto& [name, times] : counts) sum += name.starts_with(prefix) ? times : 0;
  return sum;
}

class Projections : public testing::TestWithParam<const char*> {};

TEST_P(Projections, OfBf16UseTheMachinesProducts) {
  const Plan plan = plan_in(Dtype::kBF16, Dtype::kBF16);
  for (const char* target : {"zen4", "zen5", "sapphirerapids"}) {
    const auto found = instructions(plan, target, GetParam());
    EXPECT_GE(count(found, "vdpbf16ps"), 16) << target;
    EXPECT_EQ(count(found, "vfmadd"), 0) << target;
  }
  EXPECT_EQ(count(instructions(plan, "x86-64-v4", GetParam()), "vdpbf16ps"), 0);
}

TEST_P(Projections, OfBf16WeightsAndF32MultiplyInF32) {
  const Plan plan = plan_in(Dtype::kF32, Dtype::kBF16);
  for (const char* target : {"zen4", "x86-64-v4", "x86-64-v3"}) {
    const auto found = instructions(plan, target, GetParam());
    EXPECT_EQ(count(found, "vdpbf16ps"), 0) << target;
    EXPECT_GE(count(found, "vfmadd"), 16) << target;
    EXPECT_GE(count(found, "vpslld"), 2) << target;
  }
}

TEST_P(Projections, OfF16AreConvertedByInstructions) {
  const auto found = instructions(plan_in(Dtype::kF32, Dtype::kF16), "zen4", GetParam());
  EXPECT_GE(count(found, "vcvtph2ps"), 2);
  EXPECT_GE(count(found, "vfmadd"), 16);
  EXPECT_EQ(count(found, "vdpbf16ps"), 0);
}

TEST_P(Projections, OfInt8AreConvertedByInstructions) {
  const auto found = instructions(plan_in(Dtype::kF32, Dtype::kInt8), "zen4", GetParam());
  EXPECT_GE(count(found, "vpmovsxbd"), 2);
  EXPECT_GE(count(found, "vcvtdq2ps"), 2);
  EXPECT_GE(count(found, "vfmadd"), 16);
}

// Every number of int8 is one of bf16: many rows of bf16 are multiplied by the machine's products.
TEST_P(Projections, OfInt8AndBf16UseTheMachinesProducts) {
  const Plan plan = plan_in(Dtype::kBF16, Dtype::kInt8);
  for (const char* target : {"zen4", "sapphirerapids"}) {
    const auto found = instructions(plan, target, GetParam());
    EXPECT_GE(count(found, "vdpbf16ps"), 16) << target;
    EXPECT_GE(count(found, "vpmovsxbd"), 2) << target;
    EXPECT_EQ(count(found, "vfmadd"), 0) << target;
  }
  EXPECT_EQ(count(instructions(plan, "x86-64-v4", GetParam()), "vdpbf16ps"), 0);
  const auto f16 = instructions(plan_in(Dtype::kBF16, Dtype::kF16), "zen4", GetParam());
  EXPECT_EQ(count(f16, "vdpbf16ps"), 0);  // f16 never goes by way of bf16
}

// Whether a stage converts panels of weights, which is then no part of the inner loop.
bool has_panels(const Plan& plan, const char* target, const std::string& stage_name) {
  const Machine machine = machine_named(target);
  Program program = scheduled_program(plan, default_schedule(plan, machine, 1), machine);
  for (const Stage& stage : program.stages) {
    if (stage.name == stage_name) return stage.funcs.count("panels") > 0;
  }
  ADD_FAILURE() << "no stage " << stage_name;
  return false;
}

TEST_P(Projections, OfManyRowsConvertPanelsOnce) {
  for (Dtype weights : {Dtype::kF16, Dtype::kInt8, Dtype::kBF16, Dtype::kF32}) {
    for (int64_t rows : {1, 16, 17, 512}) {
      Plan plan = plan_in(Dtype::kF32, weights);
      plan.query_length = plan.key_length = {rows, rows};
      EXPECT_EQ(has_panels(plan, "zen4", GetParam()), weights != Dtype::kF32 && rows > 16) << rows;
      plan.dtype = Dtype::kBF16;  // products of pairs of bf16 convert nothing
      EXPECT_EQ(has_panels(plan, "zen4", GetParam()),
                weights != Dtype::kF32 && weights != Dtype::kBF16 && rows > 16)
          << rows;
    }
    // A kernel that may be called with one row reads its weights once.
    Plan plan = plan_in(Dtype::kF32, weights);
    plan.query_length = plan.key_length = {1, 512};
    EXPECT_FALSE(has_panels(plan, "zen4", GetParam()));
  }
}

TEST(Rows, OfTwoBytesBecomeF32Once) {
  const auto stages = [](Dtype dtype, Dtype weights, int64_t rows) {
    Plan plan = plan_in(dtype, weights);
    plan.query_length = plan.key_length = {rows, rows};
    const Machine machine = machine_named("zen4");
    std::vector<std::string> names;
    for (const Stage& stage :
         scheduled_program(plan, default_schedule(plan, machine, 1), machine).stages)
      names.push_back(stage.name);
    return names;
  };
  using Names = std::vector<std::string>;
  const Names widened{"widen_x", "project_qkv", "attention", "project_out"};
  const Names plain{"project_qkv", "attention", "project_out"};
  EXPECT_EQ(stages(Dtype::kF16, Dtype::kF16, 128), widened);
  EXPECT_EQ(stages(Dtype::kF16, Dtype::kF32, 128), widened);
  EXPECT_EQ(stages(Dtype::kF16, Dtype::kF16, 16), plain);
  EXPECT_EQ(stages(Dtype::kF32, Dtype::kF16, 128), plain);
  // The second also packs V into pairs.
  EXPECT_EQ(stages(Dtype::kBF16, Dtype::kBF16, 128).front(), "project_qkv");
  EXPECT_EQ(stages(Dtype::kBF16, Dtype::kInt8, 128).front(), "project_qkv");
}

INSTANTIATE_TEST_SUITE_P(Stages, Projections, testing::Values("project_qkv", "project_out"));

}  // namespace
}  // namespace mha
