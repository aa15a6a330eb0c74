// What this machine can do at most: multiply-adds in registers and reads from memory, measured.
// Every claim of speed stands beside these, taken in the same run (a clock that drops or a busy
// neighbour then hits both alike):
//
//   PeakMeter meter(threads, best_peak_isa());
//   for (...) { meter.sample_flops(); run_kernel(); }
//   percent = kernel_flops / kernel_seconds / meter.flops_per_second() * 100;
#ifndef MHA_BENCH_PEAK_H_
#define MHA_BENCH_PEAK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mha {

// The vector unit that a peak is meant for: code for x86-64-v2 is measured against SSE's multiply
// and add. kAvx512Bf16 multiplies pairs of bf16 and adds them to f32.
enum class PeakIsa { kSse, kAvx2, kAvx512, kAvx512Bf16 };

// The best that this machine has for f32.
PeakIsa best_peak_isa();
// The same for products of bf16: that for f32 where the machine has none of its own.
PeakIsa best_bf16_peak_isa();
const char* peak_isa_name(PeakIsa isa);

class PeakMeter {
 public:
  // threads counts the caller.
  PeakMeter(int threads, PeakIsa isa);

  // One sample of multiply-adds per second times two, all threads at once. The default is long
  // enough for the clock to settle under wide vectors.
  double sample_flops(double seconds = 0.003);
  // One sample of bytes read per second, all threads together, from a block larger than the caches;
  // the first call allocates and fills it (256 MiB).
  double sample_read();

  // The best sample so far: what the machine can do when nobody disturbs it. 0 before the first.
  double flops_per_second() const { return best_flops_; }
  double read_bytes_per_second() const { return best_read_; }
  // The median sample: for ratios of medians.
  double median_flops_per_second() const;

 private:
  int threads_;
  PeakIsa isa_;
  double best_flops_ = 0;
  double best_read_ = 0;
  std::vector<double> flops_samples_;
  std::vector<uint64_t> block_;
};

}  // namespace mha

#endif  // MHA_BENCH_PEAK_H_
