// The sentence encoder all-MiniLM-L6-v2: 6 BERT layers, mean pooling, L2 norm.
#ifndef MHA_EXAMPLES_MINILM_ENCODER_H_
#define MHA_EXAMPLES_MINILM_ENCODER_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "examples/minilm/attention_block.h"
#include "examples/minilm/layers.h"
#include "examples/minilm/tokenizer.h"
#include "mha/mha.h"

namespace mha::minilm {

// The files of a model folder as sentence-transformers lays it out.
std::string weights_file(const std::string& model);

// The attention weights of one head, on request.
struct Probe {
  int layer = 0;
  int head = 0;
  std::vector<float> weights;  // [L, L]: row i is what token i looks at
};

class Encoder {
 public:
  // Reads config.json, tokenizer.json, sentence_bert_config.json and model.safetensors. Throws
  // UserError when one is missing, damaged, or of another model. `make_attention` is called when
  // the files have been found to be good.
  Encoder(const std::string& model,
          const std::function<std::unique_ptr<AttentionBlock>()>& make_attention);
  ~Encoder();
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  // Cuts the text to max_tokens(). Throws UserError when it is not UTF-8 or holds no token at all.
  Tokens tokenize(std::string_view text) const;
  // The unit vector [384] of a sentence; fills `probe` if given.
  std::vector<float> embed(const Tokens& tokens, Probe* probe = nullptr);

  // What the first layer sees: [L, 384].
  std::vector<float> token_embeddings(const Tokens& tokens) const;

  size_t max_tokens() const { return max_tokens_; }
  void set_max_tokens(size_t count);

 private:
  struct Layer {
    LayerNorm attention_norm, output_norm;
    Linear up, down;  // 384 -> 1536 -> 384
  };

  // A tensor of the file, F32 of this shape; read() copies it.
  const std::byte* find(const std::string& name, const std::vector<int64_t>& shape) const;
  std::vector<float> read(const std::string& name, const std::vector<int64_t>& shape) const;

  std::unique_ptr<AttentionBlock> attention_;
  Tokenizer tokenizer_;
  size_t max_tokens_ = 0;
  std::string weights_file_;
  mha_safetensors* file_ = nullptr;
  // [vocabulary, 384], F32, inside file_. Not necessarily aligned.
  const std::byte* words_ = nullptr;
  std::vector<float> positions_;  // [512, 384], with token type 0 added
  LayerNorm embedding_norm_;
  std::vector<Layer> layers_;
};

}  // namespace mha::minilm

#endif  // MHA_EXAMPLES_MINILM_ENCODER_H_
