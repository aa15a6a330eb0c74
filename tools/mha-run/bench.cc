#include "tools/mha-run/bench.h"

#include <algorithm>
#include <chrono>
#include <vector>

namespace mha {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

PeakIsa isa_of_target(const std::string& target, Dtype dtype) {
  if (target == "x86-64-v2") return PeakIsa::kSse;
  if (target == "x86-64-v3") return PeakIsa::kAvx2;
  // The targets with products of bf16; elsewhere bf16 becomes f32 before it is multiplied.
  const bool pairs = dtype == Dtype::kBF16 && target != "x86-64-v4";
  return pairs ? best_bf16_peak_isa() : best_peak_isa();
}

BenchResult bench(const std::function<void()>& run, int threads, PeakIsa isa) {
  constexpr double kTotal = 1.0;
  constexpr double kRound = 0.01;
  // The clock ticks in tens of nanoseconds; shorter calls are timed in groups.
  constexpr double kShortest = 20e-6;

  PeakMeter meter(threads, isa);
  run();
  Clock::time_point start = Clock::now();
  run();
  const double one = std::max(seconds_since(start), 1e-9);
  const int64_t group = std::max<int64_t>(1, static_cast<int64_t>(kShortest / one));

  BenchResult result;
  result.isa = isa;
  std::vector<double> samples;
  meter.sample_read();
  const Clock::time_point begin = Clock::now();
  do {
    meter.sample_flops();
    // The first call after the peak finds cold caches, as the last user of the core left them.
    run();
    const Clock::time_point round = Clock::now();
    do {
      start = Clock::now();
      for (int64_t i = 0; i < group; ++i) run();
      samples.push_back(seconds_since(start) / static_cast<double>(group));
    } while (seconds_since(round) < kRound);
  } while (seconds_since(begin) < kTotal || samples.size() < 3);
  meter.sample_flops();
  meter.sample_read();

  result.calls = static_cast<int64_t>(samples.size()) * group;
  std::sort(samples.begin(), samples.end());
  result.seconds_min = samples.front();
  result.seconds_median = samples[samples.size() / 2];
  result.peak_flops = meter.flops_per_second();
  result.read_bytes = meter.read_bytes_per_second();
  return result;
}

}  // namespace mha
