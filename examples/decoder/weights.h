// The weights of a Llama-style model by the names that such files use: from a file, or random ones.
#ifndef MHA_EXAMPLES_DECODER_WEIGHTS_H_
#define MHA_EXAMPLES_DECODER_WEIGHTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mha/mha.h"

namespace mha::decoder {

// Of the model, as far as its attention block does not say it.
struct Model {
  int64_t layers = 8, inner = 2816, vocabulary = 32000;
  float epsilon = 1e-5f;
};

class Weights {
 public:
  virtual ~Weights() = default;
  // [shape] in f32, dense. Throws UserError where there is none.
  virtual std::vector<float> get(const std::string& name,
                                 const std::vector<int64_t>& shape) const = 0;
  virtual bool has(const std::string& name) const = 0;
};

// Numbers that depend on the seed and the name alone: around 1 for norms, and of a size that keeps
// rows as large as they are for matrices.
class RandomWeights final : public Weights {
 public:
  explicit RandomWeights(uint64_t seed) : seed_(seed) {}
  std::vector<float> get(const std::string& name, const std::vector<int64_t>& shape) const override;
  bool has(const std::string&) const override { return true; }

 private:
  uint64_t seed_;
};

// A safetensors file with F32, BF16 and F16.
class FileWeights final : public Weights {
 public:
  explicit FileWeights(const std::string& path);
  std::vector<float> get(const std::string& name, const std::vector<int64_t>& shape) const override;
  bool has(const std::string& name) const override;
  // What the shapes of its tensors say of the model.
  Model model() const;

 private:
  std::string path_;
  std::unique_ptr<mha_safetensors, void (*)(mha_safetensors*)> file_;
};

}  // namespace mha::decoder

#endif  // MHA_EXAMPLES_DECODER_WEIGHTS_H_
