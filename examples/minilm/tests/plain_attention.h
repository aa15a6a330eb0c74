// The attention block in float64, straight from its equation: tells a fault of the kernels from one
// of the encoder.
#ifndef MHA_EXAMPLES_MINILM_TESTS_PLAIN_ATTENTION_H_
#define MHA_EXAMPLES_MINILM_TESTS_PLAIN_ATTENTION_H_

#include <string>
#include <vector>

#include "examples/minilm/attention_block.h"

namespace mha::minilm {

class PlainAttention final : public AttentionBlock {
 public:
  explicit PlainAttention(const std::string& weights_file);

  void run(int layer, int64_t length, const float* x, float* output, float* weights) override;

 private:
  struct Projection {
    std::vector<float> weight, bias;
  };
  struct Layer {
    Projection query, key, value, out;
  };
  std::vector<Layer> layers_;
};

}  // namespace mha::minilm

#endif  // MHA_EXAMPLES_MINILM_TESTS_PLAIN_ATTENTION_H_
