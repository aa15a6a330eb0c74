// What a schedule should cost, from counting: multiply-adds per port, loads, chains of sums, bytes
// moved between caches, rows and keys computed for nothing.
#ifndef MHA_SCHEDULES_TUNER_MODEL_H_
#define MHA_SCHEDULES_TUNER_MODEL_H_

#include <optional>
#include <string>

#include "schedules/tuner/strategy.h"

namespace mha {

// A rough ranking, not a prediction: good for choosing what to measure first, and for leaving out
// what is far behind.
class CostModel {
 public:
  explicit CostModel(const StageProblem& problem);
  // Cycles of one call of the stage, roughly. Only ratios mean anything.
  double cost(const StageSchedule& schedule) const;
  // Why the candidate need not be built: the model puts it far behind the analytic default, or it
  // leaves too little to share out for threads.
  std::optional<std::string> prunes(const StageSchedule& schedule) const;

 private:
  double attention(const StageSchedule& s) const;
  double decode(const StageSchedule& s) const;
  double projection(const StageSchedule& s) const;
  double step(double rows, double vectors, double unroll) const;
  double idle(double tasks) const;
  struct ProjectionShape {
    double columns = 0, depth = 0, rows = 0, sequences = 1;
  };
  ProjectionShape shape_of(const std::string& stage) const;
  // Of the stage: what threads share out.
  double tasks(const StageSchedule& schedule) const;

  const Plan& plan_;
  const Machine& machine_;
  int threads_;
  double analytic_ = 0, analytic_tasks_ = 0;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_MODEL_H_
