// A laboratory that knows how long its work takes.
#ifndef MHA_SCHEDULES_TUNER_TIMED_LAB_H_
#define MHA_SCHEDULES_TUNER_TIMED_LAB_H_

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "schedules/tuner/tuner.h"

namespace mha {

class TimedLab : public Lab {
 public:
  TimedLab(std::unique_ptr<Lab> lab, const TunerClock& clock)
      : lab_(std::move(lab)), clock_(clock) {}

  std::vector<Built> build(const std::vector<Candidate>& candidates) override {
    const double began = clock_.now();
    std::vector<Built> built = lab_->build(candidates);
    if (!candidates.empty()) {
      const double each = (clock_.now() - began) / static_cast<double>(candidates.size());
      build_seconds_ = std::max(0.7 * build_seconds_, each);
    }
    return built;
  }
  std::unique_ptr<Runner> start(const Built& built, double slowest_call) override {
    const double began = clock_.now();
    std::unique_ptr<Runner> runner = lab_->start(built, slowest_call);
    start_seconds_ = std::max(0.7 * start_seconds_, clock_.now() - began);
    return runner;
  }
  void discard(const Built& built) override { lab_->discard(built); }
  std::vector<std::string> stages() const override { return lab_->stages(); }

  // Of one candidate among those that are built together, and of one start: what it took lately at
  // worst, with less weight on what lies back. 0: not known.
  double build_seconds() const { return build_seconds_; }
  double start_seconds() const { return start_seconds_; }

 private:
  std::unique_ptr<Lab> lab_;
  const TunerClock& clock_;
  double build_seconds_ = 0, start_seconds_ = 0;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_TIMED_LAB_H_
