// The time, as the tuner is given it: tests have a clock of their own.
#ifndef MHA_SCHEDULES_TUNER_TUNER_CLOCK_H_
#define MHA_SCHEDULES_TUNER_TUNER_CLOCK_H_

#include <functional>
#include <string>

namespace mha {

// `now`: seconds of a clock that never goes back; `time`: UTC now, for trials.
struct TunerClock {
  std::function<double()> now;
  std::function<std::string()> time;
};
TunerClock system_clock();

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_TUNER_CLOCK_H_
