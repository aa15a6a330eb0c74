// Who proposes the next schedules of a stage.
#ifndef MHA_SCHEDULES_TUNER_STRATEGY_H_
#define MHA_SCHEDULES_TUNER_STRATEGY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "schedules/machine.h"
#include "schedules/tuner/trial.h"

namespace mha {

// Everything a strategy may know of its stage.
struct StageProblem {
  const Plan& plan;
  const Machine& machine;
  int threads = 1;
  std::string stage;
  StageSchedule analytic;            // the default: measured before anything is proposed
  std::vector<StageSchedule> seeds;  // of records of neighbouring shapes, best first
  // Only these values of these parameters, where given: "query_block" -> {16, 32}.
  std::vector<std::pair<std::string, std::vector<int64_t>>> subspace;
};

// Deterministic: the same problem, seed and answers give the same proposals.
class Strategy {
 public:
  virtual ~Strategy() = default;
  // Up to `count` legal schedules that it has not proposed before; fewer, or none, when its space
  // is used up.
  virtual std::vector<StageSchedule> propose(int count) = 0;
  // How a proposal did.
  virtual void tell(const StageSchedule& schedule, const Trial& trial) = 0;
};

// "evolution" (the default), "random", "exhaustive".
const std::vector<std::string>& strategy_names();
std::unique_ptr<Strategy> make_strategy(const std::string& name, const StageProblem& problem,
                                        uint64_t seed);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_STRATEGY_H_
