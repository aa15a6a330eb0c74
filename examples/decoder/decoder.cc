#include "examples/decoder/decoder.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "examples/decoder/layers.h"
#include "generator/spec/error.h"

namespace mha::decoder {

Decoder::Decoder(const Kernel& kernel, const Weights& weights, const Model& model,
                 int32_t sequences, Threads& threads)
    : model_(model),
      threads_(threads),
      attention_(kernel, weights, model.layers, sequences, threads) {
  const int64_t m = attention_.shape().width;
  embeddings_ = weights.get("model.embed_tokens.weight", {model.vocabulary, m});
  for (int64_t i = 0; i < model.layers; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    Layer& layer = layers_.emplace_back();
    layer.attention_norm = weights.get(prefix + "input_layernorm.weight", {m});
    layer.inner_norm = weights.get(prefix + "post_attention_layernorm.weight", {m});
    layer.gate = linear(weights, prefix + "mlp.gate_proj.weight", model.inner, m);
    layer.up = linear(weights, prefix + "mlp.up_proj.weight", model.inner, m);
    layer.down = linear(weights, prefix + "mlp.down_proj.weight", m, model.inner);
  }
  output_norm_ = weights.get("model.norm.weight", {m});
  // Small models use the embeddings twice.
  const bool tied = !weights.has("lm_head.weight");
  output_ =
      linear(weights, tied ? "model.embed_tokens.weight" : "lm_head.weight", model.vocabulary, m);
}

examples::Linear Decoder::linear(const Weights& weights, const std::string& name, int64_t outputs,
                                 int64_t inputs) const {
  if (outputs % 16 != 0) {
    throw UserError(name + ": it has " + std::to_string(outputs) +
                    " rows, which must be a multiple of 16");
  }
  const std::vector<float> zeros(static_cast<size_t>(outputs));
  return examples::Linear(weights.get(name, {outputs, inputs}), zeros);
}

void Decoder::apply(const examples::Linear& linear, const float* x, size_t rows, float* y) {
  const auto parts = static_cast<size_t>(threads_.count());
  threads_.run(threads_.count(), [&](int32_t i) {
    const auto part = static_cast<size_t>(i);
    linear.apply(x, rows, y, linear.panels() * part / parts, linear.panels() * (part + 1) / parts);
  });
}

std::span<const float> Decoder::feed(std::span<const int32_t> sequences,
                                     std::span<const int32_t> tokens) {
  const auto m = static_cast<size_t>(attention_.shape().width);
  const size_t rows = tokens.size(), length = rows / sequences.size();
  x_.resize(rows * m);
  y_.resize(rows * m);
  normed_.resize(rows * m);
  gate_.resize(rows * static_cast<size_t>(model_.inner));
  up_.resize(gate_.size());
  for (size_t r = 0; r < rows; ++r) {
    if (tokens[r] < 0 || tokens[r] >= model_.vocabulary) {
      throw UserError("there is no token " + std::to_string(tokens[r]) + ": they go from 0 to " +
                      std::to_string(model_.vocabulary - 1));
    }
    const float* row = embeddings_.data() + static_cast<size_t>(tokens[r]) * m;
    std::copy(row, row + m, x_.data() + r * m);
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    rms_norm(x_, layer.attention_norm, model_.epsilon, normed_);
    attention_.run(static_cast<int64_t>(i), sequences, static_cast<int64_t>(length), normed_.data(),
                   y_.data());
    add(x_, y_);
    rms_norm(x_, layer.inner_norm, model_.epsilon, normed_);
    apply(layer.gate, normed_.data(), rows, gate_.data());
    apply(layer.up, normed_.data(), rows, up_.data());
    swiglu(gate_, up_);
    apply(layer.down, gate_.data(), rows, y_.data());
    add(x_, y_);
  }
  // Only what follows the last token of each sequence is asked for.
  normed_.resize(sequences.size() * m);
  for (size_t b = 0; b < sequences.size(); ++b) {
    rms_norm(std::span(x_).subspan(((b + 1) * length - 1) * m, m), output_norm_, model_.epsilon,
             std::span(normed_).subspan(b * m, m));
  }
  logits_.resize(sequences.size() * static_cast<size_t>(model_.vocabulary));
  apply(output_, normed_.data(), sequences.size(), logits_.data());
  return logits_;
}

size_t Decoder::weight_bytes() const {
  const Shape& shape = attention_.shape();
  const int64_t rows = shape.heads * (shape.head_width + shape.value_width) +
                       shape.kv_heads * (shape.head_width + shape.value_width);
  size_t bytes = layers_.size() * static_cast<size_t>(rows * shape.width) * sizeof(float);
  for (const Layer& layer : layers_) {
    bytes += layer.gate.bytes() + layer.up.bytes() + layer.down.bytes() +
             (layer.attention_norm.size() + layer.inner_norm.size()) * sizeof(float);
  }
  return bytes + output_.bytes();
}

size_t Decoder::cache_bytes(int64_t length) const {
  const Shape& shape = attention_.shape();
  return layers_.size() *
         static_cast<size_t>(length * shape.kv_heads * (shape.head_width + shape.value_width)) *
         sizeof(float);
}

int32_t choose(std::span<const float> logits, double temperature, double chance) {
  const auto best = std::max_element(logits.begin(), logits.end());
  if (temperature <= 0) return static_cast<int32_t>(best - logits.begin());
  std::vector<double> sums;
  double sum = 0;
  for (const float logit : logits) {
    sums.push_back(sum += std::exp((static_cast<double>(logit) - *best) / temperature));
  }
  const auto found = std::upper_bound(sums.begin(), sums.end() - 1, chance * sum);
  return static_cast<int32_t>(found - sums.begin());
}

}  // namespace mha::decoder
