// The schedule space: whatever check_schedule() lets through computes the same as the default does.
// Specs under random legal schedules, held against the reference. MHA_TEST_SEED=N repeats one,
// MHA_TEST_SPECS=N draws N of them.
#include "schedules/space.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "generator/ir/lower.h"
#include "tests/numeric/harness.h"
#include "tests/numeric/random_call.h"
#include "tests/numeric/random_config.h"

namespace mha {
namespace {

constexpr uint64_t kDefaultSeed = 20250118;
constexpr int kShards = 12;

// Small calls, which between them reach what a schedule can break: several blocks of queries and
// keys, remainders of both, masks, ranges, groups of heads, packed sequences, every output.
const std::vector<std::string>& attention_configs() {
  static const std::vector<std::string> configs = {
      "{version: 1, name: t, op: attention, heads: 3, d_head: 64, batch: 2, query_length: 150}",
      "{version: 1, name: t, op: attention, heads: 4, kv_heads: 2, d_head: 40, d_value: 48,"
      " query_length: {min: 1, max: 130}, key_length: {min: 1, max: 300}, query_offset: end,"
      " mask: {causal: true, key_lengths: true}, outputs: [output, weights, lse]}",
      "{version: 1, name: t, op: attention, layout: bhsd, heads: 2, d_head: 32, batch: 2,"
      " query_length: 113, key_length: 577, query_offset: input, outputs: [output, mean_weights],"
      " mask: {window: {left: 60, right: 11}, key_starts: true}}",
      "{version: 1, name: t, op: attention, heads: 2, d_head: 17, query_length: 70,"
      " key_length: 200, mask: {tensor: additive}, outputs: [output, scores_masked]}",
      "{version: 1, name: t, op: attention, heads: 2, d_head: 48, dtype: bf16, query_length: 131,"
      " key_length: 300, query_offset: end, mask: {causal: true, key_lengths: true}}",
      "{version: 1, name: t, op: attention, heads: 2, d_head: 23, dtype: bf16, packed: true,"
      " batch: {min: 1, max: 4}, query_length: {min: 1, max: 90}, outputs: [output, weights, "
      "lse]}"};
  return configs;
}
const std::vector<std::string>& block_configs() {
  static const std::vector<std::string> configs = {
      "{version: 1, name: t, op: block, d_model: 96, heads: 3, batch: 2, query_length: 128,"
      " mask: {causal: true}}",
      "{version: 1, name: t, op: block, d_model: 101, heads: 4, kv_heads: 2, d_head: 32,"
      " d_value: 64, query_length: {min: 1, max: 203}, outputs: [output, lse]}",
      "{version: 1, name: t, op: block, d_model: 64, heads: 2, packed: true,"
      " batch: {min: 1, max: 4}, query_length: {min: 1, max: 90}}",
      "{version: 1, name: t, op: block, d_model: 59, heads: 2, d_head: 32, query_length: 100,"
      " weights: bf16, projection_bias: {q: true, out: true}}",
      "{version: 1, name: t, op: block, d_model: 96, heads: 3, batch: {min: 1, max: 3},"
      " query_length: 70, weights: int8}",
      "{version: 1, name: t, op: block, d_model: 75, heads: 2, d_head: 17, query_length: 90,"
      " dtype: bf16, weights: int8, projection_bias: {q: true, out: true}}",
      "{version: 1, name: t, op: block, d_model: 80, heads: 2, query_length: {min: 60, max: 90},"
      " dtype: f16, weights: f16, packed: true, batch: 2}"};
  return configs;
}

template <typename T>
const T& pick(const std::vector<T>& values, std::mt19937_64& random) {
  return values[random() % values.size()];
}

// A value of a parameter that has few, so that each has its turn.
struct Choice {
  std::string stage, param;  // stage: "attention" or "project"
  int64_t value = 0;
};

std::vector<Choice> choices() {
  std::vector<Choice> list;
  for (const char* stage : {"attention", "project"}) {
    for (const ParamInfo& info : stage_space(stage)) {
      if (info.values.size() > 5) continue;
      for (int64_t value : info.values) list.push_back({stage, info.name, value});
    }
  }
  return list;
}

// A legal schedule far from the default: each stage by itself, as no rule spans two. Stages of the
// choice's kind follow it where a rule does not forbid it.
Schedule random_schedule(const Plan& plan, const Machine& machine, const Choice& choice,
                         std::mt19937_64& random) {
  Schedule schedule = default_schedule(plan, machine, 1);
  for (StageSchedule& stage : schedule.stages) {
    const StageSchedule start = stage;
    const bool follows = stage.stage.starts_with(choice.stage);
    for (int attempt = 0; attempt < 4000; ++attempt) {
      stage = start;
      for (auto& [name, value] : stage.params) {
        for (const ParamInfo& info : stage_space(stage.stage)) {
          if (info.name == name && random() % 2) value = pick(info.values, random);
        }
        if (follows && attempt < 3000 && name == choice.param) value = choice.value;
      }
      if (check_schedule(schedule, plan, machine).empty()) break;
      stage = start;
    }
  }
  return schedule;
}

void check_calls(const TestKernel& kernel, uint64_t seed, Random& random, Tally* tally) {
  for (int which : {0, 2}) {
    check_random_call(
        kernel, which, seed, random, tally, [&](const RandomCall& drawn, const Outputs& outputs) {
          expect_same_bits(
              outputs,
              run_kernel(kernel, drawn.lengths, drawn.inputs, {.threads = 2, .strided = true}),
              "on two threads, strided");
        });
  }
}

struct Drawn {
  std::string yaml;
  Spec spec;
  Schedule schedule;
  bool follows = false;  // some stage has the choice
};

// Some values do not go with some specs (a block packs no keys): a few are tried.
Drawn draw_one(uint64_t seed, const Choice& choice, Random& random) {
  constexpr int kSpecs = 6;
  std::mt19937_64 draw(seed);
  Drawn drawn;
  for (int i = 0; i < kSpecs && !drawn.follows; ++i) {
    const std::vector<std::string>& configs =
        choice.stage == "attention" && draw() % 3 != 0 ? attention_configs() : block_configs();
    drawn.yaml = draw() % 5 == 0 ? random_config(random) : pick(configs, draw);
    drawn.spec = spec_of(drawn.yaml);
    const LowerResult lowered = lower(drawn.spec);
    if (!lowered.plan) {
      throw std::runtime_error(format_diagnostics(lowered.problems, drawn.yaml));
    }
    drawn.schedule = random_schedule(*lowered.plan, host_machine(), choice, draw);
    for (const StageSchedule& stage : drawn.schedule.stages) {
      drawn.follows = drawn.follows || (stage.stage.starts_with(choice.stage) &&
                                        stage.get(choice.param) == choice.value);
    }
  }
  return drawn;
}

// One spec under one schedule; true when some stage followed the choice.
bool check_one(uint64_t seed, const Choice& choice, Tally* tally) {
  Random random(seed, "space");
  SCOPED_TRACE("repeat with: MHA_TEST_SEED=" + std::to_string(seed) +
               " numeric_test --gtest_filter=Space.OneSchedule");
  try {
    const Drawn drawn = draw_one(seed, choice, random);
    SCOPED_TRACE(drawn.yaml + "\n" + drawn.schedule.text());
    GenerateOptions options;
    options.targets = {"host"};
    options.schedule = drawn.schedule;
    check_calls(TestKernel(drawn.yaml, generate(drawn.spec, options)), seed, random, tally);
    return drawn.follows;
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
    return false;
  }
}

// The choice that belongs to a seed.
Choice choice_of(uint64_t seed) {
  const std::vector<Choice> list = choices();
  return list[(seed - kDefaultSeed) % list.size()];
}

class Schedules : public testing::TestWithParam<int> {};

TEST_P(Schedules, AreWithinTheBounds) {
  const uint64_t seed = test_seed(kDefaultSeed);
  const char* text = std::getenv("MHA_TEST_SPECS");
  const int count =
      text != nullptr ? std::max(std::atoi(text), kShards) : static_cast<int>(choices().size());
  Tally tally;
  int followed = 0, drawn = 0;
  for (int i = GetParam(); i < count; i += kShards) {
    const uint64_t one = seed + static_cast<uint64_t>(i);
    followed += check_one(one, choice_of(one), &tally);
    ++drawn;
  }
  EXPECT_GT(tally.compared, 1000 * drawn);
  EXPECT_LT(tally.zeros * 3, tally.compared);
  expect_as_exact_as_plain(tally);
  EXPECT_GE(followed * 3, drawn * 2);
}

INSTANTIATE_TEST_SUITE_P(Space, Schedules, testing::Range(0, kShards));

TEST(Space, OneSchedule) {
  Tally tally;
  const uint64_t seed = test_seed(kDefaultSeed);
  check_one(seed, choice_of(seed), &tally);
}

}  // namespace
}  // namespace mha
