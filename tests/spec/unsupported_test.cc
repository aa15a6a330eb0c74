// Keys that are right but not built: each is refused, at its place; what is built is not.
#include <gtest/gtest.h>

#include "cases.h"

namespace mha {
namespace {

class Unbuilt : public testing::TestWithParam<BadCase> {};

TEST_P(Unbuilt, IsRefusedInPlace) {
  std::string config = GetParam().config;
  const size_t marker = config.find('@');
  config.erase(marker, 1);
  const SourceLocation expected = location_at(config, line_starts(config), marker, "t.yaml");
  const std::vector<Diagnostic> problems = unsupported(good(config));
  const std::string all = format_diagnostics(problems, config);
  ASSERT_EQ(problems.size(), 1u) << config << all;
  EXPECT_EQ(problems[0].where.line, expected.line) << all;
  EXPECT_EQ(problems[0].where.column, expected.column) << all;
  EXPECT_NE(problems[0].message.find(GetParam().message + " not built yet in this version"),
            std::string::npos)
      << all;
}

INSTANTIATE_TEST_SUITE_P(
    Keys, Unbuilt,
    testing::Values(BadCase{attention("@targets: [arm64]\n"), "arm64 is"},
                    BadCase{attention("@targets: [opencl]\n"), "opencl is"},
                    BadCase{attention("@targets: [cuda-sm_90a]\n"), "CUDA targets are"},
                    BadCase{attention("@targets: [zen4, arm64]\n"), "arm64 is"}));

TEST(Unbuilt, WhatIsBuiltIsNot) {
  for (const std::string& more : std::vector<std::string>{
           "kv_heads: 2\nd_value: 17\nlayout: bhsd\n",
           "batch: {min: 1, max: 4}\nkey_length: {min: 1, max: 99}\n",
           "scale: 0.3\nmask: {causal: true, key_lengths: true}\nquery_offset: input\n",
           "query_offset: end\n", "outputs: [output, weights, lse]\n", "targets: [x86-64-v2]\n",
           "targets: [sapphirerapids]\n", "targets: [zen4, x86-64-v2, host]\n", "dtype: f32\n",
           "dtype: bf16\n", "dtype: f16\n",
           "mask: {window: {left: 8}, key_starts: true, tensor: bool}\n",
           "mask: {tensor: additive}\noutputs: [lse]\n", "packed: true\n",
           "kv_cache: {capacity: 64}\n", "dtype: bf16\nkv_cache: {capacity: 64}\n",
           "dtype: f16\nkv_cache: {capacity: 64, layout: paged}\n",
           "qk_norm: {width: all}\nrope: {style: half}\n", "pruned_heads: [1]\n",
           "outputs: [mean_weights, scores, scores_capped, scores_masked]\ntop_k: 3\n",
           "softcap: 30\nalibi: true\nsink: true\nscore_rule: s + 1\n",
           "kv_cache: {capacity: 64}\nkey_length: {min: 1, max: 64}\n",
           "mask: {rule: 'doc[q] == doc[k]'}\ntable: {doc: [Lk]}\n",
           // Said out loud, but off.
           "alibi: false\nsink: false\npacked: false\npruned_heads: []\nmask: {causal: false, "
           "tensor: none, key_starts: false}\n"
           "table: {}\n"}) {
    EXPECT_TRUE(unsupported(good(attention(more))).empty()) << more;
  }
  for (const char* weights : {"f32", "bf16", "f16", "int8"}) {
    for (const char* dtype : {"f32", "bf16", "f16"}) {
      const std::string more = std::string("weights: ") + weights + "\ndtype: " + dtype + "\n";
      EXPECT_TRUE(unsupported(good(block(more))).empty()) << more;
    }
  }
  EXPECT_TRUE(unsupported(good(block("cross: true\nkv_cache: {capacity: 64}\n"))).empty());
  EXPECT_TRUE(
      unsupported(
          good(block(
              "weights: f32\ncross: true\nkey_length: 9\nprojection_bias: {q: true, out: true}\n"
              "weights_from: {w_q: 'l.{layer}.q', b_q: {name: b}, w_o: {name: o, "
              "transpose: true, rows: [9, 521]}}\n")))
          .empty());
}

}  // namespace
}  // namespace mha
