#include "examples/minilm/encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "examples/minilm/generated_attention.h"
#include "examples/minilm/tests/model_files.h"
#include "examples/minilm/tests/plain_attention.h"
#include "generator/spec/error.h"
#include "tools/common/files.h"

namespace mha::minilm {
namespace {

using Json = nlohmann::json;

constexpr double kEmbeddingTolerance = 2e-6;
constexpr double kAttentionTolerance = 1e-5;

double largest_difference(const std::vector<float>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double{a[i]} - b[i]);
    if (!(difference <= worst)) worst = difference;  // NaN is a difference too
  }
  return worst;
}

Encoder make_generated(const std::string& model, int threads) {
  return Encoder(
      model, [&] { return std::make_unique<GeneratedAttention>(weights_file(model), threads); });
}

Encoder make_plain(const std::string& model) {
  return Encoder(model, [&] { return std::make_unique<PlainAttention>(weights_file(model)); });
}

// reference.json: figures of a float64 implementation. Of the heads every `step`th is looked at.
void expect_reference(Encoder* encoder, int step) {
  const Json reference = Json::parse(read_file(test_file("reference.json")));
  ASSERT_EQ(reference.at("sentences").size(), 3u);
  for (const Json& one : reference.at("sentences")) {
    SCOPED_TRACE(one.at("sentence").get<std::string>());
    const Tokens tokens = encoder->tokenize(one.at("sentence").get<std::string>());
    EXPECT_EQ(tokens.pieces, one.at("tokens").get<std::vector<std::string>>());
    EXPECT_EQ(tokens.ids, one.at("input_ids").get<std::vector<int32_t>>());
    EXPECT_LE(largest_difference(encoder->embed(tokens), one.at("embedding")), kEmbeddingTolerance);

    const size_t length = tokens.ids.size(), row = one.at("row");
    for (int layer = 0; layer < kLayers; ++layer) {
      for (int head = 0; head < kHeads; head += step) {
        Probe probe{layer, head, {}};
        const auto embedding = encoder->embed(tokens, &probe);
        EXPECT_LE(largest_difference(embedding, one.at("embedding")), kEmbeddingTolerance);
        ASSERT_EQ(probe.weights.size(), length * length);
        const std::vector<float> weights(probe.weights.data() + row * length,
                                         probe.weights.data() + (row + 1) * length);
        EXPECT_LE(largest_difference(weights, one.at("attention_row")
                                                  .at(static_cast<size_t>(layer))
                                                  .at(static_cast<size_t>(head))),
                  kAttentionTolerance)
            << "layer " << layer << " head " << head;
      }
    }
  }
}

TEST(Encoder, AgreesWithTheReference) {
  MHA_NEED_MODEL(model);
  Encoder encoder = make_generated(model, 0);
  expect_reference(&encoder, 1);
}

// Where this passes and the test above fails, the kernels are at fault; where both fail, the
// encoder is.
TEST(Encoder, AgreesWithTheReferenceOnPlainAttention) {
  MHA_NEED_MODEL(model);
  Encoder encoder = make_plain(model);
  expect_reference(&encoder, 5);
}

std::string text_of(size_t words) {
  std::string text;
  for (size_t i = 0; i < words; ++i) text += "river stone cloud seven green ";
  return text;
}

// Every length of the kernel meets the plain block: short ones, block edges, the longest.
TEST(Encoder, EveryKindOfLength) {
  MHA_NEED_MODEL(model);
  Encoder generated = make_generated(model, 0), plain = make_plain(model);
  for (size_t length : {3, 4, 7, 15, 17, 31, 33, 64, 65, 127, 257, 511, 512}) {
    generated.set_max_tokens(length);
    const Tokens tokens = generated.tokenize(text_of(length));
    ASSERT_EQ(tokens.ids.size(), length);
    Probe ours{5, 11, {}}, theirs{5, 11, {}};
    const auto expected = plain.embed(tokens, &theirs);
    const auto embedding = generated.embed(tokens, &ours);
    EXPECT_LE(largest_difference(embedding, {expected.begin(), expected.end()}),
              kEmbeddingTolerance)
        << "length " << length;
    EXPECT_LE(largest_difference(ours.weights, {theirs.weights.begin(), theirs.weights.end()}),
              kAttentionTolerance)
        << "length " << length;
  }
}

TEST(Encoder, SameBitsAgainAndForAnyThreadCount) {
  MHA_NEED_MODEL(model);
  Encoder one = make_generated(model, 1), three = make_generated(model, 3);
  for (size_t words : {1, 9, 60}) {
    const Tokens tokens = one.tokenize(text_of(words));
    const auto first = one.embed(tokens);
    EXPECT_EQ(first, one.embed(tokens));
    EXPECT_EQ(first, three.embed(tokens));
  }
}

TEST(Encoder, RefusesTextWithoutWordsAndBadLimits) {
  MHA_NEED_MODEL(model);
  Encoder encoder = make_plain(model);
  EXPECT_EQ(encoder.max_tokens(), 256u);  // the model's sentence_bert_config.json
  for (const char* text : {"", "   ", "\u200b", "\x01\x02", "a\xff"}) {
    EXPECT_THROW(encoder.tokenize(text), UserError) << text;
  }
  EXPECT_THROW(encoder.set_max_tokens(2), UserError);
  EXPECT_THROW(encoder.set_max_tokens(513), UserError);
}

}  // namespace
}  // namespace mha::minilm
