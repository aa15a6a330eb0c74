// ./dev bench: every case of cases.txt, measured with Google Benchmark beside the machine's own
// peak.
//
// A row times whole calls through the C API; for a block it also times each stage by itself, in
// turn with the whole and with samples of the FMA peak, so that a slow moment of the machine falls
// on all of them alike. Counters:
//   GFLOPS     of the median call, visible work only, 2 a multiply-add; or GBps, bytes of weights,
//              K and V, where the limit is the read bandwidth
//   peak       GFLOP/s: median sample of the peak of such products at this thread count, taken
//              between the calls; or GB/s: the median of what reads gave
//   percent    GFLOPS / peak, or GBps / peak
//   best       percent of the fastest call against the fastest sample of the peak
//   goal       what the case must reach (0: no figure of its own)
//   parts_us   sum of the stages' medians; over_us: the whole call's median above it (blocks)
//   points     percentage points under the FLOP-weighted harmonic mean of the stages (blocks)
//   <stage>    percent of the peak of a stage by itself (blocks)
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "bench/kernels/case.h"
#include "bench/kernels/runner.h"
#include "bench/peak.h"
#include "mha/kernel.h"
#include "mha/mha.h"

#define BENCH_CASE(name, ...) extern "C" const mha_kernel bench_##name##_kernel;
#include "bench_cases.inc"
#undef BENCH_CASE

namespace {

using Case = mha::BenchCase;
using mha::require;
using mha::Runner;

const Case kCases[] = {
#define BENCH_CASE(name, d_model, heads, kv_heads, d_head, length, causal, window, dtype, weights, \
                   cached, goal)                                                                   \
  {#name,    &bench_##name##_kernel,                                                               \
   d_model,  heads,                                                                                \
   kv_heads, d_head,                                                                               \
   length,   causal != 0,                                                                          \
   window,   dtype,                                                                                \
   weights,  cached,                                                                               \
   goal},
#include "bench_cases.inc"
#undef BENCH_CASE
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

void run_case(benchmark::State& state, const Case& c, int threads) {
  mha_context_options options = {};
  options.size = sizeof options;
  options.threads = threads;
  mha_context* context = nullptr;
  require(mha_context_create(&options, &context), "context");
  {
    Runner whole(c, context);
    const uint64_t parts = c.d_model > 0 ? whole.stage_count() : 0;
    mha::PeakMeter meter(threads, c.isa());
    std::vector<double> times, limits;
    std::vector<std::vector<double>> part_times(parts);
    whole.seconds();
    double since_peak = 1;
    for (auto _ : state) {
      if (since_peak > (c.reads() ? 0.1 : 0.01)) {
        limits.push_back(c.reads() ? meter.sample_read() : meter.sample_flops());
        whole.seconds();  // the first call after the peak finds cold caches
        since_peak = 0;
      }
      const double seconds = whole.seconds();
      state.SetIterationTime(seconds);
      times.push_back(seconds);
      since_peak += seconds;
      for (uint64_t i = 0; i < parts; i++) {
        part_times[i].push_back(whole.seconds(i));
        since_peak += part_times[i].back();
      }
    }
    const double typical = median(times), peak = median(limits), work = c.work("");
    state.counters[c.reads() ? "GBps" : "GFLOPS"] = work / typical / 1e9;
    state.counters["peak"] = peak / 1e9;
    state.counters["percent"] = 100 * work / typical / peak;
    state.counters["best"] = 100 * work / *std::min_element(times.begin(), times.end()) /
                             *std::max_element(limits.begin(), limits.end());
    state.counters["goal"] = c.goal;
    if (parts > 0) {
      double sum = 0;
      for (uint64_t i = 0; i < parts; i++) {
        const std::string stage = whole.stage_name(i);
        const double part = median(part_times[i]);
        sum += part;
        state.counters[stage] = 100 * c.work(stage) / part / peak;
      }
      state.counters["parts_us"] = sum * 1e6;
      state.counters["over_us"] = (typical - sum) * 1e6;
      state.counters["points"] = 100 * work / peak * (1 / sum - 1 / typical);
    }
  }
  mha_context_destroy(context);
}

// The machine alone: the FMA peak at each thread count, and the read bandwidth.
void run_machine(benchmark::State& state, int threads) {
  mha::PeakMeter meter(threads, mha::best_peak_isa());
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    meter.sample_flops();
    meter.sample_read();
    state.SetIterationTime(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  state.counters["peak"] = meter.flops_per_second() / 1e9;
  state.counters["read_GBps"] = meter.read_bytes_per_second() / 1e9;
}

// How much faster two threads are than one, next to what the FMA loop itself gains; all four in
// turn.
void run_scaling(benchmark::State& state, const Case& c) {
  mha_context* contexts[2] = {};
  for (int i = 0; i < 2; i++) {
    mha_context_options options = {};
    options.size = sizeof options;
    options.threads = i + 1;
    require(mha_context_create(&options, &contexts[i]), "context");
  }
  {
    Runner one(c, contexts[0]), two(c, contexts[1]);
    mha::PeakMeter meter_one(1, c.isa()), meter_two(2, c.isa());
    std::vector<double> times_one, times_two, peaks_one, peaks_two;
    one.seconds();
    two.seconds();
    for (auto _ : state) {
      peaks_one.push_back(meter_one.sample_flops());
      times_one.push_back((one.seconds(), one.seconds()));
      peaks_two.push_back(meter_two.sample_flops());
      times_two.push_back((two.seconds(), two.seconds()));
      state.SetIterationTime(times_two.back());
    }
    const double scaling = median(times_one) / median(times_two),
                 fma = median(peaks_two) / median(peaks_one);
    state.counters["scaling"] = scaling;
    state.counters["fma"] = fma;
    state.counters["percent"] = 100 * scaling / fma;
    state.counters["goal"] = 95;
  }
  for (mha_context* context : contexts) mha_context_destroy(context);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  for (int threads = 1; threads <= std::min(cores, 2); threads++) {
    benchmark::RegisterBenchmark(("machine/threads:" + std::to_string(threads)).c_str(),
                                 run_machine, threads)
        ->UseManualTime()
        ->MinTime(0.3)
        ->Unit(benchmark::kMillisecond);
  }
  for (const Case& c : kCases) {
    benchmark::RegisterBenchmark((std::string(c.name) + "/threads:1").c_str(), run_case, c, 1)
        ->UseManualTime()
        ->MinTime(0.5)
        ->Unit(benchmark::kMicrosecond);
  }
  for (const Case& c : kCases) {
    if (c.length < 512 || cores < 2) continue;
    benchmark::RegisterBenchmark((std::string(c.name) + "/scaling").c_str(), run_scaling, c)
        ->UseManualTime()
        ->MinTime(0.4)
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
