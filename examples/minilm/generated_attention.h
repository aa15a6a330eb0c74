// Attention by the kernels that mha-gen made from configs/minilm_l6.yaml and minilm_l6_probe.yaml.
#ifndef MHA_EXAMPLES_MINILM_GENERATED_ATTENTION_H_
#define MHA_EXAMPLES_MINILM_GENERATED_ATTENTION_H_

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "examples/minilm/attention_block.h"
#include "mha/mha.h"

namespace mha::minilm {

class GeneratedAttention final : public AttentionBlock {
 public:
  // Packs the attention weights of all layers. threads 0: all CPUs that the process may use.
  GeneratedAttention(const std::string& weights_file, int threads);

  void run(int layer, int64_t length, const float* x, float* output, float* weights) override;

  int threads() const;
  mha_kernel_info info() const;
  // Of one block: 2 (4 L M^2 + 2 L^2 M).
  static double flops(int64_t length);

 private:
  struct Deleter {
    void operator()(mha_context* context) const { mha_context_destroy(context); }
    void operator()(mha_weights* weights) const { mha_weights_destroy(weights); }
    void operator()(void* memory) const { std::free(memory); }
  };
  template <typename T>
  using Owned = std::unique_ptr<T, Deleter>;

  Owned<mha_weights> load(const mha_kernel& kernel, int layer) const;
  // At least `bytes`, aligned; grows and never shrinks.
  void* workspace(size_t bytes);

  std::string weights_file_;
  Owned<mha_context> context_;
  std::vector<Owned<mha_weights>> weights_;        // by layer
  std::vector<Owned<mha_weights>> probe_weights_;  // by layer, packed when first asked for
  Owned<void> workspace_;
  size_t workspace_size_ = 0;
};

}  // namespace mha::minilm

#endif  // MHA_EXAMPLES_MINILM_GENERATED_ATTENTION_H_
