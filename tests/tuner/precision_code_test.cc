// What becomes of numbers of two bytes in the code of each target: the instructions that multiply
// pairs of bf16, or those that make f32 of them.
#include <gtest/gtest.h>

#include <string>

#include "generator/emit/generate.h"
#include "generator/spec/parse.h"
#include "schedules/tuner/spills.h"

namespace mha {
namespace {

// The assembly of the stage attention.
std::string attention_code(const std::string& dtype, const std::string& target,
                           const std::string& more = "") {
  const std::string config =
      "version: 1\nname: t\nop: attention\nheads: 2\nd_head: 64\nquery_length: 512\ndtype: " +
      dtype + "\n" + more;
  const ParseResult parsed = parse_spec_text(config, "t.yaml");
  EXPECT_TRUE(parsed.spec) << config;
  GenerateOptions options;
  options.targets = {target};
  options.emit = {"asm"};
  for (const auto& [name, text] : generate(*parsed.spec, options).files) {
    if (name.ends_with("attention.s")) return text;
  }
  ADD_FAILURE() << "there is no assembly of the attention";
  return "";
}

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

class PairsOfBf16 : public testing::TestWithParam<const char*> {};

TEST_P(PairsOfBf16, AreMultipliedInTheHotLoops) {
  for (const char* more :
       {"", "mask: {causal: true}\n", "mask: {key_lengths: true}\n", "outputs: [output, lse]\n"}) {
    const std::string code = attention_code("bf16", GetParam(), more);
    // Two tiles of 8 x 2 sums, of four and of two steps at least.
    EXPECT_GE(count(code, "vdpbf16ps"), 16 * 6) << more;
    for (const SpillingLoop& loop : spilling_loops(code)) {
      ADD_FAILURE() << GetParam() << " " << more << ": " << spill_text(loop);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, PairsOfBf16, testing::Values("zen4", "zen5", "sapphirerapids"));

TEST(Converted, WhereNothingMultipliesPairs) {
  for (const char* target : {"x86-64-v2", "x86-64-v3", "x86-64-v4"}) {
    EXPECT_EQ(count(attention_code("bf16", target), "dpbf16ps"), 0) << target;
  }
}

TEST(Converted, F16ByTheInstructionThatIsThere) {
  for (const char* target : {"x86-64-v3", "x86-64-v4", "zen4", "sapphirerapids"}) {
    const std::string code = attention_code("f16", target);
    EXPECT_GT(count(code, "vcvtph2ps"), 0) << target;
    EXPECT_GT(count(code, "vcvtps2ph"), 0) << target;
    EXPECT_EQ(count(code, "dpbf16ps"), 0) << target;
  }
  EXPECT_EQ(count(attention_code("f16", "x86-64-v2"), "cvtph2ps"), 0);
}

}  // namespace
}  // namespace mha
