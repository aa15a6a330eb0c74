// A line of cases.txt: what is measured, how much work it is, and against which limit of the
// machine.
#ifndef MHA_BENCH_KERNELS_CASE_H_
#define MHA_BENCH_KERNELS_CASE_H_

#include <algorithm>
#include <cstdint>
#include <string>

#include "bench/peak.h"
#include "mha/kernel.h"

namespace mha {

struct BenchCase {
  const char* name;
  const mha_kernel* kernel;
  int64_t d_model, heads, kv_heads, d_head;
  int64_t length;  // of the queries
  bool causal;
  int64_t window;  // keys back that a query sees beside its own; 0: all
  std::string dtype, weights;
  int64_t cached;  // keys of the sequence after the call; 0: no cache
  double goal;

  int64_t keys() const { return cached > 0 ? cached : length; }
  // Few rows, and few queries over a cache, take as long as it takes to read what they need once.
  bool reads() const { return length <= 4 && (d_model > 0 || cached > 0); }

  // FLOPs, of visible pairs alone.
  double attention_flops() const {
    double pairs = 0;
    for (int64_t row = 0; row < length; row++) {
      const int64_t seen = causal || window > 0 ? keys() - length + row + 1 : keys();
      pairs += static_cast<double>(window > 0 ? std::min(seen, window + 1) : seen);
    }
    return 4.0 * static_cast<double>(heads * d_head) * pairs;
  }
  double projection_flops(bool out) const {
    return 2.0 * static_cast<double>(length) * weight_count(out);
  }
  // Bytes of K and V, and of weights as they are stored.
  double attention_bytes() const {
    return cached > 0 ? 2.0 * static_cast<double>(cached * kv_heads * d_head) * bytes_of(dtype) : 0;
  }
  double projection_bytes(bool out) const { return weight_count(out) * bytes_of(weights); }

  // What a stage, or with "" the whole, has of what its limit counts.
  double work(const std::string& stage) const {
    const bool all = stage.empty(), out = stage == "project_out";
    double sum = 0;
    if (all || stage == "attention" || stage == "decode")
      sum += reads() ? attention_bytes() : attention_flops();
    for (const bool which : {false, true}) {
      if (d_model == 0 || (!all && (stage.rfind("project_", 0) != 0 || which != out))) continue;
      sum += reads() ? projection_bytes(which) : projection_flops(which);
    }
    return sum;
  }

  // The peak of the products: of pairs of bf16 where all that is multiplied is bf16 (int8 becomes
  // bf16 beside it), else of f32.
  PeakIsa isa() const {
    const bool pairs =
        dtype == "bf16" && (weights == "-" || weights == "bf16" || weights == "int8");
    return pairs ? best_bf16_peak_isa() : best_peak_isa();
  }

 private:
  static double bytes_of(const std::string& dtype) {
    return dtype == "f32" ? 4 : dtype == "int8" ? 1 : 2;
  }
  double weight_count(bool out) const {
    const int64_t columns = out ? heads * d_head : (heads + 2 * kv_heads) * d_head;
    return static_cast<double>(d_model) * static_cast<double>(columns);
  }
};

}  // namespace mha

#endif  // MHA_BENCH_KERNELS_CASE_H_
