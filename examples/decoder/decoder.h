// A Llama-style decoder: token embeddings, layers of attention and SwiGLU with RMS norms before
// each, a norm and the output matrix (Touvron et al. 2023).
#ifndef MHA_EXAMPLES_DECODER_DECODER_H_
#define MHA_EXAMPLES_DECODER_DECODER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "examples/common/linear.h"
#include "examples/decoder/attention.h"
#include "examples/decoder/threads.h"
#include "examples/decoder/weights.h"

namespace mha::decoder {

class Decoder {
 public:
  // Widths that are no multiple of 16 are a UserError.
  Decoder(const Kernel& kernel, const Weights& weights, const Model& model, int32_t sequences,
          Threads& threads);

  Attention& attention() { return attention_; }

  // Each sequence goes on by the same number of tokens, tokens [sequences, length]. Returns the
  // logits of what follows the last one of each: [sequences, vocabulary].
  std::span<const float> feed(std::span<const int32_t> sequences, std::span<const int32_t> tokens);

  // What a call with one token for a sequence reads: all weights, once for the whole batch, and for
  // each sequence the keys and values of its tokens.
  size_t weight_bytes() const;
  size_t cache_bytes(int64_t length) const;

 private:
  struct Layer {
    std::vector<float> attention_norm, inner_norm;
    examples::Linear gate, up, down;
  };

  examples::Linear linear(const Weights& weights, const std::string& name, int64_t outputs,
                          int64_t inputs) const;
  void apply(const examples::Linear& linear, const float* x, size_t rows, float* y);

  Model model_;
  Threads& threads_;
  Attention attention_;
  std::vector<float> embeddings_;  // [vocabulary, M]
  std::vector<Layer> layers_;
  std::vector<float> output_norm_;
  examples::Linear output_;
  std::vector<float> x_, y_, normed_, gate_, up_, logits_;
};

// The largest logit's token; with a temperature above 0 one drawn with the probability
// softmax(logits / temperature), by `chance` in [0, 1).
int32_t choose(std::span<const float> logits, double temperature, double chance);

}  // namespace mha::decoder

#endif  // MHA_EXAMPLES_DECODER_DECODER_H_
