// Prefetches as they reach code generation: one a line, each line of a step once, and no loop
// around them.
#include <Halide.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "generator/emit/target.h"
#include "schedules/apply.h"
#include "tests/schedules/plans.h"

namespace mha {
namespace {

namespace hi = Halide::Internal;

// Places of the prefetches of each input.
class Prefetches : public hi::IRVisitor {
 public:
  std::map<std::string, std::vector<Halide::Expr>> places;
  int loops = 0;

 private:
  using hi::IRVisitor::visit;
  void visit(const hi::For* loop) override {
    loops += loop->name.starts_with("prefetch_");
    hi::IRVisitor::visit(loop);
  }
  void visit(const hi::Call* call) override {
    if (call->is_intrinsic(hi::Call::prefetch)) {
      places[call->args[0].as<hi::Variable>()->name].push_back(call->args[1]);
    }
    hi::IRVisitor::visit(call);
  }
};

Prefetches prefetches(const std::string& config, const std::string& stage_name, int64_t ahead) {
  const Plan plan = plan_of(config);
  const Machine machine = machine_named("zen5");
  const Schedule schedule = with(default_schedule(plan, machine, 1), stage_name, "prefetch", ahead);
  Program program = scheduled_program(plan, schedule, machine);
  Prefetches found;
  for (Stage& stage : program.stages) {
    if (stage.name != stage_name) continue;
    const Halide::Module module = stage.pipeline.compile_to_module(
        stage.arguments, stage.name, halide_target(machine, Sanitizer::kNone));
    hi::substitute_in_all_lets(module.functions().front().body).accept(&found);
  }
  return found;
}

TEST(Prefetch, WeightsOfAStepLineByLine) {
  const char* config =
      "version: 1\nname: t\nop: block\nd_model: 512\nheads: 8\nquery_length: 512\n";
  EXPECT_TRUE(prefetches(config, "project_qkv", 0).places.empty());
  Prefetches found = prefetches(config, "project_qkv", 2);
  EXPECT_EQ(found.loops, 0);
  ASSERT_EQ(found.places.size(), 1u);
  // Four steps of a panel of two vectors: dense.
  const auto& places = found.places.begin()->second;
  std::set<int64_t> lines;
  for (const Halide::Expr& place : places) {
    const auto distance = hi::as_const_int(hi::simplify(place - places.front()));
    ASSERT_TRUE(distance) << place;
    lines.insert(*distance);
  }
  EXPECT_EQ(places.size(), 8u);
  EXPECT_EQ(lines, (std::set<int64_t>{0, 16, 32, 48, 64, 80, 96, 112}));
}

TEST(Prefetch, RowsOfKAndV) {
  const char* config =
      "version: 1\nname: t\nop: attention\nheads: 8\nd_head: 64\nquery_length: 512\n";
  EXPECT_TRUE(prefetches(config, "attention", 0).places.empty());
  Prefetches found = prefetches(config, "attention", 4);
  EXPECT_EQ(found.loops, 0);
  EXPECT_EQ(found.places["key"].size(), 8u * 4);    // rows of a key tile, lines of a row
  EXPECT_EQ(found.places["value"].size(), 2u * 2);  // unrolled keys, lines of a register tile
}

}  // namespace
}  // namespace mha
