#include "schedules/tuner/probe/clock.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <numeric>

namespace mha::probe {
namespace {

using Steady = std::chrono::steady_clock;

// The clock ticks in tens of nanoseconds: shorter calls are timed in groups.
constexpr double kShortest = 20e-6;
// Long enough to see a clock that has dropped, and short beside a slice of 3 ms.
constexpr double kPeakSeconds = 0.0004;
// A call as long as this does not notice the caches that it finds.
constexpr double kLong = 0.005;

double seconds_since(Steady::time_point start) {
  return std::chrono::duration<double>(Steady::now() - start).count();
}

// How often any of our threads was put aside though it wanted to go on.
int64_t switches() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nivcsw;
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

Clock::Clock(Subject& subject, size_t stages, int threads)
    : subject_(&subject), meter_(threads, best_peak_isa()), typical_(stages) {}

double Clock::warm() {
  subject_->run();
  for (size_t i = 0; i < typical_.size(); ++i) typical_[i] = time(i, 1);
  return std::accumulate(typical_.begin(), typical_.end(), 0.0);
}

Slice Clock::stages(double seconds) {
  std::vector<size_t> parts(typical_.size());
  std::iota(parts.begin(), parts.end(), size_t{0});
  Slice result = slice(parts, seconds);
  typical_ = result.seconds;
  return result;
}

Slice Clock::whole(double seconds) { return slice({Subject::kWhole}, seconds); }

Slice Clock::slice(const std::vector<size_t>& parts, double seconds) {
  const double call = std::accumulate(typical_.begin(), typical_.end(), 0.0);
  std::vector<int64_t> groups;
  for (const size_t part : parts) {
    groups.push_back(group(part == Subject::kWhole ? call : typical_[part]));
  }
  Slice result;
  result.peak_flops = meter_.sample_flops(kPeakSeconds);
  // What ran before us has left its own data in the caches.
  if (call < kLong) subject_->run();
  std::vector<std::vector<double>> samples(parts.size());
  const int64_t switches_before = switches();
  const Steady::time_point start = Steady::now();
  do {
    for (size_t i = 0; i < parts.size(); ++i) samples[i].push_back(time(parts[i], groups[i]));
    ++result.calls;
  } while (seconds_since(start) < seconds);
  result.switches = switches() - switches_before;
  for (std::vector<double>& part : samples) result.seconds.push_back(median(part));
  if (parts.front() == Subject::kWhole) result.calls *= groups.front();
  return result;
}

double Clock::time(size_t part, int64_t calls) {
  const Steady::time_point start = Steady::now();
  for (int64_t i = 0; i < calls; ++i) subject_->run(part);
  return seconds_since(start) / static_cast<double>(calls);
}

int64_t Clock::group(double seconds) const {
  return std::clamp<int64_t>(static_cast<int64_t>(kShortest / std::max(seconds, 1e-9)), 1, 1000);
}

}  // namespace mha::probe
