#include "schedules/tuner/search.h"

#include <algorithm>
#include <map>
#include <utility>

namespace mha {
namespace {

// Batches without a single stored answer after which a replay ends.
constexpr int kFruitless = 50;

// A candidate takes the incumbent's place where so much of its interval's half width lies above
// the incumbent's score: in all likelihood it is faster, which is enough to search on from there.
// To be sure is the certificate's business.
constexpr double kLikely = 0.6;

// Standard deviations: of what schedules gain, before anything is known of one; and of a score, as
// a part of the half width of its interval (99 %, shared among five looks, of five to a dozen
// rounds).
constexpr double kUsualGain = 0.05, kDeviation = 0.25;

double expected_gain(const Trial& trial) {
  const double usual = kUsualGain * kUsualGain, deviation = kDeviation * trial.half_width;
  return trial.score * usual / (usual + deviation * deviation);
}

}  // namespace

StageProblem stage_problem(const Plan& plan, const Machine& machine, int threads,
                           const StageSchedule& analytic, const std::vector<Schedule>& seeds) {
  StageProblem problem{plan, machine, threads, analytic.stage, analytic, {}, {}};
  for (const Schedule& seed : seeds) {
    for (const StageSchedule& stage : seed.stages) {
      if (stage.stage == analytic.stage) problem.seeds.push_back(stage);
    }
  }
  return problem;
}

StageSearch::StageSearch(const StageProblem& problem, const std::string& strategy, uint64_t seed,
                         bool prune)
    : problem_(problem),
      model_(problem),
      prune_(prune),
      strategy_(make_strategy(strategy, problem, seed)),
      incumbent_(problem.analytic) {}

std::vector<Proposal> StageSearch::next(int count) {
  std::vector<Proposal> proposals;
  while (static_cast<int>(proposals.size()) < count) {
    const std::vector<StageSchedule> proposed =
        strategy_->propose(count - static_cast<int>(proposals.size()));
    if (proposed.empty()) break;
    for (const StageSchedule& schedule : proposed) {
      Proposal proposal{schedule, candidate_text(schedule), proposed_++, std::nullopt};
      const std::optional<std::string> cause = prune_ ? model_.prunes(schedule) : std::nullopt;
      if (cause) {
        Trial trial;
        trial.stage = problem_.stage;
        trial.candidate = proposal.text;
        trial.outcome = Outcome::kPruned;
        trial.detail = *cause;
        strategy_->tell(schedule, trial);
        ++pruned_;
      } else {
        proposals.push_back(std::move(proposal));
      }
    }
  }
  return proposals;
}

void StageSearch::settle(const std::vector<Proposal>& proposals) {
  const Proposal* best = nullptr;
  for (const Proposal& proposal : proposals) {
    if (!proposal.trial) continue;
    const Trial& trial = *proposal.trial;
    strategy_->tell(proposal.schedule, trial);
    ++answered_;
    if (trial.outcome == Outcome::kMeasured) measured_.push_back(proposal);
    const bool faster =
        trial.outcome == Outcome::kMeasured && trial.score - kLikely * trial.half_width > score_;
    if (faster && (best == nullptr || trial.score > best->trial->score)) best = &proposal;
  }
  if (best == nullptr) return;
  incumbent_ = best->schedule;
  score_ = best->trial->score;
}

std::string final_name(const std::string& stage) { return stage + " final"; }

std::vector<Proposal> StageSearch::finalists() const {
  std::vector<Proposal> best;
  for (const Proposal& proposal : measured_) {
    const bool hope = expected_gain(*proposal.trial) > 0;
    if (hope && proposal.schedule != incumbent_) best.push_back(proposal);
  }
  std::stable_sort(best.begin(), best.end(), [](const Proposal& a, const Proposal& b) {
    return expected_gain(*a.trial) > expected_gain(*b.trial);
  });
  if (best.size() > kFinalists) best.resize(kFinalists);
  for (Proposal& proposal : best) proposal.trial.reset();
  return best;
}

void StageSearch::settle_final(const std::vector<Proposal>& finalists) {
  const Proposal* best = nullptr;
  for (const Proposal& proposal : finalists) {
    if (!proposal.trial || proposal.trial->outcome != Outcome::kMeasured) continue;
    const Trial& trial = *proposal.trial;
    const bool faster = trial.score - kLikely * trial.half_width > score_;
    if (faster && (best == nullptr || trial.score > best->trial->score)) best = &proposal;
  }
  if (best == nullptr) return;
  incumbent_ = best->schedule;
  score_ = best->trial->score;
}

ReplayResult replay(const StageProblem& problem, const std::string& strategy, uint64_t seed,
                    int64_t trials, int batch, const std::vector<Trial>& stored, bool prune) {
  std::map<std::string, const Trial*> known, finals;
  for (const Trial& trial : stored) {
    if (trial.stage == problem.stage) known.emplace(trial.candidate, &trial);
    if (trial.stage == final_name(problem.stage)) finals.emplace(trial.candidate, &trial);
  }
  StageSearch search(problem, strategy, seed, prune);
  ReplayResult result;
  const bool open = trials == 0;
  for (int fruitless = 0; (open || search.answered() < trials) && fruitless < kFruitless;) {
    const int64_t before = search.answered();
    std::vector<Proposal> proposals =
        search.next(static_cast<int>(open ? batch : std::min<int64_t>(batch, trials - before)));
    if (proposals.empty()) break;
    int64_t skipped = 0;
    for (Proposal& proposal : proposals) {
      const auto found = known.find(proposal.text);
      if (found == known.end()) {
        ++skipped;
      } else {
        proposal.trial = *found->second;
        result.answered.push_back(proposal.text);
      }
    }
    search.settle(proposals);
    if (open && skipped > 0) break;
    result.skipped += skipped;
    fruitless = search.answered() == before ? fruitless + 1 : 0;
  }
  std::vector<Proposal> finalists = search.finalists();
  for (Proposal& proposal : finalists) {
    const auto found = finals.find(proposal.text);
    if (found != finals.end()) proposal.trial = *found->second;
    result.finalists.push_back(proposal.schedule);
  }
  search.settle_final(finalists);
  result.winner = search.incumbent();
  result.score = search.score();
  result.trials = search.answered();
  return result;
}

}  // namespace mha
