#include "examples/minilm/encoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "examples/common/status.h"
#include "generator/spec/error.h"
#include "tools/common/files.h"

namespace mha::minilm {

using examples::check;
namespace {

constexpr int64_t kInner = 1536;

// [CLS], a piece and [SEP] at least.
bool possible_max_tokens(size_t count) {
  return count >= 3 && count <= static_cast<size_t>(kMaxLength);
}
constexpr const char* kMaxTokensRule = "; a text has 3 to 512 tokens";
static_assert(kMaxLength == 512);

nlohmann::json read_json(const std::string& path) {
  try {
    return nlohmann::json::parse(read_file(path));
  } catch (const nlohmann::json::exception& error) {
    throw UserError(path + ": " + error.what());
  }
}

// The kernels and this file are made for one architecture; another model must not run as if it were
// that one.
void check_config(const std::string& path) {
  const nlohmann::json config = read_json(path);
  const nlohmann::json expected = {
      {"model_type", "bert"},          {"hidden_size", kWidth},
      {"num_attention_heads", kHeads}, {"num_hidden_layers", kLayers},
      {"intermediate_size", kInner},   {"max_position_embeddings", kMaxLength},
      {"hidden_act", "gelu"},          {"layer_norm_eps", 1e-12},
  };
  for (const auto& [key, value] : expected.items()) {
    if (!config.is_object() || !config.contains(key) || config.at(key) != value) {
      throw UserError(path + ": not all-MiniLM-L6-v2: " + key + " must be " + value.dump());
    }
  }
}

// What sentence-transformers cuts texts at; it overrides the tokenizer's own number.
size_t read_max_tokens(const std::string& path) {
  const nlohmann::json config = read_json(path);
  if (!config.is_object() || !config.contains("max_seq_length") ||
      !config.at("max_seq_length").is_number_unsigned()) {
    throw UserError(path + ": max_seq_length is missing");
  }
  const auto count = config.at("max_seq_length").get<size_t>();
  if (!possible_max_tokens(count)) {
    throw UserError(path + ": max_seq_length is " + std::to_string(count) + kMaxTokensRule);
  }
  return count;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (int64_t extent : shape) text += (text.empty() ? "[" : ", ") + std::to_string(extent);
  return text + "]";
}

}  // namespace

std::string weights_file(const std::string& model) { return model + "/model.safetensors"; }

Encoder::Encoder(const std::string& model,
                 const std::function<std::unique_ptr<AttentionBlock>()>& make_attention)
    : weights_file_(weights_file(model)) {
  check_config(model + "/config.json");
  tokenizer_ = Tokenizer::load(model + "/tokenizer.json");
  max_tokens_ = read_max_tokens(model + "/sentence_bert_config.json");

  mha_safetensors* file = nullptr;
  check(mha_safetensors_open(weights_file_.c_str(), &file));
  std::unique_ptr<mha_safetensors, void (*)(mha_safetensors*)> guard(file, mha_safetensors_close);
  file_ = file;

  const auto vocabulary = static_cast<int64_t>(tokenizer_.vocabulary_size());
  words_ = find("embeddings.word_embeddings.weight", {vocabulary, kWidth});
  positions_ = read("embeddings.position_embeddings.weight", {kMaxLength, kWidth});
  const std::vector<float> types = read("embeddings.token_type_embeddings.weight", {2, kWidth});
  for (size_t i = 0; i < positions_.size(); ++i) positions_[i] += types[i % kWidth];
  auto norm = [&](const std::string& prefix) {
    return LayerNorm{read(prefix + ".weight", {kWidth}), read(prefix + ".bias", {kWidth})};
  };
  auto linear = [&](const std::string& prefix, int64_t outputs, int64_t inputs) {
    return Linear(read(prefix + ".weight", {outputs, inputs}), read(prefix + ".bias", {outputs}));
  };
  embedding_norm_ = norm("embeddings.LayerNorm");
  for (int i = 0; i < kLayers; ++i) {
    const std::string prefix = "encoder.layer." + std::to_string(i);
    Layer& layer = layers_.emplace_back();
    layer.attention_norm = norm(prefix + ".attention.output.LayerNorm");
    layer.up = linear(prefix + ".intermediate.dense", kInner, kWidth);
    layer.down = linear(prefix + ".output.dense", kWidth, kInner);
    layer.output_norm = norm(prefix + ".output.LayerNorm");
  }
  attention_ = make_attention();
  guard.release();
}

Encoder::~Encoder() { mha_safetensors_close(file_); }

const std::byte* Encoder::find(const std::string& name, const std::vector<int64_t>& shape) const {
  mha_safetensors_tensor tensor;
  if (mha_safetensors_find(file_, name.c_str(), &tensor) != MHA_OK) {
    throw UserError(weights_file_ + ": there is no tensor " + name);
  }
  const std::vector<int64_t> found(tensor.shape, tensor.shape + tensor.rank);
  if (tensor.dtype != MHA_F32 || found != shape) {
    throw UserError(weights_file_ + ": " + name + " must be F32 " + shape_text(shape));
  }
  return static_cast<const std::byte*>(tensor.data);
}

std::vector<float> Encoder::read(const std::string& name, const std::vector<int64_t>& shape) const {
  const std::byte* data = find(name, shape);
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  std::vector<float> values(static_cast<size_t>(count));
  std::memcpy(values.data(), data, values.size() * sizeof(float));
  return values;
}

void Encoder::set_max_tokens(size_t count) {
  if (!possible_max_tokens(count)) throw UserError(std::to_string(count) + kMaxTokensRule);
  max_tokens_ = count;
}

Tokens Encoder::tokenize(std::string_view text) const {
  Tokens tokens = tokenizer_.encode(text, max_tokens_);
  if (tokens.ids.size() == 2) throw UserError("there is no word in it");
  return tokens;
}

// Word + position + token type, normalised.
std::vector<float> Encoder::token_embeddings(const Tokens& tokens) const {
  const size_t length = tokens.ids.size(), width = kWidth;
  std::vector<float> x(length * width);
  for (size_t i = 0; i < length; ++i) {
    float* row = x.data() + i * width;
    const auto word = static_cast<size_t>(tokens.ids[i]);
    std::memcpy(row, words_ + word * width * sizeof(float), width * sizeof(float));
    for (size_t j = 0; j < width; ++j) row[j] += positions_[i * width + j];
  }
  embedding_norm_.apply(x.data(), length);
  return x;
}

std::vector<float> Encoder::embed(const Tokens& tokens, Probe* probe) {
  const size_t length = tokens.ids.size(), width = kWidth;
  std::vector<float> x = token_embeddings(tokens);
  std::vector<float> y(length * width), inner(length * kInner), weights;
  for (int i = 0; i < kLayers; ++i) {
    const Layer& layer = layers_[static_cast<size_t>(i)];
    const bool probed = probe != nullptr && probe->layer == i;
    if (probed) weights.resize(kHeads * length * length);
    attention_->run(i, static_cast<int64_t>(length), x.data(), y.data(),
                    probed ? weights.data() : nullptr);
    if (probed) {
      auto head = weights.begin() +
                  static_cast<std::ptrdiff_t>(static_cast<size_t>(probe->head) * length * length);
      probe->weights.assign(head, head + static_cast<std::ptrdiff_t>(length * length));
    }
    for (size_t j = 0; j < x.size(); ++j) x[j] += y[j];
    layer.attention_norm.apply(x.data(), length);

    layer.up.apply(x.data(), length, inner.data());
    gelu(inner);
    layer.down.apply(inner.data(), length, y.data());
    for (size_t j = 0; j < x.size(); ++j) x[j] += y[j];
    layer.output_norm.apply(x.data(), length);
  }

  // The mean over all tokens, [CLS] and [SEP] included, scaled to length 1.
  std::vector<double> mean(width);
  for (size_t i = 0; i < x.size(); ++i) mean[i % width] += x[i] / static_cast<double>(length);
  double square = 0;
  for (double m : mean) square += m * m;
  const double scale = 1 / std::max(std::sqrt(square), 1e-12);
  std::vector<float> embedding(width);
  for (size_t j = 0; j < width; ++j) embedding[j] = static_cast<float>(mean[j] * scale);
  return embedding;
}

}  // namespace mha::minilm
