#include "examples/decoder/tests/plain_decoder.h"

#include <cmath>
#include <limits>
#include <string>

namespace mha::decoder {
namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

Row norm(const Row& x, const std::vector<float>& weight, double epsilon) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + epsilon);
  Row y;
  for (size_t i = 0; i < x.size(); ++i) y.push_back(x[i] * scale * double{weight[i]});
  return y;
}

// y = x W^T.
Row product(const Row& x, const std::vector<float>& weight) {
  Row y(weight.size() / x.size());
  for (size_t n = 0; n < y.size(); ++n) {
    for (size_t k = 0; k < x.size(); ++k) y[n] += x[k] * double{weight[n * x.size() + k]};
  }
  return y;
}

// Turns the pairs (i, i + D / 2) of each head by position / 10000^(2 i / D).
void rotate(Row& heads, size_t width, double position) {
  for (size_t head = 0; head < heads.size(); head += width) {
    for (size_t i = 0; i < width / 2; ++i) {
      const double angle =
          position * std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(width));
      const double a = heads[head + i], b = heads[head + i + width / 2];
      heads[head + i] = a * std::cos(angle) - b * std::sin(angle);
      heads[head + i + width / 2] = b * std::cos(angle) + a * std::sin(angle);
    }
  }
}

// Concat over query heads of softmax(q k^T / sqrt(D)) v, of the last of the rows.
Row attend(const Row& q, const Rows& keys, const Rows& values, const Shape& shape) {
  Row concat;
  const auto d = static_cast<size_t>(shape.head_width), dv = static_cast<size_t>(shape.value_width);
  for (int64_t head = 0; head < shape.heads; ++head) {
    const auto kv = static_cast<size_t>(head / (shape.heads / shape.kv_heads));
    Row scores;
    double most = -std::numeric_limits<double>::infinity(), sum = 0;
    for (const Row& key : keys) {
      double score = 0;
      for (size_t i = 0; i < d; ++i) {
        score += q[static_cast<size_t>(head) * d + i] * key[kv * d + i];
      }
      scores.push_back(score / std::sqrt(static_cast<double>(d)));
      most = std::max(most, scores.back());
    }
    for (double& score : scores) sum += score = std::exp(score - most);
    for (size_t i = 0; i < dv; ++i) {
      double value = 0;
      for (size_t j = 0; j < scores.size(); ++j) value += scores[j] / sum * values[j][kv * dv + i];
      concat.push_back(value);
    }
  }
  return concat;
}

}  // namespace

std::vector<double> plain_logits(const Shape& shape, const Model& model, const Weights& weights,
                                 const std::vector<int32_t>& tokens) {
  const int64_t m = shape.width, q = shape.heads * shape.head_width,
                k = shape.kv_heads * shape.head_width, v = shape.kv_heads * shape.value_width;
  const std::vector<float> embeddings =
      weights.get("model.embed_tokens.weight", {model.vocabulary, m});
  Rows x;
  for (const int32_t token : tokens) {
    const auto row = embeddings.begin() + token * m;
    x.emplace_back(row, row + m);
  }
  for (int64_t layer = 0; layer < model.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    const auto matrix = [&](const char* name, int64_t rows, int64_t columns) {
      return weights.get(prefix + name + ".weight", {rows, columns});
    };
    const auto vector = [&](const char* name) {
      return weights.get(prefix + name + ".weight", {m});
    };
    const auto w_q = matrix("self_attn.q_proj", q, m), w_k = matrix("self_attn.k_proj", k, m),
               w_v = matrix("self_attn.v_proj", v, m),
               w_o = matrix("self_attn.o_proj", m, shape.heads * shape.value_width),
               gate = matrix("mlp.gate_proj", model.inner, m),
               up = matrix("mlp.up_proj", model.inner, m),
               down = matrix("mlp.down_proj", m, model.inner);
    const auto first = vector("input_layernorm"), second = vector("post_attention_layernorm");
    Rows keys, values;
    for (size_t t = 0; t < x.size(); ++t) {
      const Row row = norm(x[t], first, double{model.epsilon});
      Row query = product(row, w_q);
      keys.push_back(product(row, w_k));
      values.push_back(product(row, w_v));
      rotate(query, static_cast<size_t>(shape.head_width), static_cast<double>(t));
      rotate(keys.back(), static_cast<size_t>(shape.head_width), static_cast<double>(t));
      const Row y = product(attend(query, keys, values, shape), w_o);
      for (size_t i = 0; i < y.size(); ++i) x[t][i] += y[i];
    }
    for (Row& row : x) {
      const Row normed = norm(row, second, double{model.epsilon});
      Row inner = product(normed, gate);
      const Row wide = product(normed, up);
      for (size_t i = 0; i < inner.size(); ++i) inner[i] *= wide[i] / (1 + std::exp(-inner[i]));
      const Row y = product(inner, down);
      for (size_t i = 0; i < y.size(); ++i) row[i] += y[i];
    }
  }
  const Row last = norm(x.back(), weights.get("model.norm.weight", {m}), double{model.epsilon});
  return product(last, weights.get("lm_head.weight", {model.vocabulary, m}));
}

}  // namespace mha::decoder
