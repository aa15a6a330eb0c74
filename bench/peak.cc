#include "bench/peak.h"

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

namespace mha {
namespace {

using Clock = std::chrono::steady_clock;

// Chains in flight: two units with a latency of up to five cycles need ten, and twelve leave
// registers for the operands even where there are sixteen.
constexpr int kChains = 12;
constexpr int64_t kRounds = 20000;

// Each chain is x <- x * a + b with a < 1, so that values stay normal; the asm keeps the results
// alive.
__attribute__((target("sse2"))) int64_t burn_sse() {
  __m128 a = _mm_set1_ps(0.999F), b = _mm_set1_ps(0.001F), x[kChains];
  for (int i = 0; i < kChains; ++i) x[i] = _mm_set1_ps(1.0F + static_cast<float>(i));
  for (int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) x[i] = _mm_add_ps(_mm_mul_ps(x[i], a), b);
  }
  for (int i = 0; i < kChains; ++i) asm volatile("" ::"x"(x[i]));
  return kRounds * kChains * 4 * 2;
}

__attribute__((target("avx2,fma"))) int64_t burn_avx2() {
  __m256 a = _mm256_set1_ps(0.999F), b = _mm256_set1_ps(0.001F), x[kChains];
  for (int i = 0; i < kChains; ++i) x[i] = _mm256_set1_ps(1.0F + static_cast<float>(i));
  for (int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) x[i] = _mm256_fmadd_ps(x[i], a, b);
  }
  for (int i = 0; i < kChains; ++i) asm volatile("" ::"x"(x[i]));
  return kRounds * kChains * 8 * 2;
}

__attribute__((target("avx512f"))) int64_t burn_avx512() {
  __m512 a = _mm512_set1_ps(0.999F), b = _mm512_set1_ps(0.001F), x[kChains];
  for (int i = 0; i < kChains; ++i) x[i] = _mm512_set1_ps(1.0F + static_cast<float>(i));
  for (int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) x[i] = _mm512_fmadd_ps(x[i], a, b);
  }
  for (int i = 0; i < kChains; ++i) asm volatile("" ::"v"(x[i]));
  return kRounds * kChains * 16 * 2;
}

// x <- x + a0 b0 + a1 b1: all sums stay small and normal.
__attribute__((target("avx512f,avx512bf16"))) int64_t burn_avx512_bf16() {
  const __m512 small = _mm512_set1_ps(0x1p-12F);
  __m512bh a = _mm512_cvtne2ps_pbh(small, small), b = a;
  __m512 x[kChains];
  for (int i = 0; i < kChains; ++i) x[i] = _mm512_set1_ps(1.0F + static_cast<float>(i));
  for (int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) x[i] = _mm512_dpbf16_ps(x[i], a, b);
  }
  for (int i = 0; i < kChains; ++i) asm volatile("" ::"v"(x[i]));
  return kRounds * kChains * 16 * 4;
}

int64_t burn(PeakIsa isa) {
  switch (isa) {
    case PeakIsa::kSse:
      return burn_sse();
    case PeakIsa::kAvx2:
      return burn_avx2();
    case PeakIsa::kAvx512:
      return burn_avx512();
    case PeakIsa::kAvx512Bf16:
      return burn_avx512_bf16();
  }
  return 0;
}

// One function for each kind of machine, chosen when the program is loaded: earlier than
// ThreadSanitizer, which instruments the choice too, is ready for it.
#if defined(__SANITIZE_THREAD__)
#define MHA_CLONES
#else
#define MHA_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif

MHA_CLONES __attribute__((optimize("O3"))) void read_all(const uint64_t* block, size_t count) {
  uint64_t sums[32] = {};
  for (size_t i = 0; i + 32 <= count; i += 32) {
    for (size_t lane = 0; lane < 32; ++lane) sums[lane] += block[i + lane];
  }
  asm volatile("" ::"m"(sums));
}

// Runs body(i) on `threads` threads that start together; seconds from the start of the first to the
// end of the last.
double run_together(int threads, const std::function<void(int)>& body) {
  std::atomic<int> waiting{0};
  std::vector<Clock::time_point> starts(static_cast<size_t>(threads));
  std::vector<Clock::time_point> ends(static_cast<size_t>(threads));
  auto work = [&](int i) {
    ++waiting;
    while (waiting.load() < threads) std::this_thread::yield();
    starts[static_cast<size_t>(i)] = Clock::now();
    body(i);
    ends[static_cast<size_t>(i)] = Clock::now();
  };
  std::vector<std::thread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(work, i);
  work(0);
  for (std::thread& thread : others) thread.join();
  auto elapsed =
      *std::max_element(ends.begin(), ends.end()) - *std::min_element(starts.begin(), starts.end());
  return std::chrono::duration<double>(elapsed).count();
}

}  // namespace

PeakIsa best_peak_isa() {
  if (__builtin_cpu_supports("avx512f")) return PeakIsa::kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return PeakIsa::kAvx2;
  return PeakIsa::kSse;
}

PeakIsa best_bf16_peak_isa() {
  return __builtin_cpu_supports("avx512bf16") ? PeakIsa::kAvx512Bf16 : best_peak_isa();
}

const char* peak_isa_name(PeakIsa isa) {
  switch (isa) {
    case PeakIsa::kSse:
      return "SSE";
    case PeakIsa::kAvx2:
      return "AVX2";
    case PeakIsa::kAvx512:
      return "AVX-512";
    case PeakIsa::kAvx512Bf16:
      return "AVX-512 bf16";
  }
  return "";
}

PeakMeter::PeakMeter(int threads, PeakIsa isa) : threads_(std::max(threads, 1)), isa_(isa) {}

double PeakMeter::sample_flops(double duration) {
  // Bursts of about 0.1 ms until the time is full.
  std::atomic<int64_t> flops{0};
  double seconds = run_together(threads_, [&](int) {
    int64_t mine = 0;
    auto end = Clock::now() + std::chrono::duration<double>(duration);
    do mine += burn(isa_);
    while (Clock::now() < end);
    flops += mine;
  });
  double rate = static_cast<double>(flops.load()) / seconds;
  flops_samples_.push_back(rate);
  best_flops_ = std::max(best_flops_, rate);
  return rate;
}

double PeakMeter::sample_read() {
  constexpr size_t kBytes = size_t{256} << 20;
  // Not zero: the system may back untouched or zero pages by one page that stays in the cache.
  if (block_.empty()) block_.assign(kBytes / sizeof(uint64_t), 1);
  size_t share = block_.size() / static_cast<size_t>(threads_);
  double seconds = run_together(
      threads_, [&](int i) { read_all(block_.data() + share * static_cast<size_t>(i), share); });
  double rate =
      static_cast<double>(share * static_cast<size_t>(threads_) * sizeof(uint64_t)) / seconds;
  best_read_ = std::max(best_read_, rate);
  return rate;
}

double PeakMeter::median_flops_per_second() const {
  if (flops_samples_.empty()) return 0;
  std::vector<double> sorted = flops_samples_;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(sorted.size() / 2),
                   sorted.end());
  return sorted[sorted.size() / 2];
}

}  // namespace mha
