// A kernel made by hand, so that the runtime is tested without the generator: what a generated
// library holds as constants stands here as members that a test may change before it uses them.
//
// y[b, i, c] = 2 x[b, i, c] + 1000 * keys(b) + offset(b), by two stages:
//   double  buffer = 2 x          grid (Lq / 3, B)
//   add     y = buffer + ...      grid (Lq / 2, B), reversed, with memory from halide_malloc
#ifndef MHA_TESTS_RUNTIME_TOY_KERNEL_H_
#define MHA_TESTS_RUNTIME_TOY_KERNEL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "mha/kernel.h"
#include "mha/mha.h"

namespace mha {

inline constexpr int64_t kToyWidth = 4;
inline constexpr int64_t kToyMaxBatch = 3;
inline constexpr int64_t kToyMaxLength = 64;

struct ToyArgs {
  mha_call call;
  mha_tensor x, key_lengths, query_offset, y;
};

struct ToyKernel {
  enum Tensor { kX, kKeyLengths, kQueryOffset, kY };
  enum Stage { kDouble, kAdd };

  ToyKernel();
  ToyKernel(const ToyKernel&) = delete;

  mha_tensor_info tensors[4];
  mha_buffer_info buffers[1];
  std::vector<mha_operand> operands[2];
  mha_stage stages[2];
  mha_variant variants[2];  // the kernel has the first of them
  mha_kernel kernel;

  // Called by every task of stage `add` with its argv; what it returns is what the task returns.
  static std::function<int(void** argv)> on_task;
};

// Arguments for a toy kernel with memory for them; every test starts from a call that succeeds.
class ToyCall {
 public:
  ToyCall(const ToyKernel& kernel, int64_t batch, int64_t queries, int64_t keys, int32_t threads);

  mha_status run(mha_context* context) { return mha_run(&kernel_.kernel, context, &args); }
  // What y must be.
  std::vector<float> expected() const;
  // Whether neither y nor the workspace was touched since the call was made.
  bool nothing_written() const;

  ToyArgs args = {};
  int64_t batch, queries, keys;
  std::vector<float> x, y;
  std::vector<int32_t> key_lengths, query_offset;
  std::vector<uint8_t> workspace_memory;
  uint8_t* workspace;
  size_t workspace_bytes = 0;

 private:
  const ToyKernel& kernel_;
};

// `bytes` bytes with no readable page before the first (`at_end` false) or after the last (true) of
// them.
class GuardedMemory {
 public:
  GuardedMemory(size_t bytes, bool at_end);
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  uint8_t* data() const { return data_; }

 private:
  uint8_t* mapping_;
  size_t mapped_;
  uint8_t* data_;
};

// A context that is destroyed at the end of the scope.
class TestContext {
 public:
  explicit TestContext(int32_t threads, mha_parallel_for hook = nullptr, void* user = nullptr);
  ~TestContext() { mha_context_destroy(context_); }
  TestContext(const TestContext&) = delete;
  // Implicit, so that it goes where a context goes. NOLINTNEXTLINE(google-explicit-constructor)
  operator mha_context*() const { return context_; }

 private:
  mha_context* context_ = nullptr;
};

}  // namespace mha

#endif  // MHA_TESTS_RUNTIME_TOY_KERNEL_H_
