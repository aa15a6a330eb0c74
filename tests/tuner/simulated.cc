#include "tests/tuner/simulated.h"

#include <cmath>

#include "schedules/tuner/statistics.h"

namespace mha {

void SimulatedMachine::pass(double seconds) {
  now_ += seconds;
  clock_ += noise_.drift * std::sqrt(seconds) * std::normal_distribution<double>()(random_);
  while (noise_.loud_seconds > 0 && now_ >= until_) {
    loud_ = until_ > 0 && !loud_;
    const double mean = loud_ ? noise_.loud_seconds : noise_.quiet_seconds;
    until_ += std::exponential_distribution<double>(1 / mean)(random_);
  }
}

double SimulatedMachine::factor() const {
  return std::exp(clock_) * (loud_ ? noise_.loud_factor : 1);
}

double SimulatedMachine::lognormal(double sigma) {
  return std::exp(sigma * std::normal_distribution<double>()(random_));
}

bool SimulatedMachine::chance(double probability) {
  return std::uniform_real_distribution<double>()(random_) < probability;
}

double SimulatedMachine::sample_peak() {
  constexpr double kPeak = 1e11;
  return kPeak * lognormal(noise_.peak) / (noise_.loud_is_seen ? factor() : std::exp(clock_));
}

SimulatedRunner::SimulatedRunner(SimulatedMachine& machine,
                                 const std::vector<double>& stage_seconds)
    : machine_(machine), stage_seconds_(stage_seconds) {
  for (double& stage : stage_seconds_) {
    stage *= machine_.lognormal(machine_.noise().process);
  }
}

Slice SimulatedRunner::slice(double seconds, bool whole) {
  const SimulatedNoise& noise = machine_.noise();
  const bool second = machine_.slices++ % 2 != 0;
  Slice slice;
  if (noise.peaks_taken) {
    machine_.pass(0.0001);
    slice.peak_flops = machine_.sample_peak();
  }
  std::vector<std::vector<double>> calls(whole ? 1 : stage_seconds_.size());
  const double end = machine_.now() + seconds;
  do {
    if (fail_at_ >= 0 && calls_ >= fail_at_) {
      throw RunnerFailure(failure_, "simulated");
    }
    double call = 0;
    for (size_t i = 0; i < stage_seconds_.size(); ++i) {
      double stage = stage_seconds_[i] * machine_.factor() * machine_.lognormal(noise.call) *
                     (second ? 1 + noise.second_place : 1);
      if (machine_.chance(noise.spikes / static_cast<double>(stage_seconds_.size()))) {
        stage += noise.spike_seconds;
        ++slice.switches;
      }
      machine_.pass(stage);
      call += stage;
      if (!whole) {
        calls[i].push_back(stage);
      }
    }
    if (whole) {
      calls[0].push_back(call);
    }
    ++calls_;
    ++slice.calls;
  } while (machine_.now() < end);
  for (const std::vector<double>& stage : calls) {
    slice.seconds.push_back(median(stage));
  }
  return slice;
}

}  // namespace mha
