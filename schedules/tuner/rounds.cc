#include "schedules/tuner/rounds.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>
#include <string>

#include "generator/spec/error.h"
#include "schedules/tuner/statistics.h"

namespace mha {
namespace {

// How much less of the peak than at the machine's best, or between a round's slices, is other load
// and not the noise of a short sample.
constexpr double kPeakLoss = 0.08;
// The median of a slice's calls does not mind if one in so many is interrupted.
constexpr int64_t kCallsPerSwitch = 4;
// A slice is an outlier so many times the spread of the runner's others from their median, and so
// much (of a logarithm) at least; known from so many slices on.
constexpr double kOutlierSpreads = 6, kOutlierLog = 0.05;
constexpr size_t kOutlierSlices = 5;

// The best tenth of the samples begins here: their maximum would be a clock that was high for a
// moment.
double best_peak(std::vector<double> peaks) {
  if (peaks.empty()) {
    return 0;
  }
  const auto place = peaks.begin() + static_cast<long>(peaks.size() * 9 / 10);
  std::nth_element(peaks.begin(), place, peaks.end());
  return *place;
}

bool interrupted(const Slice& slice) { return slice.switches * kCallsPerSwitch > slice.calls; }

std::vector<bool> outliers(const std::vector<double>& seconds) {
  std::vector<bool> wild(seconds.size(), false);
  if (seconds.size() < kOutlierSlices) {
    return wild;
  }
  std::vector<double> logs;
  for (const double value : seconds) {
    logs.push_back(std::log(value));
  }
  const double middle = median(logs);
  const double limit = std::max(kOutlierLog, kOutlierSpreads * spread(logs));
  for (size_t i = 0; i < logs.size(); ++i) {
    wild[i] = std::abs(logs[i] - middle) > limit;
  }
  return wild;
}

}  // namespace

Rounds::Rounds(Runner& candidate, Runner& incumbent, Of of, double slice_seconds, int first)
    : candidate_(candidate),
      incumbent_(incumbent),
      of_(of),
      slice_seconds_(slice_seconds),
      first_(first) {
  columns_ = static_cast<int>(take(candidate_, 0).seconds.size());
  take_incumbent(0);
}

void Rounds::run() {
  const bool incumbent_first = std::popcount(static_cast<unsigned>(first_ + size())) % 2 != 0;
  Round round;
  if (incumbent_first) {
    round.incumbent = take_incumbent(slice_seconds_);
  }
  round.candidate = take(candidate_, slice_seconds_);
  if (!incumbent_first) {
    round.incumbent = take_incumbent(slice_seconds_);
  }
  rounds_.push_back(std::move(round));
}

std::vector<int> Rounds::counted(int column) const {
  std::vector<double> peaks, candidate, incumbent;
  for (const Round& round : rounds_) {
    for (const Slice* slice : {&round.candidate, &round.incumbent}) {
      if (slice->peak_flops > 0) {
        peaks.push_back(slice->peak_flops);
      }
    }
    candidate.push_back(round.candidate.seconds[column]);
    incumbent.push_back(round.incumbent.seconds[column]);
  }
  const double enough = best_peak(peaks) * (1 - kPeakLoss);
  const auto slow = [&](double peak) { return peak > 0 && peak < enough; };
  const auto differ = [](double a, double b) {
    return a > 0 && b > 0 && std::abs(std::log(a / b)) > kPeakLoss;
  };
  const std::vector<bool> wild = outliers(candidate), wild_incumbent = outliers(incumbent);
  std::vector<int> quiet;
  for (int i = 0; i < size(); ++i) {
    const Slice& a = rounds_[i].candidate;
    const Slice& b = rounds_[i].incumbent;
    if (!slow(a.peak_flops) && !slow(b.peak_flops) && !differ(a.peak_flops, b.peak_flops) &&
        !interrupted(a) && !interrupted(b) && !wild[i] && !wild_incumbent[i]) {
      quiet.push_back(i);
    }
  }
  return quiet;
}

std::vector<int> Rounds::all() const {
  std::vector<int> rounds;
  for (int i = 0; i < size(); ++i) {
    rounds.push_back(i);
  }
  return rounds;
}

double Rounds::log_gain(int round, int column) const {
  return std::log(against(round, column) / seconds(round, column));
}

Slice Rounds::take(Runner& runner, double seconds) {
  Slice slice = of_ == Of::kStages ? runner.stages(seconds) : runner.whole(seconds);
  if (slice.calls < 1 || slice.seconds.empty() ||
      (columns_ != 0 && slice.seconds.size() != static_cast<size_t>(columns_))) {
    throw InternalError("a slice without its times");
  }
  for (double& time : slice.seconds) {
    if (!(time >= 0) || std::isinf(time)) {
      throw InternalError("a slice with a time of " + std::to_string(time));
    }
    time = std::max(time, 1e-9);  // what a clock does not resolve
  }
  return slice;
}

Slice Rounds::take_incumbent(double seconds) {
  try {
    return take(incumbent_, seconds);
  } catch (const RunnerFailure& failure) {
    // What the caller must not take for a fault of the candidate.
    throw std::runtime_error(std::string("what the candidate is compared with failed: ") +
                             outcome_name(failure.outcome()) + ": " + failure.what());
  }
}

}  // namespace mha
