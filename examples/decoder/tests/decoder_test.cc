// The decoder on a small kernel, token by token against float64.
#include "examples/decoder/decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "decoder_tiny.h"
#include "examples/decoder/layers.h"
#include "examples/decoder/tests/plain_decoder.h"
#include "generator/spec/error.h"

namespace mha::decoder {
namespace {

const Model kModel = {.layers = 2, .inner = 80, .vocabulary = 64, .epsilon = 1e-5f};

class DecoderTest : public testing::Test {
 protected:
  static Kernel kernel() { return kernel_of<decoder_tiny_kernel, decoder_tiny_args>(); }

  std::vector<double> expected(const std::vector<int32_t>& tokens) const {
    return plain_logits(shape_, kModel, weights_, tokens);
  }

  // Holds logits against those of all tokens so far, and returns the likeliest token, which must
  // be the likeliest of both.
  int32_t check(std::span<const float> logits, const std::vector<int32_t>& tokens) const {
    const std::vector<double> exact = expected(tokens);
    EXPECT_EQ(logits.size(), exact.size());
    double most = 0;
    for (const double logit : exact) most = std::max(most, std::fabs(logit));
    EXPECT_GT(most, 0.5) << "nothing to compare";
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_NEAR(double{logits[i]}, exact[i], 2e-5 * most)
          << "logit " << i << " after " << tokens.size() << " tokens";
    }
    const auto best = std::max_element(exact.begin(), exact.end());
    const auto token = static_cast<int32_t>(best - exact.begin());
    EXPECT_EQ(choose(logits, 0, 0), token) << "after " << tokens.size() << " tokens";
    return token;
  }

  Threads threads_{2};
  RandomWeights weights_{7};
  Shape shape_ = shape_of(kernel());
  Decoder decoder_{kernel(), weights_, kModel, 4, threads_};
};

TEST_F(DecoderTest, TokenByToken) {
  const int32_t sequence = decoder_.attention().create_sequence();
  std::vector<int32_t> tokens = {11};
  // Beyond two pages of the cache.
  while (tokens.size() < 40) {
    const auto logits = decoder_.feed(std::span(&sequence, 1), std::span(&tokens.back(), 1));
    tokens.push_back(check(logits, tokens));
    if (HasFailure()) return;
  }
  // Not the same one again and again.
  std::sort(tokens.begin(), tokens.end());
  EXPECT_GT(std::unique(tokens.begin(), tokens.end()) - tokens.begin(), 4);
}

TEST_F(DecoderTest, APromptInPieces) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 21; ++i) tokens.push_back((i * 29 + 3) % 64);
  for (const size_t piece : {8, 5, 1}) {
    SCOPED_TRACE(piece);
    const int32_t sequence = decoder_.attention().create_sequence();
    std::span<const float> logits;
    for (size_t at = 0; at < tokens.size(); at += piece) {
      const size_t count = std::min(piece, tokens.size() - at);
      logits = decoder_.feed(std::span(&sequence, 1), std::span(tokens).subspan(at, count));
      check(logits, {tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(at + count)});
    }
    decoder_.attention().destroy(sequence);
  }
}

// Sequences of a batch have lengths and tokens of their own; forks share what came before.
TEST_F(DecoderTest, SequencesAndForks) {
  Attention& attention = decoder_.attention();
  std::vector<std::vector<int32_t>> texts = {{1, 2, 3, 4, 5, 6, 7, 8}, {60, 50}, {}};
  std::vector<int32_t> sequences;
  for (size_t i = 0; i < 2; ++i) {
    sequences.push_back(attention.create_sequence());
    check(decoder_.feed(std::span(&sequences[i], 1), texts[i]), texts[i]);
  }
  sequences.push_back(attention.fork(sequences[0]));
  texts[2] = texts[0];
  for (int step = 0; step < 12; ++step) {
    std::vector<int32_t> tokens;
    for (size_t i = 0; i < texts.size(); ++i) {
      tokens.push_back(static_cast<int32_t>((13 * step + 17 * static_cast<int>(i) + 5) % 64));
      texts[i].push_back(tokens.back());
    }
    const auto logits = decoder_.feed(sequences, tokens);
    for (size_t i = 0; i < texts.size(); ++i) check(logits.subspan(i * 64, 64), texts[i]);
    if (HasFailure()) return;
  }
  // Back to before the fork, and on with other tokens.
  attention.rewind(sequences[2], 5);
  texts[2].resize(5);
  texts[2].push_back(33);
  const int32_t token = 33;
  check(decoder_.feed(std::span(&sequences[2], 1), std::span(&token, 1)), texts[2]);
}

TEST_F(DecoderTest, Refuses) {
  const int32_t sequence = decoder_.attention().create_sequence();
  for (const int32_t token : {-1, 64}) {
    EXPECT_THROW(decoder_.feed(std::span(&sequence, 1), std::span(&token, 1)), UserError);
  }
  Model odd = kModel;
  odd.inner = 81;
  EXPECT_THROW(Decoder(kernel(), weights_, odd, 1, threads_), UserError);
  EXPECT_THROW(FileWeights("/nonexistent.safetensors"), UserError);
}

TEST(Choose, DrawsByProbability) {
  const std::vector<float> logits = {0, std::log(2.0f), std::log(5.0f)};
  EXPECT_EQ(choose(logits, 0, 0.1), 2);
  EXPECT_EQ(choose(logits, 1, 0.0), 0);
  EXPECT_EQ(choose(logits, 1, 0.124), 0);
  EXPECT_EQ(choose(logits, 1, 0.126), 1);
  EXPECT_EQ(choose(logits, 1, 0.374), 1);
  EXPECT_EQ(choose(logits, 1, 0.376), 2);
  EXPECT_EQ(choose(logits, 1, 0.999999), 2);
  // A low temperature takes the likeliest nearly always.
  EXPECT_EQ(choose(logits, 0.05, 0.01), 2);
}

TEST(ThreadsTest, RunEveryIndexOnce) {
  Threads threads(3);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::atomic<int>> hits(static_cast<size_t>(round % 7));
    threads.run(round % 7, [&](int32_t i) { ++hits[static_cast<size_t>(i)]; });
    for (const std::atomic<int>& hit : hits) ASSERT_EQ(hit, 1);
  }
}

}  // namespace
}  // namespace mha::decoder
