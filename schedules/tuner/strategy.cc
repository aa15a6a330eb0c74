#include "schedules/tuner/strategy.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <set>
#include <stdexcept>

#include "schedules/tuner/candidates.h"
#include "schedules/tuner/model.h"
#include "schedules/tuner/random.h"
#include "schedules/tuner/surrogate.h"

namespace mha {
namespace {

// Spaces up to this size are listed; of larger ones a strategy sees what it comes across.
constexpr int64_t kListed = 3000;
constexpr int kSampled = 800;
// Random tries in a row that find nothing new: the space is as good as used up.
constexpr int kBarren = 500;

// Remembers what was proposed.
class Base : public Strategy {
 public:
  Base(const StageProblem& problem, uint64_t seed)
      : problem_(problem), candidates_(problem), random_(seed) {
    proposed_.insert(candidate_text(problem.analytic));
  }
  void tell(const StageSchedule&, const Trial&) override {}

 protected:
  bool fresh(const StageSchedule& schedule) {
    return proposed_.insert(candidate_text(schedule)).second;
  }
  bool seen(const StageSchedule& schedule) const {
    return proposed_.count(candidate_text(schedule)) > 0;
  }

  StageProblem problem_;
  Candidates candidates_;
  Random random_;

 private:
  std::set<std::string> proposed_;
};

// All of them, in the order of the space.
class Exhaustive : public Base {
 public:
  using Base::Base;
  std::vector<StageSchedule> propose(int count) override {
    std::vector<StageSchedule> found;
    while (static_cast<int>(found.size()) < count) {
      if (used_ == waiting_.size() && !refill()) break;
      const StageSchedule& next = waiting_[used_++];
      if (fresh(next)) found.push_back(next);
    }
    return found;
  }

 private:
  // The next few thousand.
  bool refill() {
    listed_ += static_cast<int64_t>(waiting_.size());
    waiting_.clear();
    used_ = 0;
    int64_t index = 0;
    candidates_.for_each([&](const StageSchedule& schedule) {
      if (index++ >= listed_) waiting_.push_back(schedule);
      return static_cast<int64_t>(waiting_.size()) < kListed;
    });
    return !waiting_.empty();
  }

  std::vector<StageSchedule> waiting_;
  size_t used_ = 0;
  int64_t listed_ = 0;  // before those that wait
};

class RandomSearch : public Base {
 public:
  RandomSearch(const StageProblem& problem, uint64_t seed)
      : Base(problem, seed), listed_(candidates_.all(kListed)) {}
  std::vector<StageSchedule> propose(int count) override {
    std::vector<StageSchedule> found;
    int barren = 0;
    while (static_cast<int>(found.size()) < count && barren < kBarren) {
      std::optional<StageSchedule> next = draw();
      if (!next) break;
      if (fresh(*next)) {
        found.push_back(*std::move(next));
        barren = 0;
      } else {
        ++barren;
      }
    }
    return found;
  }

 private:
  std::optional<StageSchedule> draw() {
    if (!listed_) return candidates_.random(random_);
    if (listed_->empty()) return std::nullopt;
    std::swap((*listed_)[random_.below(static_cast<int64_t>(listed_->size()))], listed_->back());
    std::optional<StageSchedule> drawn = listed_->back();
    listed_->pop_back();
    return drawn;
  }

  std::optional<std::vector<StageSchedule>> listed_;
};

// Seeds first; then the best by what the cost model and all answers so far let expect, out of the
// neighbourhood of the best, their offspring, and what chance finds.
class Evolution : public Base {
 public:
  Evolution(const StageProblem& problem, uint64_t seed)
      : Base(problem, seed), model_(problem), analytic_cost_(model_.cost(problem.analytic)) {
    told_.push_back({problem.analytic, {candidates_.places(problem.analytic), 0, 0}});
    for (const StageSchedule& wanted : problem.seeds) {
      if (std::optional<StageSchedule> near = candidates_.nearest(wanted)) seeds_.push_back(*near);
    }
    if (auto listed = candidates_.all(kListed)) {
      for (const StageSchedule& schedule : *listed) add(schedule);
      listed_ = true;
    } else {
      for (int i = 0; i < kSampled; ++i) {
        if (auto schedule = candidates_.random(random_)) add(*schedule);
      }
    }
  }

  std::vector<StageSchedule> propose(int count) override {
    std::vector<StageSchedule> found;
    while (next_seed_ < seeds_.size() && static_cast<int>(found.size()) < count) {
      const StageSchedule& seed = seeds_[next_seed_++];
      if (fresh(seed)) found.push_back(seed);
    }
    if (static_cast<int>(found.size()) == count) return found;
    if (!listed_) breed();
    choose(count, found);
    return found;
  }

  void tell(const StageSchedule& schedule, const Trial& trial) override {
    // A rejected one is as bad as a slow one, and so are its neighbours until shown otherwise.
    const double gain =
        trial.outcome == Outcome::kMeasured ? std::clamp(trial.score, -kWorst, kWorst) : -kWorst;
    told_.push_back({schedule, {candidates_.places(schedule), prior(schedule), gain}});
  }

 private:
  struct Told {
    StageSchedule schedule;
    Surrogate::Sample sample;
  };
  struct Known {  // may be proposed
    StageSchedule schedule;
    std::vector<int> places;
    double prior;
  };
  static constexpr double kWorst = 0.7;
  static constexpr int kElite = 6;
  static constexpr size_t kRemembered = 160;  // samples of the surrogate
  static constexpr size_t kConsidered = 400;  // candidates of a choice

  double prior(const StageSchedule& schedule) const {
    return std::clamp(std::log(analytic_cost_ / model_.cost(schedule)), -kWorst, kWorst);
  }

  void add(const StageSchedule& schedule) {
    if (seen(schedule) || !known_texts_.insert(candidate_text(schedule)).second) return;
    if (model_.prunes(schedule)) return;
    known_.push_back({schedule, candidates_.places(schedule), prior(schedule)});
  }

  std::vector<const Told*> elite() const {
    std::vector<const Told*> best;
    for (const Told& told : told_) best.push_back(&told);
    std::stable_sort(best.begin(), best.end(),
                     [](const Told* a, const Told* b) { return a->sample.gain > b->sample.gain; });
    if (best.size() > kElite) best.resize(kElite);
    return best;
  }

  // Neighbours of the best, children of two of them, and children's neighbours.
  void breed() {
    const std::vector<const Told*> best = elite();
    for (const Told* told : best) {
      if (!bred_.insert(candidate_text(told->schedule)).second) continue;
      for (const StageSchedule& schedule : candidates_.neighbours(told->schedule)) add(schedule);
    }
    const auto parents = static_cast<int64_t>(best.size());
    for (int i = 0; i < 24; ++i) {
      const StageSchedule& a = best[random_.below(parents)]->schedule;
      const StageSchedule& b = best[random_.below(parents)]->schedule;
      std::optional<StageSchedule> child = candidates_.crossover(a, b, random_);
      if (!child) continue;
      add(*child);
      if (i % 4 == 0) {  // mutated
        const std::vector<StageSchedule> around = candidates_.neighbours(*child);
        if (!around.empty()) {
          add(around[random_.below(static_cast<int64_t>(around.size()))]);
        }
      }
    }
    for (int i = 0; i < 40; ++i) {
      if (auto schedule = candidates_.random(random_)) add(*schedule);
    }
  }

  Surrogate surrogate() const {
    std::vector<Surrogate::Sample> samples;
    for (const Told& told : told_) samples.push_back(told.sample);
    if (samples.size() > kRemembered) {
      std::stable_sort(samples.begin(), samples.end(),
                       [](const auto& a, const auto& b) { return a.gain > b.gain; });
      samples.resize(kRemembered);
    }
    return Surrogate(std::move(samples));
  }

  // Fills `found` up: the surest first, then more and more for what is unknown about a candidate.
  void choose(int count, std::vector<StageSchedule>& found) {
    std::erase_if(known_, [&](const Known& known) { return seen(known.schedule); });
    // Of many, those that the model likes and the newest, which are near the best.
    std::vector<size_t> considered(known_.size());
    for (size_t i = 0; i < considered.size(); ++i) considered[i] = i;
    if (considered.size() > 2 * kConsidered) {
      std::stable_sort(considered.begin(), considered.end() - kConsidered,
                       [&](size_t a, size_t b) { return known_[a].prior > known_[b].prior; });
      considered.erase(considered.begin() + kConsidered, considered.end() - kConsidered);
    }
    const Surrogate surrogate = this->surrogate();
    std::vector<Surrogate::Guess> guesses;
    for (size_t i : considered)
      guesses.push_back(surrogate.guess(known_[i].places, known_[i].prior));
    static constexpr double kCuriosity[] = {0, 1, 0.3, 2, 0.6, 1.5};
    std::vector<char> taken(considered.size());
    for (int slot = 0; static_cast<int>(found.size()) < count; ++slot) {
      const double curiosity = kCuriosity[slot % std::size(kCuriosity)];
      size_t best = considered.size();
      double best_value = 0;
      for (size_t i = 0; i < considered.size(); ++i) {
        if (taken[i]) continue;
        const double value = guesses[i].mean + curiosity * guesses[i].deviation;
        if (best == considered.size() || value > best_value) {
          best = i;
          best_value = value;
        }
      }
      if (best == considered.size()) return;
      taken[best] = 1;
      const StageSchedule& schedule = known_[considered[best]].schedule;
      if (fresh(schedule)) found.push_back(schedule);
    }
  }

  CostModel model_;
  double analytic_cost_;
  std::vector<StageSchedule> seeds_;
  size_t next_seed_ = 0;
  std::vector<Told> told_;
  std::vector<Known> known_;
  std::set<std::string> known_texts_, bred_;
  bool listed_ = false;
};

}  // namespace

const std::vector<std::string>& strategy_names() {
  static const std::vector<std::string> names = {"evolution", "random", "exhaustive"};
  return names;
}

std::unique_ptr<Strategy> make_strategy(const std::string& name, const StageProblem& problem,
                                        uint64_t seed) {
  if (name == "evolution") return std::make_unique<Evolution>(problem, seed);
  if (name == "random") return std::make_unique<RandomSearch>(problem, seed);
  if (name == "exhaustive") return std::make_unique<Exhaustive>(problem, seed);
  throw std::invalid_argument("no strategy is called " + name);
}

}  // namespace mha
