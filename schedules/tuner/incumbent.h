// The program that candidates are raced against, and how long programs take to build and start.
#ifndef MHA_SCHEDULES_TUNER_INCUMBENT_H_
#define MHA_SCHEDULES_TUNER_INCUMBENT_H_

#include <memory>
#include <vector>

#include "schedules/tuner/race.h"
#include "schedules/tuner/runner.h"
#include "schedules/tuner/tuner.h"

namespace mha {

class Incumbent {
 public:
  Incumbent(Lab& lab, const TunerClock& clock) : lab_(lab), clock_(clock) {}

  bool running() const { return runner_ != nullptr; }
  const Schedule& schedule() const { return schedule_; }
  Runner& runner() { return *runner_; }

  // Builds the schedule and starts it in the place of what runs. Throws RunnerFailure: then what
  // ran before still does.
  void replace(const Schedule& schedule, double limit);
  // Starts the candidate and races it. When the incumbent fails, both start again, a few times.
  // Throws RunnerFailure when the candidate fails, SystemError when the incumbent keeps failing.
  std::vector<RaceResult> race(const Built& candidate, const std::vector<int>& stages,
                               const RaceOptions& options, double limit);
  // Ends its process; its program stays.
  void stop() { runner_.reset(); }

  // Lab::start(), timed.
  std::unique_ptr<Runner> start(const Built& built, double limit);

  // Of one program by itself, and of one start: at worst, of starts with less weight on what lies
  // back. 0: not known.
  double build_seconds() const { return build_seconds_; }
  double start_seconds() const { return start_seconds_; }

 private:
  Lab& lab_;
  const TunerClock& clock_;
  std::unique_ptr<Runner> runner_;
  Built built_;
  Schedule schedule_;
  double build_seconds_ = 0, start_seconds_ = 0;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_INCUMBENT_H_
