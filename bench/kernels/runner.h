// A kernel of a case, ready to be called with random operands.
#ifndef MHA_BENCH_KERNELS_RUNNER_H_
#define MHA_BENCH_KERNELS_RUNNER_H_

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "bench/kernels/case.h"
#include "mha/kernel.h"
#include "mha/mha.h"

namespace mha {

// Ends the program where a call did not succeed.
void require(mha_status status, const char* what);

// Whole or one stage of it: on the same memory, so that a stage by itself finds in the caches what
// it finds there in the whole. Over a cache every call begins with the same keys.
class Runner {
 public:
  Runner(const BenchCase& c, mha_context* context);
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  // Of the variant that serves the length.
  uint64_t stage_count() const { return kernel_.variants[variant_].stage_count; }
  const char* stage_name(uint64_t stage) const {
    return kernel_.variants[variant_].stages[stage].name;
  }

  static constexpr uint64_t kWhole = UINT64_MAX;
  // Of one call.
  double seconds(uint64_t stage = kWhole);

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  using Memory = std::unique_ptr<char, Free>;
  static Memory allocate(size_t bytes);
  // Numbers of any float dtype, up to `amplitude`, or 1 of two bytes.
  static Memory random_numbers(size_t count, float amplitude, uint32_t dtype = MHA_F32);
  void add_tensors(int64_t length);
  void add_weights();
  void add_cache(int64_t keys);
  mha_call* call() { return reinterpret_cast<mha_call*>(args_.data()); }

  mha_kernel kernel_;
  uint32_t variant_ = 0;
  mha_context* context_;
  std::vector<char> args_;
  std::vector<Memory> memory_;
  mha_weights* weights_ = nullptr;
  mha_cache* cache_ = nullptr;
  int32_t sequence_ = 0;
  int64_t first_key_ = 0;  // of the call
};

}  // namespace mha

#endif  // MHA_BENCH_KERNELS_RUNNER_H_
