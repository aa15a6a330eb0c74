#include "examples/minilm/tests/plain_attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "examples/common/status.h"
#include "mha/mha.h"

namespace mha::minilm {

using examples::check;
namespace {

using Matrix = std::vector<double>;  // [length, 384]

Matrix project(const Matrix& x, const std::vector<float>& weight, const std::vector<float>& bias) {
  constexpr auto kM = static_cast<size_t>(kWidth);
  Matrix y(x.size());
  // Eight sums at a time, because each waits for its own last addition.
  constexpr size_t kSums = 8;
  for (size_t i = 0; i < x.size() / kM; ++i) {
    for (size_t n = 0; n < kM; n += kSums) {
      std::array<double, kSums> sum{};
      for (size_t k = 0; k < kM; ++k) {
        for (size_t u = 0; u < kSums; ++u)
          sum[u] += x[i * kM + k] * double{weight[(n + u) * kM + k]};
      }
      for (size_t u = 0; u < kSums; ++u) y[i * kM + n + u] = sum[u] + bias[n + u];
    }
  }
  return y;
}

}  // namespace

PlainAttention::PlainAttention(const std::string& weights_file) {
  mha_safetensors* file = nullptr;
  check(mha_safetensors_open(weights_file.c_str(), &file));
  auto read = [&](const std::string& name) {
    mha_safetensors_tensor tensor;
    check(mha_safetensors_find(file, name.c_str(), &tensor));
    std::vector<float> values(tensor.bytes / sizeof(float));
    std::memcpy(values.data(), tensor.data, tensor.bytes);
    return values;
  };
  for (int i = 0; i < kLayers; ++i) {
    const std::string prefix = "encoder.layer." + std::to_string(i) + ".attention.";
    auto projection = [&](const std::string& name) {
      return Projection{read(prefix + name + ".weight"), read(prefix + name + ".bias")};
    };
    layers_.push_back({projection("self.query"), projection("self.key"), projection("self.value"),
                       projection("output.dense")});
  }
  mha_safetensors_close(file);
}

void PlainAttention::run(int layer, int64_t length, const float* x, float* output, float* weights) {
  constexpr auto kM = static_cast<size_t>(kWidth), kD = static_cast<size_t>(kHeadWidth);
  const auto count = static_cast<size_t>(length);
  const Layer& l = layers_[static_cast<size_t>(layer)];
  const Matrix input(x, x + count * kM);
  const Matrix q = project(input, l.query.weight, l.query.bias);
  const Matrix k = project(input, l.key.weight, l.key.bias);
  const Matrix v = project(input, l.value.weight, l.value.bias);
  Matrix context(count * kM);
  std::vector<double> p(count);
  for (size_t h = 0; h < static_cast<size_t>(kHeads); ++h) {
    for (size_t i = 0; i < count; ++i) {
      for (size_t j = 0; j < count; ++j) {
        p[j] = 0;
        for (size_t d = h * kD; d < (h + 1) * kD; ++d) p[j] += q[i * kM + d] * k[j * kM + d];
        p[j] /= std::sqrt(static_cast<double>(kD));
      }
      const double largest = *std::max_element(p.begin(), p.end());
      double sum = 0;
      for (double& score : p) sum += score = std::exp(score - largest);
      for (size_t j = 0; j < count; ++j) {
        p[j] /= sum;
        if (weights != nullptr) weights[(h * count + i) * count + j] = static_cast<float>(p[j]);
        for (size_t d = h * kD; d < (h + 1) * kD; ++d) context[i * kM + d] += p[j] * v[j * kM + d];
      }
    }
  }
  const Matrix y = project(context, l.out.weight, l.out.bias);
  std::transform(y.begin(), y.end(), output,
                 [](double value) { return static_cast<float>(value); });
}

}  // namespace mha::minilm
