// Rules that tie keys together, sizes, and what a good config becomes.
#include <gtest/gtest.h>

#include <cmath>

#include "cases.h"

namespace mha {
namespace {

// So many tables, and a rule that reads each.
std::string tables(int count) {
  std::string rule, map;
  for (int i = 0; i < count; ++i) {
    const std::string name = "t" + std::to_string(i);
    rule += (i > 0 ? " + " : "") + name + "[k]";
    map += (i > 0 ? ", " : "") + name + ": [Lk]";
  }
  return "mask: {rule: '" + rule + " > 0'}\n@table: {" + map + "}\n";
}

class BadRule : public testing::TestWithParam<BadCase> {};
TEST_P(BadRule, IsRefusedInPlace) { expect_bad(GetParam()); }

INSTANTIATE_TEST_SUITE_P(
    Heads, BadRule,
    testing::Values(
        BadCase{"version: 1\nname: t\nd_model: 100\nheads: @8\nquery_length: 4\n",
                "8 does not divide d_model, 100", "give d_head"},
        BadCase{"version: 1\nname: t\nd_model: 4\nheads: @8\nquery_length: 4\n",
                "8 does not divide d_model, 4"},
        BadCase{attention("kv_heads: @3\n"), "kv_heads: 3 does not divide heads, 8"},
        BadCase{attention("kv_heads: @16\n"), "kv_heads: 16 does not divide heads, 8"},
        BadCase{attention("@d_model: 100\n"), "d_model: 100 is not heads * d_head = 512"},
        BadCase{attention("pruned_heads: [0, @8]\n"), "there is no head 8, heads are 0 to 7"},
        BadCase{attention("@pruned_heads: [0, 1, 2, 3, 4, 5, 6, 7]\n"), "no head is left"},
        BadCase{attention("alibi: @[1, 0.5]\n"), "2 slopes for 8 heads"},
        BadCase{attention("alibi: [1, 2, 3, 4, 5, 6, 7, @2.3587e38]\n"),
                "slope * log2(e) is beyond the range of f32", "2.358e38"},
        BadCase{attention("alibi: [1, @-3e38, 3, 4, 5, 6, 7, 2.3586e38]\n"),
                "alibi: slope * log2(e)"},
        BadCase{"version: 1\nname: t\nop: attention\nheads: 65537\nd_head: 1\nquery_length: "
                "4\n@alibi: true\n",
                "at most 65536 heads"}));

INSTANTIATE_TEST_SUITE_P(
    Lengths, BadRule,
    testing::Values(BadCase{block("@key_length: 17\n"),
                            "without cross the keys of a block come from x", "cross: true"},
                    BadCase{block("@key_length: {min: 1, max: 16}\n"), "without cross"},
                    BadCase{attention("top_k: @17\n"), "top_k: 17 of at most 16 keys"},
                    BadCase{attention("key_length: 5\ntop_k: @6\n"), "of at most 5 keys"}));

// float(2.3587e38 * log2(e)) is infinite, float(2.3586e38 * log2(e)) is not.
INSTANTIATE_TEST_SUITE_P(
    Scale, BadRule,
    testing::Values(BadCase{attention("scale: @2.3587e38\n"), "beyond the range of f32",
                            "2.358e38"},
                    BadCase{attention("scale: @-3e38\n"), "scale: scale * log2(e)"},
                    BadCase{block("scale: @3.4e38\n"), "beyond the range of f32"}));

INSTANTIATE_TEST_SUITE_P(
    Rope, BadRule,
    testing::Values(
        BadCase{attention("rope: {style: half, dims: @66}\n"),
                "rope.dims: 66 is more than d_head, 64"},
        BadCase{attention("rope: {style: half, dims: @63}\n"), "63 is odd: dims turn in pairs"},
        BadCase{"version: 1\nname: t\nop: attention\nheads: 2\nd_head: 59\nquery_length: 4\n@rope: "
                "{style: half}\n",
                "59 is odd (the default, d_head)"},
        BadCase{attention("rope: {style: half, scaling: {inv_freq: @[1, 0.5]}}\n"),
                "2 frequencies, must be dims / 2 = 32"},
        BadCase{
            attention("rope: {style: half, scaling: {type: llama3, factor: 8, low_freq_factor: 4, "
                      "high_freq_factor: @1, original_length: 8192}}\n"),
            "high_freq_factor must be more than low_freq_factor"},
        BadCase{attention("rope: {style: half, @scaling: {type: yarn, factor: 8, original_length: "
                          "8, beta_fast: 1}}\n"),
                "beta_fast must be more than beta_slow"},
        BadCase{attention("qk_norm: {@order: after_rope}\n"), "after_rope without rope"}));

INSTANTIATE_TEST_SUITE_P(
    Cache, BadRule,
    testing::Values(
        BadCase{attention("kv_cache: {capacity: 64, layout: paged, page: @24}\n"),
                "24 is no multiple of 16"},
        BadCase{attention("kv_cache: {capacity: 64, @page: 32}\n"), "only a paged cache has pages"},
        BadCase{attention("kv_cache: {capacity: @15}\n"), "15 is less than query_length, 16"},
        BadCase{attention("kv_cache: {capacity: @99}\nkey_length: 100\n"),
                "99 is less than key_length, 100"},
        BadCase{block("kv_cache: {capacity: 64}\n@key_length: 9\n"), "without cross the keys"},
        BadCase{attention("kv_cache: {capacity: 64}\nquery_offset: @input\n"),
                "the queries follow the cached keys"},
        BadCase{attention("kv_cache: {capacity: 64}\nkey_length: 9\nquery_offset: @end\n"),
                "the queries follow the cached keys"},
        BadCase{block("kv_cache: {capacity: 64}\ncross: true\nquery_offset: @end\n"),
                "the queries follow the cached keys"},
        BadCase{attention("layout: bhsd\n@packed: true\n"), "need layout bshd"},
        BadCase{attention("packed: true\n@key_length: 16\n"), "sequence_starts says how long"},
        BadCase{block("cross: true\npacked: true\n@key_length: 9\n"), "sequence_starts says"},
        BadCase{block("@key_length: 16\npacked: true\n"), "sequence_starts says"},
        BadCase{attention("@cross: true\n"), "only op block has this key"},
        BadCase{block("@layout: bshd\n"), "only op attention has this key"}));

// What looks like a contradiction and is none.
TEST(Rules, WhatHasAMeaning) {
  for (const char* more :
       {"mask: {window: {left: -1, right: -1}}\n", "packed: true\nquery_offset: end\n",
        "packed: false\nkey_length: 7\nlayout: bhsd\n", "packed: true\ntop_k: 16\n",
        "packed: true\nmask: {key_lengths: true, key_starts: true, tensor: additive}\n",
        "mask: {causal: true, window: {right: 5}}\n", "outputs: [lse]\ntop_k: 1\n",
        "outputs: [scores_capped]\n", "key_length: 3\nmask: {causal: true}\n",
        "key_length: {min: 1, max: 9}\ntop_k: 9\n"}) {
    good(attention(more));
  }
  good(block("cross: true\n"));
  good(block("cross: true\npacked: true\n"));
  good(block("key_length: 16\n"));
}

INSTANTIATE_TEST_SUITE_P(
    WeightsFrom, BadRule,
    testing::Values(
        BadCase{block("weights_from: {@b_q: a}\n"),
                "the block has no b_q, as projection_bias.q is not set"},
        BadCase{block("projection_bias: {out: false}\nweights_from: {@b_o: a}\n"),
                "projection_bias.out is not set"},
        BadCase{block("weights_from: {@q_norm: a}\n"), "as qk_norm is not set"},
        BadCase{block("weights_from: {@sink: a}\n"), "as sink is not set"},
        BadCase{block("weights_from: {w_q: 'a.@{layr}.b'}\n"), "{layer} is the only thing"},
        BadCase{block("weights_from: {w_q: {name: 'a.{layer}.@{b}'}}\n"),
                "{layer} is the only thing"},
        BadCase{block("weights_from: {w_q: {name: a, rows: @[512, 512]}}\n"), "needs from < to"},
        BadCase{block("weights_from: {w_q: {name: a, rows: @[0, 511]}}\n"),
                "has 511 rows, w_q has 512"},
        BadCase{block("kv_heads: 2\nweights_from: {w_k: {name: a, rows: @[0, 512]}}\n"),
                "w_k has 128"},
        BadCase{
            block("projection_bias: {q: true}\nweights_from: {b_q: {name: a, @transpose: true}}\n"),
            "a vector cannot be transposed"}));

BadCase lengths(const std::string& more, const std::string& message) {
  return {"version: 1\nname: t\nop: attention\nheads: 16\nd_head: 64\n" + more, message};
}
// 2^31 elements are refused, one element fewer is not; products beyond 64 bits do not wrap around.
INSTANTIATE_TEST_SUITE_P(
    Sizes, BadRule,
    testing::Values(
        lengths("query_length: 64\n@key_length: 2097152\nd_value: 63\n",
                "tensor `key` [B, Lk, G, D] = [1, 2097152, 16, 64] has 2147483648 elements: a "
                "tensor must have fewer "
                "than 2^31"),
        lengths("query_length: 46341\nkey_length: 46341\n@outputs: [output, mean_weights]\n",
                "`mean_weights` [B, Lq, Lk]"),
        lengths("query_length: 16384\n@outputs: [output, weights]\n",
                "output `weights` [B, H, Lq, Lk] = [1, 16, 16384, 16384]"),
        lengths("query_length: {min: 1, max: 16384}\n@outputs: [output, weights]\n",
                "has 4294967296 elements"),
        lengths("query_length: 64\nd_value: 63\nkv_cache: {@capacity: 2097152}\n",
                "cache `present_key`"),
        lengths("query_length: 1048576\nkey_length: 4096\n@top_k: 128\n", "output `top_weights`"),
        BadCase{"version: 1\nname: t\nop: attention\nheads: 1\nd_head: 1\nquery_length: 65536\n"
                "mask: {rule: 'm[q, k] > 0'}\ntable: {@m: [Lq, Lk]}\n",
                "table `m` [Lq, Lk] = [65536, 65536] has 4294967296"},
        BadCase{"version: 1\nname: t\nop: attention\nheads: 8\nd_head: 100\nquery_length: 1\n"
                "kv_cache: {@capacity: 2600000}\n",
                "in whole vectors, [G, keys, Dv] = [8, 2600000, 112] has 2329600000"},
        BadCase{attention("kv_cache: {capacity: 65536}\nmask: {rule: 'm[k, k] > 0'}\ntable: {@m: "
                          "[Lk, Lk]}\n"),
                "table `m` [Lk, Lk] = [65536, 65536] has 4294967296"},
        BadCase{attention(tables(33)), "33 tables, a kernel has at most 32"},
        BadCase{"version: 1\nname: t\nd_model: 32768\n@heads: 2\nkv_heads: 1\nd_head: "
                "32768\nd_value: 1\nquery_length: 1\n",
                "weight `w_q` [H * D, M] = [65536, 32768] has 2147483648"}));

TEST(Sizes, ProductsDoNotWrapAround) {
  const ParseResult result = parse_spec_text(
      "version: 1\nname: t\nop: attention\nheads: 2147483647\nd_head: 2147483647\nbatch: "
      "2147483647\n"
      "query_length: 2147483647\n",
      "t.yaml");
  ASSERT_EQ(result.problems.size(), 4u);
  for (const Diagnostic& d : result.problems)
    EXPECT_NE(d.message.find("more than 2^64 elements"), std::string::npos);
  // 2^32 * 2^32 is 0 in 64 bits.
  EXPECT_FALSE(parse_spec_text(
                   "version: 1\nname: t\nop: attention\nheads: 65536\nd_head: 65536\nbatch: 65536\n"
                   "query_length: 65536\n",
                   "t.yaml")
                   .spec.has_value());
}

TEST(Sizes, TheLargestIsGood) {
  good("version: 1\nname: t\nop: attention\nheads: 1\nd_head: 1\nquery_length: 2147483647\n");
  good("version: 1\nname: t\nop: attention\nheads: 1\nd_head: 2147483647\nquery_length: 1\n");
  good(
      "version: 1\nname: t\nop: attention\nheads: 1\nd_head: 1\nquery_length: 46340\noutputs: "
      "[weights]\n");
}

TEST(Defaults, Block) {
  const Spec spec = good("version: 1\nname: t\nd_model: 512\nheads: 8\nquery_length: 16\n");
  EXPECT_EQ(spec.op, Op::kBlock);
  EXPECT_EQ(spec.kv_heads, 8);
  EXPECT_EQ(spec.d_head, 64);
  EXPECT_EQ(spec.d_value, 64);
  EXPECT_EQ(spec.batch, (Range{1, 1}));
  EXPECT_EQ(spec.key_length, (Range{16, 16}));
  EXPECT_FALSE(spec.key_length_given);
  EXPECT_EQ(spec.weights, Dtype::kF32);
  EXPECT_EQ(spec.scale, 0.125);
  EXPECT_EQ(spec.query_offset, QueryOffset::kStart);
  EXPECT_EQ(spec.outputs, std::vector<std::string>{"output"});
  EXPECT_EQ(spec.targets, std::vector<std::string>{"host"});
  EXPECT_EQ(good(block("dtype: bf16\n")).weights, Dtype::kBF16);
  EXPECT_EQ(good(block("d_head: 59\n")).d_head, 59);
  EXPECT_EQ(good(block("d_head: 59\nd_value: 7\n")).d_value, 7);
  EXPECT_DOUBLE_EQ(good(block("d_head: 59\n")).scale, 1 / std::sqrt(59.0));
  EXPECT_FALSE(good(block("key_length: 16\n")).key_length_given);
  EXPECT_TRUE(good(block("cross: true\nkey_length: 17\n")).key_length_given);
}

TEST(Defaults, Attention) {
  EXPECT_EQ(good(attention("")).d_model, 0);
  EXPECT_EQ(good(attention("d_model: 512\n")).d_model, 0);
  EXPECT_EQ(
      good("version: 1\nname: t\nop: attention\nheads: 8\nd_model: 256\nquery_length: 4\n").d_head,
      32);
  const Spec spec =
      good(attention("key_length: {min: 2, max: 9}\nkv_heads: 2\nbatch: {min: 3, max: 3}\n"));
  EXPECT_EQ(spec.key_length, (Range{2, 9}));
  EXPECT_TRUE(spec.key_length_given);
  EXPECT_TRUE(spec.batch.fixed());
  EXPECT_EQ(spec.kv_heads, 2);
}

TEST(Values, EveryKey) {
  const Spec spec = good(attention(
      "layout: bshd\nscale: 0.25\nquery_offset: input\nsoftcap: 30\nsink: true\ntop_k: 3\n"
      "qk_norm: {eps: 1e-5, weight_offset: 1, width: all, order: after_rope}\n"
      "rope: {style: interleaved, theta: 500000, dims: 32, scaling: {type: yarn, factor: 4, "
      "original_length: 4096}}\n"
      "mask: {causal: true, window: {left: 3}, tensor: additive, key_lengths: true, key_starts: "
      "true, "
      "rule: 'doc[q] == doc[k]'}\n"
      "table: {doc: [Lk], bias: {shape: [H, 5], dtype: f32}}\nscore_rule: s + bias[h, q % 5]\n"
      "outputs: [lse, scores, output]\npruned_heads: [5, 2]\ntargets: [zen4, zen5]\n"));
  EXPECT_EQ(spec.scale, 0.25);
  EXPECT_EQ(spec.query_offset, QueryOffset::kInput);
  EXPECT_EQ(spec.softcap, 30.0);
  EXPECT_TRUE(spec.sink);
  EXPECT_EQ(spec.top_k, 3);
  EXPECT_EQ(spec.qk_norm->eps, 1e-5);
  EXPECT_EQ(spec.qk_norm->weight_offset, 1);
  EXPECT_TRUE(spec.qk_norm->all_width);
  EXPECT_FALSE(spec.qk_norm->before_rope);
  EXPECT_TRUE(spec.rope->interleaved);
  EXPECT_EQ(spec.rope->theta, 500000);
  EXPECT_EQ(spec.rope->dims, 32);
  EXPECT_EQ(spec.rope->scaling.type, "yarn");
  EXPECT_EQ(spec.rope->scaling.numbers.at("factor"), 4);
  EXPECT_EQ(spec.rope->scaling.numbers.at("beta_fast"), 32);
  EXPECT_TRUE(spec.mask.causal && spec.mask.key_lengths && spec.mask.key_starts);
  EXPECT_EQ(spec.mask.window->left, 3);
  EXPECT_EQ(spec.mask.window->right, -1);
  EXPECT_EQ(spec.mask.tensor, MaskTensor::kAdditive);
  EXPECT_EQ(spec.mask.rule, "doc[q] == doc[k]");
  EXPECT_EQ(spec.score_rule, "s + bias[h, q % 5]");
  ASSERT_EQ(spec.tables.size(), 2u);
  EXPECT_EQ(spec.tables[1].shape, (std::vector<std::string>{"H", "5"}));
  EXPECT_EQ(spec.tables[1].dtype, Dtype::kF32);
  EXPECT_EQ(spec.outputs, (std::vector<std::string>{"output", "lse", "scores"}));
  EXPECT_EQ(spec.pruned_heads, (std::vector<int64_t>{2, 5}));
  EXPECT_EQ(spec.targets, (std::vector<std::string>{"zen4", "zen5"}));
  const Spec cached =
      good(attention("kv_cache: {capacity: 128, layout: paged}\nquery_offset: end\n"));
  EXPECT_EQ(cached.kv_cache->capacity, 128);
  EXPECT_TRUE(cached.kv_cache->paged);
  EXPECT_EQ(cached.kv_cache->page, 64);
  const Spec fused = good(block(
      "weights_from: {w_q: {name: 'h.{layer}.c', transpose: true, rows: [512, 1024]}, w_o: o}\n"));
  EXPECT_EQ(fused.weights_from.at("w_q").name, "h.{layer}.c");
  EXPECT_TRUE(fused.weights_from.at("w_q").transpose);
  EXPECT_EQ(fused.weights_from.at("w_q").rows, (Range{512, 1024}));
  EXPECT_FALSE(fused.weights_from.at("w_o").transpose);
}

// The slopes of the paper: for 8 heads 1/2, 1/4, ...; beyond a power of two every other slope of
// the next one.
TEST(Values, Scale) {
  EXPECT_EQ(good(attention("scale: 0\n")).scale, 0);
  EXPECT_EQ(good(attention("scale: -2.3586e38\n")).scale, -2.3586e38);
}

TEST(Values, AlibiSlopes) {
  EXPECT_TRUE(good(attention("")).alibi_slopes.empty());
  EXPECT_FALSE(good(attention("alibi: false\n")).alibi);
  const std::vector<double> eight = good(attention("alibi: true\n")).alibi_slopes;
  ASSERT_EQ(eight.size(), 8u);
  for (int h = 0; h < 8; ++h)
    EXPECT_DOUBLE_EQ(eight[static_cast<size_t>(h)], std::ldexp(1, -h - 1));
  const Spec twelve = good(
      "version: 1\nname: t\nop: attention\nheads: 12\nd_head: 4\nquery_length: 4\nalibi: true\n");
  ASSERT_EQ(twelve.alibi_slopes.size(), 12u);
  for (int h = 0; h < 4; ++h) {
    EXPECT_DOUBLE_EQ(twelve.alibi_slopes[static_cast<size_t>(8 + h)], std::exp2(-0.5 - h));
  }
  EXPECT_EQ(good(attention("alibi: [1, 2, 3, 4, 5, 6, 7, 8]\n")).alibi_slopes[6], 7);
}

TEST(Locations, OfKeysAndTheirParents) {
  const Spec spec = good(attention("mask:\n  causal: true\noutputs: [output, lse]\n"));
  EXPECT_EQ(spec.where("heads").line, 4);
  EXPECT_EQ(spec.where("mask").line, 7);
  EXPECT_EQ(spec.where("mask.causal").line, 8);
  EXPECT_EQ(spec.where("mask.causal").column, 3);
  EXPECT_EQ(spec.where("mask.window.left").line, 7);  // not given: its parent
  EXPECT_EQ(spec.where("outputs.1").column, 19);
  EXPECT_EQ(spec.where("kv_cache").line, 1);
  EXPECT_EQ(spec.where("kv_cache").file, "t.yaml");
}

}  // namespace
}  // namespace mha
