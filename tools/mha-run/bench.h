// Timing one kernel beside the machine's own peak.
#ifndef MHA_TOOLS_MHA_RUN_BENCH_H_
#define MHA_TOOLS_MHA_RUN_BENCH_H_

#include <cstdint>
#include <functional>
#include <string>

#include "bench/peak.h"
#include "generator/spec/spec.h"

namespace mha {

struct BenchResult {
  int64_t calls = 0;
  double seconds_min = 0, seconds_median = 0;  // of one call
  double peak_flops = 0;                       // a second, at this thread count
  double read_bytes = 0;                       // a second
  PeakIsa isa = PeakIsa::kSse;
};

// The vector unit that code of this dtype for a named target uses.
PeakIsa isa_of_target(const std::string& target, Dtype dtype);

// Calls `run` for about a second, in short rounds that alternate with samples of the peak.
BenchResult bench(const std::function<void()>& run, int threads, PeakIsa isa);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_BENCH_H_
