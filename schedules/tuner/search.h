// The search in one stage, apart from how answers are come by: what the tuner and a replay share.
#ifndef MHA_SCHEDULES_TUNER_SEARCH_H_
#define MHA_SCHEDULES_TUNER_SEARCH_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "schedules/tuner/model.h"
#include "schedules/tuner/strategy.h"
#include "schedules/tuner/trial.h"

namespace mha {

// The problem of a stage that starts from `analytic`, with its part of each seed.
StageProblem stage_problem(const Plan& plan, const Machine& machine, int threads,
                           const StageSchedule& analytic, const std::vector<Schedule>& seeds);

struct Proposal {
  StageSchedule schedule;
  std::string text;
  int64_t index = 0;
  std::optional<Trial> trial;  // its answer, once there is one
};

// What trials of the finals are stored under: "attention final".
std::string final_name(const std::string& stage);

// Which proposals are made, and which schedule is the best so far, is a function of the problem,
// the strategy, the seed and the answers: whether these were measured just now or read from a
// database makes no difference.
class StageSearch {
 public:
  static constexpr size_t kFinalists = 5;

  StageSearch(const StageProblem& problem, const std::string& strategy, uint64_t seed,
              bool prune = true);

  const std::string& stage() const { return problem_.stage; }
  // The next ones to be measured; fewer when the space is used up. Those that the model rules out
  // are answered here (kPruned) and not among them, unless `prune` is false.
  std::vector<Proposal> next(int count);
  // Takes the answers of all that have one, in order. Then the best of those that are in all
  // likelihood faster than the incumbent takes its place.
  void settle(const std::vector<Proposal>& proposals);

  // Who is raced once more, longer, before the search ends: of the answers the few that promise
  // most over the default, when a score counts the less the wider its interval is. Without the
  // incumbent, which they race against.
  std::vector<Proposal> finalists() const;
  // The best of those that are in all likelihood faster than the incumbent takes its place.
  void settle_final(const std::vector<Proposal>& finalists);

  const StageSchedule& incumbent() const { return incumbent_; }
  double score() const { return score_; }  // of the incumbent: log gain over the default
  int64_t answered() const { return answered_; }
  int64_t pruned() const { return pruned_; }

 private:
  StageProblem problem_;
  CostModel model_;
  bool prune_;
  std::unique_ptr<Strategy> strategy_;
  StageSchedule incumbent_;
  double score_ = 0;
  std::vector<Proposal> measured_;
  int64_t proposed_ = 0, answered_ = 0, pruned_ = 0;
};

// A search without a machine: a strategy run on stored trials.
struct ReplayResult {
  StageSchedule winner;
  double score = 0;
  int64_t trials = 0;                 // answered from what is stored
  int64_t skipped = 0;                // proposed, but never measured
  std::vector<std::string> answered;  // their candidates, in the order of the proposals
  std::vector<StageSchedule> finalists;
};
// At most `trials` answers, asked for in batches of `batch` as the tuner does. 0: up to the first
// batch that is not stored whole, which is where the search that measured them ended; what that
// batch lacks does not count as skipped.
ReplayResult replay(const StageProblem& problem, const std::string& strategy, uint64_t seed,
                    int64_t trials, int batch, const std::vector<Trial>& stored, bool prune = true);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_SEARCH_H_
