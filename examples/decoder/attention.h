// The attention blocks of all layers by one generated kernel, and the cache that they share.
#ifndef MHA_EXAMPLES_DECODER_ATTENTION_H_
#define MHA_EXAMPLES_DECODER_ATTENTION_H_

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "examples/decoder/threads.h"
#include "examples/decoder/weights.h"
#include "mha/mha.h"

namespace mha::decoder {

// A generated block kernel: each has a struct of arguments with a name of its own.
struct Kernel {
  const mha_kernel* table;
  mha_status (*workspace_size)(mha_call call, int32_t threads, size_t* bytes);
  mha_status (*run)(mha_context* context, mha_call call, const float* x, float* output);
};

template <typename Args>
Args args_of(mha_call call) {
  Args args = {};
  args.call = call;
  args.call.size = sizeof args;
  return args;
}

// Of NAME_kernel and NAME_args.
template <const mha_kernel& table, typename Args>
Kernel kernel_of() {
  return {&table,
          [](mha_call call, int32_t threads, size_t* bytes) {
            const Args args = args_of<Args>(call);
            return mha_workspace_size(&table, &args, threads, bytes);
          },
          [](mha_context* context, mha_call call, const float* x, float* output) {
            Args args = args_of<Args>(call);
            args.x.data = const_cast<float*>(x);
            args.output.data = output;
            return mha_run(&table, context, &args);
          }};
}

// What the config says.
struct Shape {
  int64_t width = 0, heads = 0, kv_heads = 0, head_width = 0, value_width = 0;
  int64_t most_batch = 0, most_tokens = 0;  // of a call
  int64_t capacity = 0;                     // keys of a sequence
};
Shape shape_of(const Kernel& kernel);

class Attention {
 public:
  // Packs the attention weights of all layers. The cache has room for so many sequences.
  Attention(const Kernel& kernel, const Weights& weights, int64_t layers, int32_t sequences,
            Threads& threads);

  // y = attention(x W_Q^T, x W_K^T, x W_V^T) W_O^T; x, y [sequences, length, M] are the tokens that
  // follow what the sequences hold, and they hold them afterwards.
  void run(int64_t layer, std::span<const int32_t> sequences, int64_t length, const float* x,
           float* y);

  int32_t create_sequence();
  int32_t fork(int32_t sequence);
  void rewind(int32_t sequence, int64_t length);
  void destroy(int32_t sequence);

  const Shape& shape() const { return shape_; }
  mha_kernel_info info() const;
  size_t cache_bytes() const { return mha_cache_bytes(cache_.get()); }

 private:
  struct Deleter {
    void operator()(mha_context* context) const { mha_context_destroy(context); }
    void operator()(mha_weights* weights) const { mha_weights_destroy(weights); }
    void operator()(mha_cache* cache) const { mha_cache_destroy(cache); }
    void operator()(void* memory) const { std::free(memory); }
  };
  template <typename T>
  using Owned = std::unique_ptr<T, Deleter>;

  Kernel kernel_;
  Shape shape_;
  Threads& threads_;
  Owned<mha_context> context_;
  Owned<mha_cache> cache_;
  std::vector<Owned<mha_weights>> weights_;  // by layer
  Owned<void> workspace_;
  size_t workspace_size_ = 0;
};

}  // namespace mha::decoder

#endif  // MHA_EXAMPLES_DECODER_ATTENTION_H_
