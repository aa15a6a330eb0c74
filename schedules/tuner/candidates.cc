#include "schedules/tuner/candidates.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <set>
#include <stdexcept>

namespace mha {
namespace {

// How far another parameter may be moved to mend a broken rule.
constexpr int kMendingSteps = 3;
// Tries before random() goes down the tree, which always finds one but prefers thin branches.
constexpr int kTries = 200;

}  // namespace

Candidates::Candidates(const StageProblem& problem)
    : plan_(problem.plan),
      machine_(problem.machine),
      stage_(problem.stage),
      params_(stage_space(problem.stage)) {
  for (const auto& [name, values] : problem.subspace) {
    const auto param = std::find_if(params_.begin(), params_.end(),
                                    [&](const ParamInfo& info) { return info.name == name; });
    if (param == params_.end()) {
      throw std::invalid_argument(stage_ + " has no parameter " + name);
    }
    std::vector<int64_t> allowed;
    for (int64_t value : param->values) {
      if (std::find(values.begin(), values.end(), value) != values.end()) allowed.push_back(value);
    }
    if (allowed.size() != std::set<int64_t>(values.begin(), values.end()).size() ||
        allowed.empty()) {
      throw std::invalid_argument(stage_ + "." + name +
                                  ": the subspace has values that it has not");
    }
    param->values = allowed;
  }
}

StageSchedule Candidates::schedule_of(const Places& places) const {
  StageSchedule schedule{stage_, {}};
  schedule.params.reserve(params_.size());
  for (size_t i = 0; i < params_.size(); ++i) {
    schedule.params.emplace_back(params_[i].name, params_[i].values[places[i]]);
  }
  return schedule;
}

std::vector<int> Candidates::places(const StageSchedule& schedule) const {
  Places places;
  for (const ParamInfo& info : params_) {
    const int64_t wanted = schedule.get(info.name);
    int best = 0;
    for (size_t i = 1; i < info.values.size(); ++i) {
      if (std::llabs(info.values[i] - wanted) < std::llabs(info.values[best] - wanted)) {
        best = static_cast<int>(i);
      }
    }
    places.push_back(best);
  }
  return places;
}

bool Candidates::legal(const Places& places) const {
  return may_become_legal(schedule_of(places), plan_, machine_);  // values are of the table
}

bool Candidates::contains(const StageSchedule& schedule) const {
  return schedule.stage == stage_ && schedule.params.size() == params_.size() &&
         schedule_of(places(schedule)) == schedule &&
         check_stage(schedule, plan_, machine_).empty();
}

// Depth first over the values of a parameter, whose places `order` rearranges. False: ended by
// `visit`.
bool Candidates::descend(StageSchedule& partial, const Order& order,
                         const std::function<bool(const StageSchedule&)>& visit) const {
  const size_t depth = partial.params.size();
  if (depth == params_.size()) return visit(partial);
  std::vector<int> places(params_[depth].values.size());
  std::iota(places.begin(), places.end(), 0);
  order(static_cast<int>(depth), places);
  for (int place : places) {
    partial.params.emplace_back(params_[depth].name, params_[depth].values[place]);
    const bool go_on =
        !may_become_legal(partial, plan_, machine_) || descend(partial, order, visit);
    partial.params.pop_back();
    if (!go_on) return false;
  }
  return true;
}

void Candidates::for_each(const std::function<bool(const StageSchedule&)>& visit) const {
  StageSchedule partial{stage_, {}};
  descend(partial, [](int, std::vector<int>&) {}, visit);
}

// The one that comes first when values have this order.
std::optional<StageSchedule> Candidates::first(const Order& order) const {
  std::optional<StageSchedule> found;
  StageSchedule partial{stage_, {}};
  descend(partial, order, [&](const StageSchedule& schedule) {
    found = schedule;
    return false;
  });
  return found;
}

std::optional<std::vector<StageSchedule>> Candidates::all(int64_t most) const {
  std::vector<StageSchedule> found;
  for_each([&](const StageSchedule& schedule) {
    found.push_back(schedule);
    return static_cast<int64_t>(found.size()) <= most;
  });
  if (static_cast<int64_t>(found.size()) > most) return std::nullopt;
  return found;
}

std::optional<StageSchedule> Candidates::random(Random& random) const {
  for (int i = 0; i < kTries; ++i) {
    Places places;
    for (const ParamInfo& info : params_) {
      places.push_back(random.below(static_cast<int64_t>(info.values.size())));
    }
    if (legal(places)) return schedule_of(places);
  }
  return first([&](int, std::vector<int>& order) {
    for (size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[random.below(static_cast<int64_t>(i))]);
    }
  });
}

// The places themselves where they are legal; else with the fewest steps of one other parameter, or
// of two. `kept` stays (-1: none must).
std::optional<Candidates::Places> Candidates::mended(const Places& places, int kept) const {
  if (legal(places)) return places;
  const int count = static_cast<int>(params_.size());
  Places moved = places;
  // Moves `param` by `steps` there and back; true when that is within its values.
  auto move = [&](int param, int steps) {
    const int place = places[param] + steps;
    if (param == kept || place < 0 || place >= static_cast<int>(params_[param].values.size())) {
      return false;
    }
    moved[param] = place;
    return true;
  };
  std::vector<int> steps;
  for (int i = 1; i <= kMendingSteps; ++i) steps.insert(steps.end(), {-i, i});
  for (int by : steps) {
    for (int param = 0; param < count; ++param) {
      const bool found = move(param, by) && legal(moved);
      if (found) return moved;
      moved[param] = places[param];
    }
  }
  for (int a_by : steps) {
    for (int b_by : steps) {
      for (int a = 0; a < count; ++a) {
        if (!move(a, a_by)) continue;
        for (int b = a + 1; b < count; ++b) {
          const bool found = move(b, b_by) && legal(moved);
          if (found) return moved;
          moved[b] = places[b];
        }
        moved[a] = places[a];
      }
    }
  }
  return std::nullopt;
}

std::vector<StageSchedule> Candidates::neighbours(const StageSchedule& schedule) const {
  std::vector<StageSchedule> found;
  const Places here = places(schedule);
  std::set<Places> seen = {here};
  for (size_t param = 0; param < params_.size(); ++param) {
    for (int step : {-1, 1}) {
      Places places = here;
      places[param] += step;
      if (places[param] < 0 || places[param] >= static_cast<int>(params_[param].values.size())) {
        continue;
      }
      const std::optional<Places> mended = this->mended(places, static_cast<int>(param));
      if (mended && seen.insert(*mended).second) found.push_back(schedule_of(*mended));
    }
  }
  return found;
}

std::optional<StageSchedule> Candidates::crossover(const StageSchedule& a, const StageSchedule& b,
                                                   Random& random) const {
  const Places one = places(a), other = places(b);
  Places child;
  for (size_t i = 0; i < params_.size(); ++i) {
    child.push_back(random.below(2) == 0 ? one[i] : other[i]);
  }
  const std::optional<Places> mended = this->mended(child, -1);
  if (!mended) return std::nullopt;
  return schedule_of(*mended);
}

std::optional<StageSchedule> Candidates::nearest(const StageSchedule& schedule) const {
  const Places wanted = places(schedule);
  if (const std::optional<Places> mended = this->mended(wanted, -1)) return schedule_of(*mended);
  // Far from everything legal: the first parameters stay as near as they can.
  return first([&](int param, std::vector<int>& order) {
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return std::abs(a - wanted[param]) < std::abs(b - wanted[param]);
    });
  });
}

}  // namespace mha
