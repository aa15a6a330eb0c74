#include "tools/reference/sums.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace mha {

double sum_error(int64_t n) { return kEps * (8 + std::sqrt(static_cast<double>(n))); }

// One function for each kind of machine, chosen when the program is loaded: earlier than
// ThreadSanitizer, which instruments the choice too, is ready for it.
#if defined(__SANITIZE_THREAD__)
#define MHA_CLONES
#else
#define MHA_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif

// Eight partial sums let the compiler use vectors; in float64 the order of a sum does not matter
// here.
MHA_CLONES double dot(const double* a, const double* b, int64_t n) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  double sum = 0;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (double partial : sums) sum += partial;
  return sum;
}

float dot(const float* a, const float* b, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

MHA_CLONES double dot(const double* a, const double* b, int64_t n, double* sum_abs) {
  double sums[8] = {}, sums_abs[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int lane = 0; lane < 8; ++lane) {
      sums[lane] += a[i + lane] * b[i + lane];
      sums_abs[lane] += std::abs(a[i + lane] * b[i + lane]);
    }
  }
  double sum = 0, magnitude = 0;
  for (; i < n; ++i) {
    sum += a[i] * b[i];
    magnitude += std::abs(a[i] * b[i]);
  }
  for (double partial : sums) sum += partial;
  for (double partial : sums_abs) magnitude += partial;
  *sum_abs = magnitude;
  return sum;
}

MHA_CLONES double dot_abs(const double* a, const double* b, int64_t n) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] += std::abs(a[i + lane] * b[i + lane]);
  }
  double sum = 0;
  for (; i < n; ++i) sum += std::abs(a[i] * b[i]);
  for (double partial : sums) sum += partial;
  return sum;
}

MHA_CLONES double dot_squares(const double* q, const double* q_error, const double* k,
                              const double* k_error, int64_t n) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int lane = 0; lane < 8; ++lane) {
      const double from_q = q_error[i + lane] * k[i + lane];
      const double from_k = q[i + lane] * k_error[i + lane];
      sums[lane] += from_q * from_q + from_k * from_k;
    }
  }
  double sum = 0;
  for (; i < n; ++i) {
    const double from_q = q_error[i] * k[i];
    const double from_k = q[i] * k_error[i];
    sum += from_q * from_q + from_k * from_k;
  }
  for (double partial : sums) sum += partial;
  return sum;
}

void parallel_for(int64_t count, const std::function<void(int64_t)>& body) {
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;  // the first one
  auto work = [&] {
    try {
      for (int64_t i = next++; i < count; i = next++) body(i);
    } catch (...) {
      next = count;
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  int64_t threads = std::min<int64_t>(count, std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::thread> others;
  for (int64_t i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  for (std::thread& thread : others) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace mha
