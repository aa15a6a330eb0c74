// A machine to time candidates on that is not there: its noise is known, drawn from a seed, and
// takes no time.
#ifndef MHA_TESTS_TUNER_SIMULATED_H_
#define MHA_TESTS_TUNER_SIMULATED_H_

#include <cstdint>
#include <random>
#include <vector>

#include "schedules/tuner/runner.h"

namespace mha {

// All of it multiplies times; sigmas are of logarithms.
struct SimulatedNoise {
  double call = 0.01;     // of each stage of each call
  double process = 0.01;  // of each stage in each process: where its memory lies
  double spikes = 0.002;  // the share of the calls during which the CPU is taken away
  double spike_seconds = 0.002;
  double drift = 0.002;  // random walk of the clock, in a second
  // Other load: how long the quiet and the loud last on average, and what the loud takes.
  double quiet_seconds = 1, loud_seconds = 0;
  double loud_factor = 1.5;
  bool loud_is_seen = true;   // by the samples of the peak
  double peak = 0.005;        // of a sample of the peak
  bool peaks_taken = true;    // false: Slice::peak_flops is 0
  double second_place = 0.0;  // what the second slice of a round is slower by
};

// Time passes only as runners use it.
class SimulatedMachine {
 public:
  SimulatedMachine(const SimulatedNoise& noise, uint64_t seed) : noise_(noise), random_(seed) {}

  const SimulatedNoise& noise() const { return noise_; }
  double now() const { return now_; }
  int64_t slices = 0;  // that any runner has taken

  void pass(double seconds);
  double factor() const;           // what a call takes at this moment
  double lognormal(double sigma);  // around 1
  bool chance(double probability);
  double sample_peak();

 private:
  SimulatedNoise noise_;
  std::mt19937_64 random_;
  double now_ = 0;
  double clock_ = 0;  // the drift so far
  bool loud_ = false;
  double until_ = 0;  // the end of the loud or the quiet
};

// One process. The machine must outlive it.
class SimulatedRunner : public Runner {
 public:
  // Seconds of a call of each stage without noise.
  SimulatedRunner(SimulatedMachine& machine, const std::vector<double>& stage_seconds);
  // From the call with this number on it fails.
  void fail_at(int64_t call, Outcome outcome) { fail_at_ = call, failure_ = outcome; }

  Slice stages(double seconds) override { return slice(seconds, false); }
  Slice whole(double seconds) override { return slice(seconds, true); }

 private:
  Slice slice(double seconds, bool whole);

  SimulatedMachine& machine_;
  std::vector<double> stage_seconds_;  // of this process
  int64_t calls_ = 0, fail_at_ = -1;
  Outcome failure_ = Outcome::kCrash;
};

}  // namespace mha

#endif  // MHA_TESTS_TUNER_SIMULATED_H_
