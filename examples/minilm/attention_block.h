// What the encoder asks of attention: the block of one layer, as "Attention Is All You Need" draws
// it.
#ifndef MHA_EXAMPLES_MINILM_ATTENTION_BLOCK_H_
#define MHA_EXAMPLES_MINILM_ATTENTION_BLOCK_H_

#include <cstdint>

namespace mha::minilm {

// The model that the kernels are generated for.
inline constexpr int kLayers = 6;
inline constexpr int kHeads = 12;
inline constexpr int64_t kHeadWidth = 32;
inline constexpr int64_t kWidth = kHeads * kHeadWidth;  // M = 384
inline constexpr int64_t kMaxLength = 512;

class AttentionBlock {
 public:
  virtual ~AttentionBlock() = default;

  // output = concat_h(softmax(Q_h K_h^T / sqrt(32)) V_h) W_O^T + b_O with Q, K, V = x W^T + b.
  // x, output [length, 384]; weights: NULL, or [12, length, length] for the softmax of each head.
  virtual void run(int layer, int64_t length, const float* x, float* output, float* weights) = 0;
};

}  // namespace mha::minilm

#endif  // MHA_EXAMPLES_MINILM_ATTENTION_BLOCK_H_
