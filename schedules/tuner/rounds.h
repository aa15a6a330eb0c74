// Two runners in interleaved rounds, and which of the rounds count.
#ifndef MHA_SCHEDULES_TUNER_ROUNDS_H_
#define MHA_SCHEDULES_TUNER_ROUNDS_H_

#include <vector>

#include "schedules/tuner/runner.h"

namespace mha {

// A round is a slice of each, one right after the other, so that what changes slowly (the clock,
// other load) meets both alike and goes out of their ratio. Who is first follows the Thue-Morse
// sequence, ABBABAAB..., which a drift that is linear or quadratic in time does not favour.
class Rounds {
 public:
  enum class Of { kStages, kWhole };
  // `first` is the place in the sequence of the first round. Takes one call of each as a warm-up.
  // This and run() throw RunnerFailure when the candidate fails and std::runtime_error when the
  // incumbent does.
  Rounds(Runner& candidate, Runner& incumbent, Of of, double slice_seconds, int first = 0);

  void run();
  int size() const { return static_cast<int>(rounds_.size()); }

  // The rounds that other load did not disturb, judged by all that have been run, with respect to
  // one of Slice::seconds. A round is disturbed when before one of its slices the machine was far
  // from its best or the two differ, when the system took the CPU away in more than a few of a
  // slice's calls, or when a slice is far from this runner's others. None of these asks which of
  // the two runners it is, so that leaving rounds out favours neither.
  std::vector<int> counted(int column) const;
  // All of them.
  std::vector<int> all() const;

  double seconds(int round, int column) const { return rounds_[round].candidate.seconds[column]; }
  double against(int round, int column) const { return rounds_[round].incumbent.seconds[column]; }
  double log_gain(int round, int column) const;  // above 0: the candidate was faster
  int columns() const { return columns_; }

 private:
  struct Round {
    Slice candidate, incumbent;
  };
  Slice take(Runner& runner, double seconds);
  Slice take_incumbent(double seconds);

  Runner& candidate_;
  Runner& incumbent_;
  Of of_;
  double slice_seconds_;
  int first_;
  int columns_ = 0;
  std::vector<Round> rounds_;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_ROUNDS_H_
