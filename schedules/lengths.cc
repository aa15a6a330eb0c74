#include "schedules/lengths.h"

#include <algorithm>
#include <utility>

#include "generator/pipeline/pipeline.h"

namespace mha {

Plan narrowed(const Plan& plan, const Range& query_length) {
  Plan narrow = plan;
  narrow.query_length = query_length;
  if (plan.self_length) narrow.key_length = query_length;
  return narrow;
}

Range served(const std::vector<LengthVariant>& variants, size_t index, const Plan& plan) {
  return {index == 0 ? plan.query_length.min : variants[index - 1].max_query_length + 1,
          variants[index].max_query_length};
}

std::vector<LengthVariant> default_variants(const Plan& plan, const Machine& machine, int threads) {
  // The lengths at which the default changes: one vector of queries, a block of three, and what is
  // so short that the last block weighs more than how it is arranged.
  const int64_t lanes = machine.vector_floats;
  std::vector<LengthVariant> variants;
  int64_t first = plan.query_length.min;
  std::vector<int64_t> ends = {lanes, 3 * lanes, 8 * lanes, plan.query_length.max};
  // Over a cache one query, the most frequent call, has code of its own; few are decoded.
  if (plan.cache) ends = {1, 4, kMostDecodeQueries, 3 * lanes, 8 * lanes, plan.query_length.max};
  std::sort(ends.begin(), ends.end());
  for (const int64_t to : ends) {
    if (to < first || to > plan.query_length.max) continue;
    const Plan own = narrowed(plan, {first, to});
    Schedule schedule = default_schedule(own, machine, threads);
    const bool single = plan.cache && first == 2;
    if (!variants.empty() && !single && variants.back().schedule.stages == schedule.stages) {
      variants.back().max_query_length = to;
    } else {
      variants.push_back({to, std::move(schedule)});
    }
    first = to + 1;
  }
  return variants;
}

std::vector<LengthVariant> for_longest(const Schedule& schedule, const Plan& plan,
                                       const Machine& machine, int threads) {
  std::vector<LengthVariant> variants = default_variants(plan, machine, threads);
  for (LengthVariant& variant : variants) {
    const Schedule own = variant.schedule;
    variant.schedule = schedule;
    if (&variant == &variants.back()) continue;
    variant.schedule.stages = own.stages;
    for (StageSchedule& stage : variant.schedule.stages) {
      if (stage.stage != "attention" && stage.stage != "decode")
        stage = schedule.stage(stage.stage);
    }
  }
  return variants;
}

std::vector<std::string> packed_differences(const Schedule& first, const Schedule& schedule) {
  // Of every stage that has it.
  static const std::string kParam = "panel_vectors";
  const auto panel = [](const StageSchedule& stage) -> std::optional<int64_t> {
    for (const auto& [name, value] : stage.params) {
      if (name == kParam) return value;
    }
    return std::nullopt;
  };
  std::vector<std::string> problems;
  for (const StageSchedule& stage : schedule.stages) {
    const std::optional<int64_t> value = panel(stage);
    const auto other = std::find_if(first.stages.begin(), first.stages.end(),
                                    [&](const StageSchedule& s) { return s.stage == stage.stage; });
    if (!value || other == first.stages.end() || panel(*other) == value) continue;
    problems.push_back(stage.stage + "." + kParam + " = " + std::to_string(*value) +
                       ": weights are packed once for all variants: must be " +
                       std::to_string(panel(*other).value_or(0)) + " as in the first");
  }
  return problems;
}

std::vector<std::string> check_variants(const std::vector<LengthVariant>& variants,
                                        const Plan& plan, const Machine& machine) {
  std::vector<std::string> problems;
  const auto of = [](int64_t to) { return "variant to " + std::to_string(to) + ": "; };
  if (variants.empty()) return {"there is no variant"};
  if (variants.size() > kMaxVariants) {
    problems.push_back(std::to_string(variants.size()) + " variants: at most " +
                       std::to_string(kMaxVariants));
  }
  int64_t before = plan.query_length.min - 1;
  for (const LengthVariant& variant : variants) {
    const int64_t to = variant.max_query_length;
    if (to <= before) {
      problems.push_back(of(to) + "must be more than " + std::to_string(before));
      return problems;
    }
    const Plan own = narrowed(plan, {before + 1, to});
    std::vector<std::string> broken = check_schedule(variant.schedule, own, machine);
    if (variants.size() > 1) {
      for (std::string& text : broken) text = of(to) + text;
    }
    problems.insert(problems.end(), broken.begin(), broken.end());
    for (const std::string& text :
         packed_differences(variants.front().schedule, variant.schedule)) {
      problems.push_back(of(to) + text);
    }
    before = to;
  }
  if (before != plan.query_length.max) {
    problems.push_back(of(before) + "the last must be to " + std::to_string(plan.query_length.max));
  }
  return problems;
}

void settle_variants(std::vector<LengthVariant>& variants, const Plan& plan,
                     const Machine& machine) {
  int64_t before = plan.query_length.min - 1;
  for (LengthVariant& variant : variants) {
    const Plan own = narrowed(plan, {before + 1, variant.max_query_length});
    for (StageSchedule& stage : variant.schedule.stages) {
      if (stage.stage != "attention") continue;
      for (auto& [name, value] : stage.params) {
        if ((name != "softmax_level" && name != "split_keys") || value == 0) continue;
        if (!check_schedule(variant.schedule, own, machine).empty()) value = 0;
      }
    }
    before = variant.max_query_length;
  }
}

}  // namespace mha
