// The loop nests that the default gives, as data: which loops, which allocations, which loads. What
// is wrong here would be slow, not wrong, and no numeric test would see it.
#include <Halide.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <sstream>

#include "generator/emit/scratch.h"
#include "generator/emit/target.h"
#include "schedules/apply.h"
#include "schedules/space.h"
#include "tests/schedules/plans.h"

namespace mha {
namespace {

namespace hi = Halide::Internal;

struct Lowered {
  Program program;
  const Stage* stage = nullptr;
  hi::Stmt body;
  int64_t scratch = 0;
};

// One stage of the plan under this schedule.
Lowered lowered(const Plan& plan, const std::string& stage_name, const Machine& machine,
                const Schedule& schedule) {
  Lowered result;
  result.program = scheduled_program(plan, schedule, machine);
  for (Stage& stage : result.program.stages) {
    if (stage.name != stage_name) continue;
    const Halide::Module module = stage.pipeline.compile_to_module(
        stage.arguments, stage.name, halide_target(machine, Sanitizer::kNone));
    result.stage = &stage;
    result.body = module.functions().front().body;
    result.scratch = scratch_bytes(module.functions().front(), stage, result.program, plan);
    return result;
  }
  throw std::runtime_error("no stage " + stage_name);
}

Lowered lowered(const Plan& plan, const std::string& stage, const Machine& machine) {
  return lowered(plan, stage, machine, default_schedule(plan, machine, 1));
}

Lowered lowered(const std::string& config, const std::string& stage) {
  return lowered(plan_of(config), stage, machine_named("zen5"));
}

std::string attention(const std::string& more) {
  return "version: 1\nname: t\nop: attention\nheads: 2\nd_head: 64\n" + more;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// What the tests ask about. A product loop is one that accumulates a product: the hot loops.
class Facts : public hi::IRVisitor {
 public:
  explicit Facts(const hi::Stmt& body) { body.accept(this); }

  int product_loops = 0;
  int masks = 0;  // choices between a score and -infinity
  // Loops that turn scores into probabilities, with and without a mask inside.
  int masked_exponents = 0, free_exponents = 0;
  std::set<std::string> scalars;  // that bound product loops or loops around them
  // Loops that are not serial; vector loads from scattered addresses in product loops; accumulators
  // that are not in registers, or more than there are.
  std::vector<std::string> parallel, gathers, spills;
  int64_t most_floats = 0;       // that are allocated for a product
  size_t most_accumulators = 0;  // vectors that one product loop adds to

 protected:
  using IRVisitor::visit;

  void visit(const hi::For* op) override {
    if (op->for_type != hi::ForType::Serial) parallel.push_back(op->name);
    const bool product = has(op->name, "product") && has(op->name, ".s1.r");
    const bool outside = std::exchange(in_product_, in_product_ || product);
    const int masks_before = masks;
    if (product) accumulators_.clear();
    around_.push_back(op);
    if (product) {
      ++product_loops;
      for (const hi::For* loop : around_) {
        note_scalars(loop->min);
        note_scalars(loop->extent);
      }
    }
    op->body.accept(this);
    around_.pop_back();
    if (product) most_accumulators = std::max(most_accumulators, accumulators_.size());
    in_product_ = outside;
    if (has(op->name, "probabilities"))
      ++(masks > masks_before ? masked_exponents : free_exponents);
  }
  void visit(const hi::Let* op) override {
    lets_[op->name] = op->value;
    IRVisitor::visit(op);
  }
  void visit(const hi::LetStmt* op) override {
    lets_[op->name] = op->value;
    IRVisitor::visit(op);
  }
  void visit(const hi::Select* op) override {
    masks += is_minus_infinity(op->false_value) || is_minus_infinity(op->true_value);
    IRVisitor::visit(op);
  }
  void visit(const hi::Allocate* op) override {
    if (has(op->name, "product")) {
      const int64_t floats = op->constant_allocation_size();
      most_floats = std::max<int64_t>(most_floats, floats);
      if (floats == 0 || op->memory_type != Halide::MemoryType::Register)
        spills.push_back(op->name);
    }
    IRVisitor::visit(op);
  }
  void visit(const hi::Store* op) override {
    if (in_product_) accumulators_.insert(text_of(op->index));
    IRVisitor::visit(op);
  }
  void visit(const hi::Load* op) override {
    if (in_product_ && !is_dense(op->index)) {
      gathers.push_back(op->name + "[" + text_of(op->index) + "]");
    }
    IRVisitor::visit(op);
  }

 private:
  static std::string text_of(const Halide::Expr& e) {
    std::ostringstream text;
    text << e;
    return text.str();
  }

  static bool is_minus_infinity(const Halide::Expr& e) {
    if (const auto* broadcast = e.as<hi::Broadcast>()) return is_minus_infinity(broadcast->value);
    const auto* value = e.as<hi::FloatImm>();
    return value && value->value == -std::numeric_limits<double>::infinity();
  }

  // One element, or neighbours in memory.
  bool is_dense(const Halide::Expr& index) const {
    if (index.type().is_scalar()) return true;
    if (const auto* variable = index.as<hi::Variable>()) {
      const auto let = lets_.find(variable->name);
      return let != lets_.end() && is_dense(let->second);
    }
    if (const auto* broadcast = index.as<hi::Broadcast>()) return is_dense(broadcast->value);
    const auto* ramp = index.as<hi::Ramp>();
    return ramp && ramp->base.type().is_scalar() && hi::is_const_one(ramp->stride);
  }

  // The variables that a bound comes down to: scalar operands of the stage.
  void note_scalars(const Halide::Expr& e) {
    class Names : public hi::IRVisitor {
     public:
      explicit Names(Facts* facts) : facts_(facts) {}

     protected:
      using IRVisitor::visit;
      void visit(const hi::Variable* op) override {
        const auto let = facts_->lets_.find(op->name);
        if (let != facts_->lets_.end()) {
          if (seen_.insert(op->name).second) let->second.accept(this);
        } else if (op->name.rfind("attention_", 0) == 0) {
          facts_->scalars.insert(op->name.substr(std::string("attention_").size()));
        }
      }

     private:
      Facts* facts_;
      std::set<std::string> seen_;
    } names(this);
    e.accept(&names);
  }

  bool in_product_ = false;
  std::set<std::string> accumulators_;
  std::vector<const hi::For*> around_;
  std::map<std::string, Halide::Expr> lets_;
};

using Names = std::set<std::string>;

// The stage of an attention config.
Facts facts(const std::string& more, const std::string& target = "zen5") {
  return Facts(lowered(plan_of(attention(more)), "attention", machine_named(target)).body);
}

TEST(Loops, FullAttentionHasNoMaskAndConstantBounds) {
  for (const char* more : {"query_length: 512\n", "query_length: 256\nkey_length: 1024\n",
                           "query_length: 100\nkey_length: 512\n"}) {
    SCOPED_TRACE(more);
    const Facts found = facts(more);
    EXPECT_GE(found.product_loops, 2);  // Q K^T, and the product with V
    EXPECT_EQ(found.masks, 0);
    EXPECT_GE(found.free_exponents, 1);
    // Only the last block of 100 queries is shorter than the others: which one a task is, decides.
    const bool last_is_shorter = std::string(more).find("100") != std::string::npos;
    EXPECT_EQ(found.scalars, last_is_shorter ? Names{"task0"} : Names{});
  }
}

// The loops end where the last visible key of the task does; blocks that every query sees in full
// pay for no mask.
TEST(Loops, CausalEndsAtTheDiagonal) {
  const Facts found = facts("query_length: 1024\nmask: {causal: true}\n");
  EXPECT_EQ(found.scalars, Names{"task0"});
  EXPECT_GE(found.masked_exponents, 1);
  EXPECT_GE(found.free_exponents, 1);
}

TEST(Loops, CausalFollowsTheOffset) {
  const Facts found =
      facts("query_length: 1024\nkey_length: 2048\nquery_offset: input\nmask: {causal: true}\n");
  EXPECT_EQ(found.scalars, (Names{"task0", "sequence_offset"}));
  EXPECT_GE(found.masked_exponents, 1);
  EXPECT_GE(found.free_exponents, 1);
}

// Keys behind the last are not walked, so they need no mask: not for padding, not for lengths given
// by the call, not for a remainder.
TEST(Loops, PaddingIsNotWalked) {
  const Facts found = facts("query_length: 1024\nmask: {key_lengths: true}\n");
  EXPECT_EQ(found.scalars, Names{"sequence_keys"});
  EXPECT_EQ(found.masks, 0);
  EXPECT_GE(found.free_exponents, 1);
}

TEST(Loops, LengthsOfACallBoundTheLoops) {
  const Facts found = facts("query_length: 64\nkey_length: {min: 1, max: 1024}\n");
  EXPECT_EQ(found.scalars, Names{"key_length"});
  EXPECT_EQ(found.masks, 0);
}

TEST(Loops, ARemainderNeedsNoMask) {
  for (const char* more : {"query_length: 1001\n", "query_length: 64\nkey_length: 13\n"}) {
    SCOPED_TRACE(more);
    const Facts found = facts(more);
    EXPECT_EQ(found.masks, 0);
    // A remainder of queries shortens the last task; one of keys is the same for all.
    const bool of_queries = std::string(more).find("1001") != std::string::npos;
    EXPECT_EQ(found.scalars, of_queries ? Names{"task0"} : Names{});
  }
}

struct Case {
  std::string config, stage;
};

std::vector<Case> hot_stages() {
  const std::string block = "version: 1\nname: t\nop: block\n";
  std::vector<Case> cases;
  for (const char* more :
       {"query_length: 512\n", "layout: bhsd\nquery_length: 512\n",
        "query_length: 1000\nmask: {causal: true}\n", "d_value: 24\nquery_length: 113\n",
        "kv_heads: 1\nquery_length: {min: 1, max: 300}\nmask: {key_lengths: true}\n",
        "query_length: 1\nkey_length: 1000\n",
        "query_length: {min: 1, max: 200}\nkey_length: 77\nquery_offset: end\n"
        "mask: {causal: true, key_lengths: true}\n",
        "query_length: 70\nkey_length: {min: 5, max: 333}\nquery_offset: input\n"
        "mask: {causal: true}\n"}) {
    cases.push_back({attention(more), "attention"});
  }
  cases.push_back({attention("query_length: 200\noutputs: [output, weights]\n"), "weights"});
  const std::string base = block + "d_model: 512\nheads: 8\nquery_length: 512\n";
  const std::string odd =
      block + "d_model: 101\nheads: 3\nd_head: 59\nquery_length: {min: 1, max: 113}\n";
  for (const std::string& config : {base, odd}) {
    for (const char* stage : {"project_qkv", "attention", "project_out"}) {
      cases.push_back({config, stage});
    }
  }
  return cases;
}

// In the hot loops every vector is loaded from neighbours in memory, and every sum stays in
// registers.
void expect_hot_loops(const Case& c, const Machine& machine, const Schedule& schedule,
                      int least_loops) {
  SCOPED_TRACE(machine.target + ", stage " + c.stage + " of\n" + c.config + schedule.text());
  Lowered stage;
  try {
    stage = lowered(plan_of(c.config), c.stage, machine, schedule);
  } catch (const Halide::Error& error) {
    ADD_FAILURE() << error.what();
    return;
  }
  const Facts found(stage.body);
  EXPECT_GE(found.product_loops, least_loops);
  EXPECT_EQ(found.gathers, std::vector<std::string>{});
  EXPECT_EQ(found.spills, std::vector<std::string>{});
  EXPECT_LE(found.most_floats, machine.vector_registers * machine.vector_floats);
  EXPECT_LT(found.most_accumulators, static_cast<size_t>(machine.vector_registers));
  EXPECT_EQ(found.parallel, std::vector<std::string>{});
}

TEST(Loops, HotLoopsLoadWholeVectors) {
  for (const char* target : {"zen5", "x86-64-v3"}) {
    const Machine machine = machine_named(target);
    for (const Case& c : hot_stages()) {
      expect_hot_loops(c, machine, default_schedule(plan_of(c.config), machine, 1), 1);
    }
  }
}

// What check_schedule() lets through, Halide accepts, and its loops are as good.
TEST(Loops, LegalSchedulesLower) {
  const uint64_t seed = test_seed();
  std::mt19937_64 random(seed);
  const std::vector<Case> cases = hot_stages();
  for (int done = 0; done < 40;) {
    const Case& c = cases[random() % cases.size()];
    const Plan plan = plan_of(c.config);
    const Machine machine = machine_named(random() % 2 ? "zen5" : "x86-64-v3");
    Schedule schedule = default_schedule(plan, machine, 1);
    for (StageSchedule& stage : schedule.stages) {
      for (auto& [name, value] : stage.params) {
        for (const ParamInfo& info : stage_space(stage.stage)) {
          if (info.name == name && random() % 2) value = info.values[random() % info.values.size()];
        }
      }
    }
    if (!check_schedule(schedule, plan, machine).empty()) continue;
    SCOPED_TRACE("MHA_TEST_SEED=" + std::to_string(seed) + ", schedule " + std::to_string(done));
    expect_hot_loops(c, machine, schedule, 1);
    ++done;
  }
}

// Every stage of random plans under its default.
TEST(Loops, RandomPlansLower) {
  const uint64_t seed = test_seed();
  std::mt19937_64 random(seed);
  for (int done = 0; done < 25;) {
    const std::optional<std::string> config = random_config(random);
    if (!config) continue;
    const Plan plan = plan_of(*config);
    const Machine machine = machine_named(random() % 2 ? "zen5" : "x86-64-v2");
    const Schedule schedule = default_schedule(plan, machine, 1);
    SCOPED_TRACE("MHA_TEST_SEED=" + std::to_string(seed) + ", plan " + std::to_string(done));
    ASSERT_TRUE(check_schedule(schedule, plan, machine).empty()) << *config << schedule.text();
    for (const Stage& stage : scheduled_program(plan, schedule, machine).stages) {
      if (stage.name.rfind("pack_", 0) == 0) continue;  // no product
      // A sum over one element has no loop.
      expect_hot_loops({*config, stage.name}, machine, schedule, 0);
    }
    ++done;
  }
}

// Scratch grows with L, not with L^2, and no buffer of the workspace is as large as the scores.
TEST(Loops, NothingIsAsLargeAsTheScores) {
  for (const char* more : {"", "mask: {causal: true}\n", "mask: {key_lengths: true}\n"}) {
    SCOPED_TRACE(more);
    int64_t before = 0;
    for (int64_t length : {4096, 8192}) {
      const Lowered stage =
          lowered(attention("query_length: " + std::to_string(length) + "\n" + more), "attention");
      EXPECT_LT(stage.scratch, length * length * 4 / 16) << length;
      if (before > 0) {
        EXPECT_LE(stage.scratch, 2 * before + (64 << 10));
      }
      before = stage.scratch;
    }
  }
}

TEST(Loops, NoBufferHasQueriesAndKeys) {
  for (const auto& [path, plan] : shipped_plans()) {
    const Machine machine = machine_named("zen5");
    const Program program = scheduled_program(plan, default_schedule(plan, machine, 1), machine);
    for (const BufferInfo& buffer : program.buffers) {
      const auto lengths =
          std::count_if(buffer.extents.begin(), buffer.extents.end(), [](const Extent& extent) {
            return extent.symbol == Symbol::kQuery || extent.symbol == Symbol::kKey;
          });
      EXPECT_LE(lengths, 1) << path << ": " << buffer.name;
    }
  }
}

}  // namespace
}  // namespace mha
