#include "tests/numeric/decode_tasks.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <utility>

#include "generator/ir/lower.h"
#include "schedules/lengths.h"

namespace mha {
namespace {

std::atomic<int64_t> tasks;
// What is counted in each variant.
std::array<mha_stage_function, MHA_MAX_VARIANTS> counted;

template <size_t kVariant>
int count_and_run(void** arguments) {
  tasks.fetch_add(1, std::memory_order_relaxed);
  return counted[kVariant](arguments);
}

template <size_t... kVariants>
constexpr std::array<mha_stage_function, sizeof...(kVariants)> counting(
    std::index_sequence<kVariants...>) {
  return {count_and_run<kVariants>...};
}

}  // namespace

Generated generate_with_split(const std::string& yaml, int64_t split) {
  const Spec spec = spec_of(yaml);
  const Plan plan = *lower(spec).plan;
  const Machine machine = host_machine();
  GenerateOptions options;
  options.threads = 1;
  options.variants = default_variants(plan, machine, 1);
  for (LengthVariant& variant : options.variants) {
    for (StageSchedule& stage : variant.schedule.stages) {
      for (auto& [name, value] : stage.params) {
        if (stage.stage == "decode" && name == "split") value = split;
      }
    }
  }
  EXPECT_EQ(check_variants(options.variants, plan, machine), std::vector<std::string>());
  return generate(spec, options);
}

TaskCounter::TaskCounter(TestKernel& kernel, const std::string& stage)
    : kernel_(kernel.library().kernel()),
      variants_(kernel_.variants, kernel_.variants + kernel_.variant_count) {
  constexpr auto kCounting = counting(std::make_index_sequence<MHA_MAX_VARIANTS>());
  tasks = 0;
  for (size_t v = 0; v < variants_.size(); ++v) {
    const mha_variant& variant = variants_[v];
    stages_.emplace_back(variant.stages, variant.stages + variant.stage_count);
    for (mha_stage& one : stages_.back()) {
      if (one.name != stage) continue;
      counted[v] = one.run;
      one.run = kCounting[v];
    }
    variants_[v].stages = stages_.back().data();
  }
  kernel_.variants = variants_.data();
  kernel.use(kernel_);
}

int64_t TaskCounter::count() const { return tasks; }

}  // namespace mha
