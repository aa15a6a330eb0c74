// What the strategies propose, on landscapes that are made up: the cost model bent by effects that
// it knows nothing of, with noise.
#include "schedules/tuner/strategy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>
#include <stdexcept>

#include "schedules/tuner/candidates.h"
#include "schedules/tuner/model.h"
#include "tests/tuner/problems.h"

namespace mha {
namespace {

// A repeatable number in [-1, 1) for a text.
double quirk(const std::string& text, uint64_t seed) {
  uint64_t hash = 1469598103934665603u ^ (seed * 0x9e3779b97f4a7c15u);
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  hash ^= hash >> 32;
  hash *= 0xd6e8feb86659fd93u;
  hash ^= hash >> 32;
  return static_cast<double>(hash >> 11) * 0x1p-52 - 1;
}

// Log gains over the analytic default.
class Landscape {
 public:
  Landscape(const Problem& problem, uint64_t seed)
      : model_(problem.get()), seed_(seed), analytic_(raw(problem.get().analytic)) {}
  double gain(const StageSchedule& s) const { return raw(s) - analytic_; }
  Trial trial(const StageSchedule& s) const {
    Trial trial;
    trial.stage = s.stage;
    trial.candidate = candidate_text(s);
    trial.score = gain(s) + 0.006 * quirk(trial.candidate, seed_ + 1);
    trial.log_gain = trial.score;
    trial.half_width = 0.006;
    return trial;
  }

 private:
  double raw(const StageSchedule& s) const {
    double log = -0.7 * std::log(model_.cost(s));
    for (size_t i = 0; i < s.params.size(); ++i) {
      const std::string one = s.params[i].first + std::to_string(s.params[i].second);
      log += 0.05 * quirk(one, seed_);
      for (size_t j = 0; j < i; ++j) {
        log += 0.015 * quirk(one + s.params[j].first + std::to_string(s.params[j].second), seed_);
      }
    }
    return log + 0.01 * quirk(candidate_text(s), seed_);
  }
  CostModel model_;
  uint64_t seed_;
  double analytic_ = 0;
};

// The best true gain within so many trials.
double best_of(const std::string& name, const Problem& problem, const Landscape& landscape,
               uint64_t seed, int trials) {
  const auto strategy = make_strategy(name, problem.get(), seed);
  double best = 0;
  for (int done = 0; done < trials;) {
    const auto proposals = strategy->propose(std::min(6, trials - done));
    if (proposals.empty()) break;
    for (const StageSchedule& s : proposals) {
      best = std::max(best, landscape.gain(s));
      strategy->tell(s, landscape.trial(s));
      ++done;
    }
  }
  return best;
}

std::vector<std::string> sequence(const std::string& name, const Problem& problem, uint64_t seed,
                                  int batches) {
  const Landscape landscape(problem, 5);
  const auto strategy = make_strategy(name, problem.get(), seed);
  std::vector<std::string> all;
  for (int i = 0; i < batches; ++i) {
    for (const StageSchedule& s : strategy->propose(6)) {
      all.push_back(candidate_text(s));
      strategy->tell(s, landscape.trial(s));
    }
  }
  return all;
}

const Subspace kPair = {{"query_block", {32, 64, 96, 128}},
                        {"key_block", {96, 128, 256, 512}},
                        {"key_tile", {4, 6, 8, 12}},
                        {"query_vectors", {1, 2}},
                        {"value_rows", {4, 8, 12}},
                        {"value_vectors", {1, 2}},
                        {"width_unroll", {4}},
                        {"key_unroll", {2}},
                        {"pack_keys", {0}},
                        {"pack_values", {0, 1}},
                        {"prefetch", {0}},
                        {"softmax_level", {0}},
                        {"split_keys", {0}},
                        {"exp", {0}}};

TEST(Strategy, SameSeedSameSequenceAndNothingTwice) {
  for (const std::string& name : strategy_names()) {
    for (const char* stage : {"attention", "project_out"}) {
      const Problem problem(kBlock, stage);
      const auto one = sequence(name, problem, 3, 6);
      EXPECT_EQ(one.size(), 36u) << name;
      EXPECT_EQ(one, sequence(name, problem, 3, 6)) << name;
      if (name != "exhaustive") {
        EXPECT_NE(one, sequence(name, problem, 4, 6)) << name;
      }
      std::set<std::string> different(one.begin(), one.end());
      EXPECT_EQ(different.size(), one.size()) << name;
      EXPECT_EQ(different.count(candidate_text(problem.get().analytic)), 0u) << name;
      const Candidates candidates(problem.get());
    }
  }
  EXPECT_THROW(make_strategy("luck", Problem(kBlock, "attention").get(), 1), std::invalid_argument);
}

TEST(Strategy, ASpaceIsUsedUp) {
  const Subspace subspace = {{"row_tile", {6, 8}},      {"panel_vectors", {1, 2}},
                             {"depth_unroll", {2, 4}},  {"task_panels", {1}},
                             {"task_rows", {480, 960}}, {"prefetch", {0}}};
  const Problem problem(kBlock, "project_out", subspace);
  const auto listed = Candidates(problem.get()).all(1000).value();
  std::set<std::string> legal;
  for (const StageSchedule& s : listed) legal.insert(candidate_text(s));
  legal.erase(candidate_text(problem.get().analytic));
  for (const std::string& name : strategy_names()) {
    const auto all = sequence(name, problem, 1, 20);
    EXPECT_EQ(std::set<std::string>(all.begin(), all.end()), legal) << name;
    EXPECT_EQ(all.size(), legal.size()) << name;
  }
}

TEST(Strategy, SeedsComeFirst) {
  Problem problem(kBlock, "project_out");
  StageProblem seeded = problem.get();
  StageSchedule seed = seeded.analytic;
  for (auto& [name, value] : seed.params) {
    if (name == "depth_unroll") value = 8;
  }
  seeded.seeds = {seed};
  EXPECT_EQ(make_strategy("evolution", seeded, 9)->propose(3).at(0), seed);
}

// What the search is for: 64 trials of a few hundred, at most 3 % from the best.
TEST(Strategy, EvolutionFindsTheBestWithin64Trials) {
  struct Place {
    const char* config;
    const char* stage;
    Subspace subspace;
  };
  const Subspace rows = {{"row_tile", {3, 4, 5, 6, 8, 10, 12}},
                         {"panel_vectors", {1, 2, 4}},
                         {"task_panels", {1, 2, 4}},
                         {"depth_unroll", {2, 4}},
                         {"task_rows", {240, 480, 960}},
                         {"prefetch", {0}}};
  double worst = 0, sum = 0, random_sum = 0;
  int cases = 0, within = 0;
  for (const Place& place :
       {Place{kAttention, "attention", kPair},
        Place{kCausal,
              "attention",
              {{"query_block", {32, 64, 96, 192}},
               {"key_block", {96, 192, 384}},
               {"key_tile", {4, 6, 8, 12}},
               {"query_vectors", {1, 2, 3}},
               {"value_rows", {4, 8, 16}},
               {"value_vectors", {1, 2, 3}},
               {"width_unroll", {4}},
               {"key_unroll", {2}},
               {"pack_keys", {0}},
               {"pack_values", {0}},
               {"prefetch", {0}},
               {"softmax_level", {0}},
               {"split_keys", {0}},
               {"exp", {0}}}},
        Place{kBlock, "project_out", rows}, Place{kBlock, "project_qkv", rows}}) {
    const Problem problem(place.config, place.stage, place.subspace);
    const auto listed = Candidates(problem.get()).all(100000).value();
    ASSERT_GE(listed.size(), place.stage == std::string("project_qkv") ? 60u : 200u) << place.stage;
    for (uint64_t terrain = 1; terrain <= 5; ++terrain) {
      const Landscape landscape(problem, terrain);
      double best = 0;
      for (const StageSchedule& s : listed) best = std::max(best, landscape.gain(s));
      for (uint64_t seed = 1; seed <= 3; ++seed) {
        const double lost = best - best_of("evolution", problem, landscape, seed, 64);
        worst = std::max(worst, lost);
        sum += lost;
        random_sum += best - best_of("random", problem, landscape, seed, 64);
        within += lost <= 0.03;
        ++cases;
      }
    }
  }
  std::printf("64 trials: evolution loses %.2f %% (worst %.2f %%), random search %.2f %%\n",
              100 * sum / cases, 100 * worst, 100 * random_sum / cases);
  EXPECT_LE(worst, 0.03) << within << " of " << cases << " within 3 %";
  EXPECT_LT(sum, random_sum / 2);
}

// Of a space far too large to list.
TEST(Strategy, EvolutionBeatsRandomSearchInTheWholeSpace) {
  double gain = 0, random_gain = 0;
  const Problem problem(kAttention, "attention");
  for (uint64_t terrain = 1; terrain <= 3; ++terrain) {
    const Landscape landscape(problem, terrain);
    gain += best_of("evolution", problem, landscape, terrain, 64);
    random_gain += best_of("random", problem, landscape, terrain, 64);
  }
  EXPECT_GT(gain, random_gain + 0.1);
}

}  // namespace
}  // namespace mha
