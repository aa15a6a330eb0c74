// Stages to search in, for the tests of this folder.
#ifndef MHA_TESTS_TUNER_PROBLEMS_H_
#define MHA_TESTS_TUNER_PROBLEMS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "schedules/tuner/strategy.h"
#include "tests/schedules/plans.h"

namespace mha {

inline const char kBlock[] =
    "version: 1\nname: t\nop: block\nd_model: 512\nheads: 8\nquery_length: 512\n";
inline const char kAttention[] =
    "version: 1\nname: t\nop: attention\nheads: 8\nd_head: 64\nquery_length: 512\n";
inline const char kCausal[] =
    "version: 1\nname: t\nop: attention\nheads: 4\nd_head: 96\nquery_length: 1024\nmask: "
    "{causal: true}\n";

using Subspace = std::vector<std::pair<std::string, std::vector<int64_t>>>;

// A stage of a config's plan, with everything that a StageProblem refers to.
class Problem {
 public:
  Problem(const std::string& config, const std::string& stage, Subspace subspace = {})
      : plan_(std::make_shared<const Plan>(plan_of(config))),
        machine_(std::make_shared<const Machine>(machine_named("zen5"))),
        problem_{*plan_,
                 *machine_,
                 1,
                 stage,
                 default_schedule(*plan_, *machine_, 1).stage(stage),
                 {},
                 std::move(subspace)} {}

  const StageProblem& get() const { return problem_; }
  const Plan& plan() const { return *plan_; }
  const Machine& machine() const { return *machine_; }

 private:
  std::shared_ptr<const Plan> plan_;
  std::shared_ptr<const Machine> machine_;
  StageProblem problem_;
};

}  // namespace mha

#endif  // MHA_TESTS_TUNER_PROBLEMS_H_
