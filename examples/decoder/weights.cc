#include "examples/decoder/weights.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "examples/common/status.h"
#include "generator/spec/error.h"

namespace mha::decoder {
namespace {

size_t count_of(const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return static_cast<size_t>(count);
}

std::string text_of(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t extent : shape) text += (text.empty() ? "[" : ", ") + std::to_string(extent);
  return text + "]";
}

// SplitMix64 (Steele, Lea and Flood 2014).
uint64_t next(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

float of_half(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const float fraction = static_cast<float>(bits & 1023) / 1024;
  const float size = exponent == 0    ? std::ldexp(fraction, -14)
                     : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                      : std::ldexp(1 + fraction, exponent - 15);
  return bits >> 15 != 0 ? -size : size;
}

}  // namespace

std::vector<float> RandomWeights::get(const std::string& name,
                                      const std::vector<int64_t>& shape) const {
  uint64_t state = seed_;
  for (const char c : name) state = next(state) ^ static_cast<unsigned char>(c);
  // Uniform numbers have a third of the variance of their limit's square.
  const bool vector = shape.size() == 1;
  const float middle = vector ? 1.0f : 0.0f;
  const float limit = vector ? 0.2f : std::sqrt(3.0f / static_cast<float>(shape.back()));
  std::vector<float> values(count_of(shape));
  for (float& value : values) {
    const auto unit = static_cast<float>(next(state) >> 40) * 0x1p-23f - 1;
    value = middle + limit * unit;
  }
  return values;
}

FileWeights::FileWeights(const std::string& path)
    : path_(path), file_(nullptr, mha_safetensors_close) {
  mha_safetensors* file = nullptr;
  examples::check(mha_safetensors_open(path.c_str(), &file));
  file_.reset(file);
}

bool FileWeights::has(const std::string& name) const {
  mha_safetensors_tensor tensor;
  return mha_safetensors_find(file_.get(), name.c_str(), &tensor) == MHA_OK;
}

std::vector<float> FileWeights::get(const std::string& name,
                                    const std::vector<int64_t>& shape) const {
  mha_safetensors_tensor tensor;
  if (mha_safetensors_find(file_.get(), name.c_str(), &tensor) != MHA_OK) {
    throw UserError(path_ + ": there is no tensor " + name);
  }
  const std::vector<int64_t> found(tensor.shape, tensor.shape + tensor.rank);
  if (found != shape) {
    throw UserError(path_ + ": " + name + " is " + text_of(found) + " and must be " +
                    text_of(shape) + ": the kernel is made for one architecture, see its config");
  }
  std::vector<float> values(count_of(shape));
  const auto* bytes = static_cast<const std::byte*>(tensor.data);
  if (tensor.dtype == MHA_F32) {
    std::memcpy(values.data(), bytes, values.size() * sizeof(float));
    return values;
  }
  if (tensor.dtype != MHA_BF16 && tensor.dtype != MHA_F16) {
    throw UserError(path_ + ": " + name + " is " + mha_dtype_name(tensor.dtype) +
                    " and must be F32, BF16 or F16");
  }
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, bytes + i * sizeof bits, sizeof bits);
    values[i] = tensor.dtype == MHA_F16 ? of_half(bits)
                                        : std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
  return values;
}

Model FileWeights::model() const {
  Model model;
  const auto rows_of = [&](const std::string& name) {
    mha_safetensors_tensor tensor;
    if (mha_safetensors_find(file_.get(), name.c_str(), &tensor) != MHA_OK || tensor.rank != 2) {
      throw UserError(path_ + ": there is no matrix " + name);
    }
    return tensor.shape[0];
  };
  model.vocabulary = rows_of("model.embed_tokens.weight");
  model.inner = rows_of("model.layers.0.mlp.gate_proj.weight");
  for (model.layers = 1;
       has("model.layers." + std::to_string(model.layers) + ".input_layernorm.weight");) {
    ++model.layers;
  }
  return model;
}

}  // namespace mha::decoder
