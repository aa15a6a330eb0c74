// Tensors of every dtype through a safetensors file and back.
#include "tools/mha-run/tensor_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "generator/spec/error.h"
#include "generator/spec/parse.h"
#include "tools/common/safetensors_writer.h"
#include "tools/mha-run/inputs.h"
#include "tools/mha-run/lengths.h"
#include "tools/mha-run/random.h"

namespace mha {
namespace {

class TensorFiles : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = (std::filesystem::temp_directory_path() / "mha-tensors-XXXXXX").string();
    ASSERT_NE(mkdtemp(folder_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(HostTensors& tensors) {
    std::vector<SafetensorsEntry> entries;
    for (auto& [name, tensor] : tensors) {
      entries.push_back({name,
                         tensor.dtype_name(),
                         tensor.decl.shape,
                         {static_cast<const char*>(tensor.data()), tensor.bytes()}});
    }
    const std::string path = folder_ + "/tensors";
    write_safetensors(path, entries);
    return path;
  }
  static std::string refusal(const TensorFile& file, const TensorDecl& decl,
                             TensorFile::Allow allow = TensorFile::kNothing) {
    try {
      (void)file.read(decl, allow);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  }

 private:
  std::string folder_;
};

TEST_F(TensorFiles, HalvesKeepTheirBits) {
  for (Dtype dtype : {Dtype::kBF16, Dtype::kF16}) {
    const TensorDecl decl{"query", dtype, "B,D", {2, 3}};
    HostTensors tensors;
    HostTensor& tensor = tensors.emplace("query", decl).first->second;
    tensor.floats = {1, -0.1F, 3e4F, 0, INFINITY, NAN};
    const std::string path = write(tensors);
    const TensorFile file(path);
    ASSERT_EQ(std::filesystem::file_size(path) % 4, 0u);
    const HostTensor got = file.read(decl);
    for (size_t n = 0; n < 5; ++n) {
      EXPECT_EQ(got.floats[n], static_cast<float>(tensor.array().values[n])) << n;
    }
    EXPECT_NE(got.floats[1], -0.1F) << "which neither dtype holds";
    EXPECT_NEAR(got.floats[1], -0.1, 0.0005);
    EXPECT_TRUE(std::isnan(got.floats[5]));
    // Activations have the config's dtype; what is learned may have any.
    TensorDecl other = decl;
    other.dtype = Dtype::kF32;
    EXPECT_NE(refusal(file, other).find("expected F32 [2,3]"), std::string::npos);
    EXPECT_EQ(refusal(file, other, TensorFile::kAnyFloat), "");
    EXPECT_EQ(file.read(other, TensorFile::kAnyFloat).floats[1], got.floats[1]);
  }
}

TEST_F(TensorFiles, TheInputsOfEveryKey) {
  const ParseResult parsed = parse_spec_text(
      "version: 1\nname: every\nop: attention\nheads: 4\nkv_heads: 2\nd_head: 8\nbatch: 3\n"
      "query_length: {min: 1, max: 9}\ndtype: bf16\nsink: true\nqk_norm: {}\n"
      "score_rule: \"s + bias[h, k % 4] + own[b]\"\n"
      "table: {bias: {shape: [H, 4], dtype: f32}, own: [B]}\n"
      "kv_cache: {capacity: 64, layout: paged, page: 16}\n",
      "test.yaml");
  ASSERT_TRUE(parsed.spec) << format_diagnostics(parsed.problems, parsed.text);
  const Spec& spec = *parsed.spec;
  CallLengths lengths{3, 5, 5};
  lengths.past = 48;
  lengths.blocks = 3;
  lengths.pages = 11;
  HostTensors tensors = random_input_tensors(spec, lengths, 4);
  const TensorFile file(write(tensors));
  const CallLengths read = resolve_lengths(spec, &file, parse_sizes("", spec));
  EXPECT_EQ(read.past, 48);
  EXPECT_EQ(read.pages, 11);
  EXPECT_EQ(read.query, 5);
  const HostTensors got = read_inputs(spec, read, file);
  ASSERT_EQ(got.size(), tensors.size());
  EXPECT_EQ(got.size(), 12u);
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(got.at(name).array().values, tensor.array().values) << name;
  }
  tensors.at("cache_lengths").ints[1] = 49;
  EXPECT_THROW(read_inputs(spec, read, TensorFile(write(tensors))), UserError);
  tensors.at("cache_lengths").ints[1] = 4;
  tensors.at("block_table").ints[5] = 11;
  EXPECT_THROW(read_inputs(spec, read, TensorFile(write(tensors))), UserError);
}

}  // namespace
}  // namespace mha
