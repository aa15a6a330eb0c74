// Slices of calls, timed.
#ifndef MHA_SCHEDULES_TUNER_PROBE_CLOCK_H_
#define MHA_SCHEDULES_TUNER_PROBE_CLOCK_H_

#include <cstdint>
#include <vector>

#include "bench/peak.h"
#include "schedules/tuner/probe/subject.h"

namespace mha::probe {

struct Slice {
  std::vector<double> seconds;
  int64_t calls = 0;
  int64_t switches = 0;
  double peak_flops = 0;
};

// Times one subject at a time. Nothing is pinned to a CPU, as programs that use the library pin
// nothing: the system's placement of threads is part of what a schedule meets when it is deployed.
class Clock {
 public:
  Clock(Subject& subject, size_t stages, int threads);
  // The next slices are of this one: the same kernel and operands, elsewhere in memory.
  void turn_to(Subject& subject) { subject_ = &subject; }
  // Of the second of two whole calls, stage by stage.
  double warm();
  Slice stages(double seconds);
  Slice whole(double seconds);

 private:
  // Calls each of these in turn until the time is over.
  Slice slice(const std::vector<size_t>& parts, double seconds);
  double time(size_t part, int64_t calls);
  int64_t group(double seconds) const;

  Subject* subject_;
  PeakMeter meter_;
  std::vector<double> typical_;  // of each stage
};

}  // namespace mha::probe

#endif  // MHA_SCHEDULES_TUNER_PROBE_CLOCK_H_
