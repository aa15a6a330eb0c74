// The legal schedules of one stage: all of them in order, some at random, and what lies near one.
#ifndef MHA_SCHEDULES_TUNER_CANDIDATES_H_
#define MHA_SCHEDULES_TUNER_CANDIDATES_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "schedules/space.h"
#include "schedules/tuner/random.h"
#include "schedules/tuner/strategy.h"

namespace mha {

// Everything here is a function of its arguments alone: the same on every machine.
class Candidates {
 public:
  // Throws std::invalid_argument where the subspace names what the stage's space does not have.
  explicit Candidates(const StageProblem& problem);

  // Parameters with the values that are allowed, in the order of stage_space().
  const std::vector<ParamInfo>& params() const { return params_; }
  // Legal, and within the subspace.
  bool contains(const StageSchedule& schedule) const;

  // In lexicographic order of the values' places; ends early when `visit` returns false.
  void for_each(const std::function<bool(const StageSchedule&)>& visit) const;
  // nullopt: more than `most`.
  std::optional<std::vector<StageSchedule>> all(int64_t most) const;

  // nullopt: there is none.
  std::optional<StageSchedule> random(Random& random) const;
  // One step of one parameter; where that breaks a rule, with the fewest steps of up to two others
  // that mend it. Without duplicates, and without the schedule itself.
  std::vector<StageSchedule> neighbours(const StageSchedule& schedule) const;
  // Each parameter from one of the two, mended where that breaks a rule.
  std::optional<StageSchedule> crossover(const StageSchedule& a, const StageSchedule& b,
                                         Random& random) const;
  // The nearest candidate: every parameter moved to the nearest allowed value, then mended.
  std::optional<StageSchedule> nearest(const StageSchedule& schedule) const;

  // Places of the values, for distances between schedules; values outside the subspace take the
  // nearest place.
  std::vector<int> places(const StageSchedule& schedule) const;

 private:
  using Places = std::vector<int>;
  StageSchedule schedule_of(const Places& places) const;
  bool legal(const Places& places) const;
  using Order = std::function<void(int param, std::vector<int>& places)>;
  bool descend(StageSchedule& partial, const Order& order,
               const std::function<bool(const StageSchedule&)>& visit) const;
  std::optional<StageSchedule> first(const Order& order) const;
  std::optional<Places> mended(const Places& places, int kept) const;

  const Plan& plan_;
  const Machine& machine_;
  std::string stage_;
  std::vector<ParamInfo> params_;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_CANDIDATES_H_
