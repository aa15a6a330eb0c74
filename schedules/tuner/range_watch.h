// What is left of the budget that all lengths share, and what they tell while they work.
#ifndef MHA_SCHEDULES_TUNER_RANGE_WATCH_H_
#define MHA_SCHEDULES_TUNER_RANGE_WATCH_H_

#include <algorithm>
#include <string>
#include <utility>

#include "schedules/tuner/tuner.h"

namespace mha {

class RangeWatch {
 public:
  // `budget`: seconds; 0: no limit.
  RangeWatch(TunerEvents& events, const TunerClock& clock, double budget)
      : events_(events), clock_(clock), budget_(budget), began_(clock.now()) {}

  bool stopped() { return stopped_ = stopped_ || events_.stop(); }
  void stop() { stopped_ = true; }
  bool limited() const { return budget_ > 0; }
  double elapsed() const { return clock_.now() - began_; }
  double left() const { return budget_ - elapsed(); }

  void report(Progress progress, Progress::Phase phase, std::string part) {
    progress.phase = phase;
    progress.part = std::move(part);
    progress.elapsed_seconds = elapsed();
    if (limited()) progress.seconds_left = std::max(left(), 0.0);
    events_.progress(progress);
  }

  // For a search as a part of more: says which part, and counts on from what was before.
  class Part : public TunerEvents {
   public:
    Part(const RangeWatch& all, std::string part)
        : all_(all), part_(std::move(part)), offset_(all.elapsed()) {}
    void progress(const Progress& progress) override {
      Progress mine = progress;
      mine.part = part_;
      mine.elapsed_seconds += offset_;
      if (all_.limited()) mine.seconds_left = std::max(all_.budget_ - mine.elapsed_seconds, 0.0);
      all_.events_.progress(mine);
    }
    void measured(const Trial& trial) override { all_.events_.measured(trial); }
    bool stop() override { return all_.events_.stop(); }

   private:
    const RangeWatch& all_;
    std::string part_;
    double offset_;
  };

 private:
  TunerEvents& events_;
  const TunerClock& clock_;
  const double budget_;
  const double began_;
  bool stopped_ = false;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_RANGE_WATCH_H_
