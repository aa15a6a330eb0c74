// Weights of files: what a model is read from, and what is refused.
#include "examples/decoder/weights.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>

#include "decoder_tiny.h"
#include "examples/decoder/decoder.h"
#include "generator/spec/error.h"
#include "tools/common/safetensors_writer.h"

namespace mha::decoder {
namespace {

// Random ones, and a note of all that were asked for.
class NotedWeights final : public Weights {
 public:
  std::vector<float> get(const std::string& name,
                         const std::vector<int64_t>& shape) const override {
    shapes[name] = shape;
    return random_.get(name, shape);
  }
  bool has(const std::string&) const override { return true; }
  mutable std::map<std::string, std::vector<int64_t>> shapes;

 private:
  RandomWeights random_{3};
};

class FileWeightsTest : public testing::Test {
 protected:
  ~FileWeightsTest() override { std::filesystem::remove(path_); }

  // The tensors that a decoder asks for, but one.
  void write(const Weights& weights, const std::map<std::string, std::vector<int64_t>>& shapes,
             const std::string& without = "") const {
    std::map<std::string, std::vector<float>> data;
    std::vector<SafetensorsEntry> entries;
    for (const auto& [name, shape] : shapes) {
      if (name == without) continue;
      std::vector<float>& values = data[name] = weights.get(name, shape);
      entries.push_back(
          {name,
           "F32",
           shape,
           {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)}});
    }
    write_safetensors(path_, entries);
  }

  const std::string path_ = (std::filesystem::temp_directory_path() /
                             ("mha-decoder-test-" + std::to_string(getpid()) + ".safetensors"))
                                .string();
  const Kernel kernel_ = kernel_of<decoder_tiny_kernel, decoder_tiny_args>();
  Threads threads_{1};
};

TEST_F(FileWeightsTest, AreTheModel) {
  const Model model = {.layers = 2, .inner = 80, .vocabulary = 64, .epsilon = 1e-5f};
  const NotedWeights random;
  Decoder decoder(kernel_, random, model, 1, threads_);
  write(random, random.shapes);
  const FileWeights file(path_);
  const Model read = file.model();
  EXPECT_EQ(read.layers, 2);
  EXPECT_EQ(read.inner, 80);
  EXPECT_EQ(read.vocabulary, 64);
  Decoder same(kernel_, file, read, 1, threads_);
  const std::vector<int32_t> tokens = {5, 60, 7};
  const int32_t one = decoder.attention().create_sequence(),
                other = same.attention().create_sequence();
  const auto logits = decoder.feed(std::span(&one, 1), tokens),
             again = same.feed(std::span(&other, 1), tokens);
  ASSERT_EQ(logits.size(), again.size());
  EXPECT_EQ(std::memcmp(logits.data(), again.data(), logits.size_bytes()), 0);

  // Without an output matrix the embeddings are used twice.
  write(random, random.shapes, "lm_head.weight");
  Decoder tied(kernel_, FileWeights(path_), model, 1, threads_);
  const int32_t third = tied.attention().create_sequence();
  const auto others = tied.feed(std::span(&third, 1), tokens);
  EXPECT_NE(std::memcmp(logits.data(), others.data(), logits.size_bytes()), 0);

  write(random, random.shapes, "model.layers.1.mlp.up_proj.weight");
  EXPECT_THROW(Decoder(kernel_, FileWeights(path_), model, 1, threads_), UserError);
  write(random, random.shapes);
  Model wider = model;
  wider.inner = 96;
  EXPECT_THROW(Decoder(kernel_, FileWeights(path_), wider, 1, threads_), UserError);
}

TEST_F(FileWeightsTest, OfSixteenBits) {
  const std::vector<uint16_t> bf16 = {0x3f80, 0xc000, 0x0001, 0x7f80};
  const std::vector<uint16_t> f16 = {0x3c00, 0xfbff, 0x0001, 0x7c00, 0x8000, 0x3555};
  const auto bytes = [](const auto& values) {
    return std::string_view(reinterpret_cast<const char*>(values.data()),
                            values.size() * sizeof values[0]);
  };
  write_safetensors(path_, {{"a", "BF16", {4}, bytes(bf16)},
                            {"b", "F16", {6}, bytes(f16)},
                            {"c", "I32", {2}, bytes(bf16)}});
  const FileWeights file(path_);
  EXPECT_EQ(file.get("a", {4}), (std::vector<float>{1, -2, 0x1p-133f, INFINITY}));
  EXPECT_EQ(file.get("b", {6}),
            (std::vector<float>{1, -65504, 0x1p-24f, INFINITY, -0.0f, 0x1.554p-2f}));
  EXPECT_THROW(file.get("c", {2}), UserError);
  EXPECT_THROW(file.get("d", {1}), UserError);
  EXPECT_THROW(file.get("a", {2, 2}), UserError);
  EXPECT_THROW(file.model(), UserError);
}

TEST(RandomWeightsTest, DependOnSeedAndNameAlone) {
  const RandomWeights some(1), same(1), other(2);
  EXPECT_EQ(some.get("x", {8, 4}), same.get("x", {8, 4}));
  EXPECT_NE(some.get("x", {8, 4}), some.get("y", {8, 4}));
  EXPECT_NE(some.get("x", {8, 4}), other.get("x", {8, 4}));
  double squares = 0;
  for (const float value : some.get("x", {1000, 64})) squares += double{value} * double{value};
  EXPECT_NEAR(squares / 1000, 1, 0.02);
}

}  // namespace
}  // namespace mha::decoder
