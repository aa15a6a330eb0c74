// Each key by itself: unknown names, wrong kinds of values, bounds.
#include "generator/spec/keys.h"

#include <gtest/gtest.h>

#include "cases.h"

namespace mha {
namespace {

class BadKey : public testing::TestWithParam<BadCase> {};
TEST_P(BadKey, IsRefusedInPlace) { expect_bad(GetParam()); }

BadCase renamed(const std::string& name, const std::string& message, const std::string& hint = "") {
  return {"version: 1\nname: @" + name + "\nd_model: 8\nheads: 2\nquery_length: 4\n", message,
          hint};
}

INSTANTIATE_TEST_SUITE_P(
    Names, BadKey,
    testing::Values(renamed("2fast", "is no C identifier", "`_2fast`"),
                    renamed("my-kernel", "is no C identifier", "`my_kernel`"),
                    renamed("'a b'", "is no C identifier"),
                    renamed("k\xc3\xa4se", "is no C identifier"),
                    renamed("''", "is no C identifier"), renamed("int", "is a keyword"),
                    renamed("co_await", "is a keyword"), renamed("restrict", "is a keyword"),
                    renamed("and", "is a keyword"), renamed("_Bool", "is a keyword"),
                    renamed("mha_x", "starts with mha or halide"),
                    renamed("mhax", "starts with mha"),
                    renamed("halide", "starts with mha or halide"),
                    renamed("a23456789012345678901234567890123456789012345678x",
                            "has 49 characters, at most 48"),
                    renamed("[a]", "must be a C identifier, got a list")));

TEST(Keys, LongestName) {
  const std::string name(48, 'n');
  EXPECT_EQ(good("version: 1\nname: " + name + "\nd_model: 8\nheads: 2\nquery_length: 4\n").name,
            name);
}

INSTANTIATE_TEST_SUITE_P(
    TopLevel, BadKey,
    testing::Values(
        BadCase{"@name: t\nd_model: 8\nheads: 2\nquery_length: 4\n",
                "required key `version` is missing"},
        BadCase{"@version: 1\nd_model: 8\nheads: 2\nquery_length: 4\n",
                "required key `name` is missing"},
        BadCase{"@version: 1\nname: t\nd_model: 8\nquery_length: 4\n",
                "required key `heads` is missing"},
        BadCase{"@version: 1\nname: t\nd_model: 8\nheads: 2\n",
                "required key `query_length` is missing", "{min, max}"},
        BadCase{"@version: 1\nname: t\nheads: 2\nd_head: 4\nquery_length: 4\n",
                "required key `d_model` is missing: op block needs it"},
        BadCase{"version: 1\nname: t\n@op: block\nheads: 2\nd_head: 4\nquery_length: 4\n",
                "required key `d_model` is missing: op block needs it"},
        BadCase{"version: 1\nname: t\n@op: attention\nheads: 2\nquery_length: 4\n",
                "required key `d_head` is missing"},
        BadCase{"version: @2\nname: t\nd_model: 8\nheads: 2\nquery_length: 4\n",
                "version: must be 1, got `2`"},
        BadCase{"version: @'1'\nname: t\nd_model: 8\nheads: 2\nquery_length: 4\n",
                "in quotes it is a text"},
        BadCase{"version: 1\nname: t\nop: @atention\nheads: 2\nd_head: 4\nquery_length: 4\n",
                "op: must be block or attention, got `atention`", "did you mean `attention`?"},
        BadCase{attention("@kvheads: 2\n"), "unknown key `kvheads`", "did you mean `kv_heads`?"},
        BadCase{attention("@key_lenght: 2\n"), "unknown key `key_lenght`",
                "did you mean `key_length`?"},
        BadCase{attention("@Layout: bhsd\n"), "unknown key `Layout`", "did you mean `layout`?"},
        BadCase{attention("@<<: {batch: 2}\n"), "unknown key `<<`"},
        BadCase{attention("@zzzzzz: 1\n"), "unknown key"},
        BadCase{attention("layout: @bhds\n"), "layout: must be bshd or bhsd",
                "did you mean `bhsd`?"},
        BadCase{block("@layout: bshd\n"), "only op attention has this key"},
        BadCase{attention("@cross: true\n"), "only op block has this key"},
        BadCase{attention("@weights: f32\n"), "only op block has this key"},
        BadCase{attention("@projection_bias: {q: true}\n"), "only op block has this key"},
        BadCase{attention("@weights_from: {w_q: a}\n"), "only op block has this key"},
        BadCase{attention("dtype: @int8\n"), "dtype: must be f32, bf16 or f16, got `int8`"},
        BadCase{attention("dtype: @fp32\n"), "dtype", "did you mean `f32`?"},
        BadCase{block("weights: @int4\n"), "weights: must be f32, bf16, f16 or int8",
                "did you mean `int8`?"},
        BadCase{block("cross: @yes\n"), "cross: must be true or false, got `yes`", "write true"},
        BadCase{block("cross: @0\n"), "cross: must be true or false, got `0`", "write false"},
        BadCase{block("cross: @'true'\n"), "got the text `true`"},
        BadCase{attention("@sink:\n"), "got nothing"},
        BadCase{attention("@sink: ~\n"), "got nothing"},
        BadCase{attention("packed: @ture\n"), "packed", "`true`?"}));

// Every way to write an integer badly, at the same place.
BadCase heads(const std::string& value, const std::string& message) {
  return {"version: 1\nname: t\nd_model: 8\nheads: @" + value + "\nquery_length: 4\n", message};
}
INSTANTIATE_TEST_SUITE_P(
    Integers, BadKey,
    testing::Values(heads("0", "heads: must be an integer from 1 to 2147483647, got `0`"),
                    heads("-8", "got `-8`"), heads("2147483648", "from 1 to 2147483647"),
                    heads("9223372036854775808", "from 1 to 2147483647"),
                    heads("99999999999999999999999999999", "from 1 to 2147483647"),
                    heads("8.0", "without a point or exponent"),
                    heads("1e3", "without a point or exponent"), heads("8.", "without a point"),
                    heads("0x8", "numbers are decimal"), heads("0o10", "numbers are decimal"),
                    heads("0b1", "numbers are decimal"), heads("010", "a leading zero"),
                    heads("1_000", "no `_`"), heads(".inf", "must be finite"),
                    heads(".nan", "must be finite"), heads("nan", "must be finite"),
                    heads("'8'", "in quotes it is a text"), heads("eight", "got `eight`"),
                    heads("8 heads", "got `8 heads`"), heads("- 8", ""), heads("--8", "got `--8`"),
                    heads("true", "got `true`"), heads("[8]", "got a list"),
                    heads("[]", "got an empty list"), heads("{min: 1, max: 8}", "got a map"),
                    heads("''", "an empty text")));

INSTANTIATE_TEST_SUITE_P(
    Numbers, BadKey,
    testing::Values(BadCase{attention("scale: @.inf\n"),
                            "scale: must be a number, got `.inf` (it must be finite)"},
                    BadCase{attention("scale: @-.INF\n"), "must be finite"},
                    BadCase{attention("scale: @nan\n"), "finite"},
                    BadCase{attention("scale: @1e39\n"), "too large for float32"},
                    BadCase{attention("scale: @1e999\n"), "too large for float32"},
                    BadCase{attention("scale: @1e-60\n"), "too small for float32"},
                    BadCase{attention("scale: @1e-999\n"), "too small for float32"},
                    BadCase{attention("scale: @0x1p3\n"), "numbers are decimal"},
                    BadCase{attention("scale: @1/8\n"), "got `1/8`"},
                    BadCase{attention("scale: @1e\n"), "got `1e`"},
                    BadCase{attention("scale: @.\n"), "got `.`"},
                    BadCase{attention("scale: @'0.5'\n"), "in quotes"},
                    BadCase{attention("softcap: @0\n"), "softcap: must be a number > 0, got `0`"},
                    BadCase{attention("softcap: @-3.5\n"), "must be a number > 0"},
                    BadCase{attention("qk_norm: {eps: @-1e-6}\n"),
                            "qk_norm.eps: must be a number > 0"},
                    BadCase{attention("rope: {style: half, theta: @0}\n"),
                            "rope.theta: must be a number > 0"}));

TEST(Keys, NumbersThatAreGood) {
  EXPECT_EQ(good(attention("scale: 2\n")).scale, 2);
  EXPECT_EQ(good(attention("scale: -1.5e-3\n")).scale, -0.0015);
  EXPECT_EQ(good(attention("scale: +.5\n")).scale, 0.5);
  EXPECT_EQ(good(attention("scale: 0\n")).scale, 0);
  EXPECT_EQ(good(attention("scale: 0e99999\n")).scale, 0);
  EXPECT_EQ(good(attention("batch: +3\n")).batch.max, 3);
  EXPECT_TRUE(good(block("projection_bias: {q: TRUE, k: True}\n")).projection_bias.k);
}

INSTANTIATE_TEST_SUITE_P(
    Lengths, BadKey,
    testing::Values(
        BadCase{attention("batch: @0\n"),
                "batch: must be an integer from 1 to 2147483647, or {min, max}"},
        BadCase{attention("batch: @many\n"), "or {min, max}, got `many`"},
        BadCase{attention("@batch: {max: 4}\n"), "batch: required key `min` is missing"},
        BadCase{attention("@batch: {min: 4}\n"), "batch: required key `max` is missing"},
        BadCase{attention("batch: {min: @0, max: 4}\n"), "batch.min: must be an integer from 1"},
        BadCase{attention("batch: {min: 1, max: 4, @step: 2}\n"), "unknown key `step` in batch",
                "min, max"},
        BadCase{attention("batch: {min: @4, max: 2}\n"), "batch: min 4 is more than max 2"},
        BadCase{attention("key_length: @[1, 2]\n"), "got a list"}));

INSTANTIATE_TEST_SUITE_P(
    Maps, BadKey,
    testing::Values(
        BadCase{attention("mask: @causal\n"), "mask: must be {causal, window"},
        BadCase{attention("mask: {@casual: true}\n"), "unknown key `casual` in mask",
                "did you mean `causal`?"},
        BadCase{attention("mask: {window: @256}\n"),
                "mask.window: must be {left, right}, got `256`"},
        BadCase{attention("mask: {window: @{}}\n"), "mask.window: an empty map"},
        BadCase{attention("mask: {window: {left: @-2}}\n"),
                "mask.window.left: must be an integer from -1"},
        BadCase{attention("mask: {window: {@lef: 2}}\n"), "unknown key `lef`", "`left`?"},
        BadCase{attention("mask: {tensor: @boolean}\n"),
                "mask.tensor: must be none, bool or additive"},
        BadCase{attention("mask: {key_lengths: @maybe}\n"),
                "mask.key_lengths: must be true or false"},
        BadCase{block("projection_bias: @true\n"),
                "projection_bias: must be {q, k, v, out}, got `true`"},
        BadCase{block("projection_bias: {@o: true}\n"), "unknown key `o` in projection_bias",
                "q, k, v, out"},
        BadCase{attention("qk_norm: {weight_offset: @2}\n"),
                "qk_norm.weight_offset: must be 0 or 1"},
        BadCase{attention("qk_norm: {width: @heads}\n"), "must be head or all",
                "did you mean `head`?"},
        BadCase{attention("qk_norm: {order: @before}\n"), "must be before_rope or after_rope"},
        BadCase{attention("query_offset: @3\n"), "query_offset: must be start, end or input"},
        BadCase{attention("@rope: {theta: 1}\n"), "rope: required key `style` is missing"},
        BadCase{attention("rope: {style: @neox}\n"), "rope.style: must be half or interleaved"},
        BadCase{attention("rope: {style: half, scaling: @{factor: 2}}\n"),
                "has neither `type` nor `inv_freq`"},
        BadCase{attention("rope: {style: half, scaling: {type: @ntk, factor: 2}}\n"),
                "must be linear, llama3 or yarn"},
        BadCase{attention("rope: {style: half, scaling: {type: @yran}}\n"), "must be linear",
                "`yarn`?"},
        BadCase{attention("rope: {style: half, @scaling: {type: linear}}\n"),
                "required key `factor` is missing"},
        BadCase{attention("rope: {style: half, scaling: {type: linear, factor: @0.5}}\n"),
                "must be a number >= 1"},
        BadCase{
            attention("rope: {style: half, scaling: {type: linear, factor: 2, @beta_fast: 3}}\n"),
            "unknown key"},
        BadCase{attention("@kv_cache: {layout: paged}\n"), "required key `capacity` is missing"},
        BadCase{attention("kv_cache: {capacity: 64, layout: @pages}\n"), "contiguous or paged",
                "`paged`?"},
        BadCase{attention("kv_cache: {capacity: 64, layout: paged, page: @8}\n"), "from 16"},
        BadCase{attention("alibi: @0.5\n"), "alibi: must be true or false, or a list"},
        BadCase{attention("alibi: @[]\n"), "a list of 0, must have at least 1 item"},
        BadCase{attention("alibi: [1, 2, 3, 4, 5, 6, 7, @x]\n"),
                "alibi[7]: must be a number, got `x`"}));

INSTANTIATE_TEST_SUITE_P(
    Lists, BadKey,
    testing::Values(BadCase{attention("outputs: @output\n"), "outputs: must be a list", "[output]"},
                    BadCase{attention("outputs: @[]\n"), "must have at least 1 item"},
                    BadCase{attention("outputs: [output, @weight]\n"),
                            "outputs[1]: must be output, weights", "`weights`?"},
                    BadCase{attention("outputs: [output, lse, @output]\n"),
                            "outputs[2]: `output` is given twice"},
                    BadCase{attention("outputs: [@{output: true}]\n"), "got a map"},
                    BadCase{attention("targets: @host\n"), "targets: must be a list", "[host]"},
                    BadCase{attention("targets: [@zen6]\n"), "targets[0]: must be host",
                            "did you mean `zen"},
                    BadCase{attention("targets: [@avx2]\n"), "targets[0]: must be host, x86-64-v2"},
                    BadCase{attention("targets: [zen4, @zen4]\n"), "`zen4` is given twice"},
                    BadCase{attention("pruned_heads: [1, @-1]\n"),
                            "pruned_heads[1]: must be an integer from 0"},
                    BadCase{attention("pruned_heads: [1, @+1]\n"), "is given twice"},
                    BadCase{attention("pruned_heads: @3\n"), "must be a list", "[3]"},
                    BadCase{attention("top_k: @0\n"), "from 1"}));

INSTANTIATE_TEST_SUITE_P(
    Entries, BadKey,
    testing::Values(
        BadCase{block("weights_from: {@wq: a}\n"), "unknown key `wq` in weights_from",
                "did you mean `w_q`?"},
        BadCase{block("weights_from: {w_q: @''}\n"), "must be a text"},
        BadCase{block("weights_from: @w.bin\n"), "got `w.bin`"},
        BadCase{block("weights_from: {@w_q: {transpose: true}}\n"),
                "required key `name` is missing"},
        BadCase{block("weights_from: {w_q: {name: a, @row: [0, 512]}}\n"), "unknown key `row`",
                "`rows`?"},
        BadCase{block("weights_from: {w_q: {name: a, rows: @[0]}}\n"),
                "a list of 1, must have exactly 2 items"},
        BadCase{block("weights_from: {w_q: {name: a, rows: @[0, 1, 2]}}\n"),
                "must have exactly 2 items"},
        BadCase{attention("table: {@q: [Lk]}\n"), "`q` already has a meaning in expressions"},
        BadCase{attention("table: {@int: [Lk]}\n"), "is a keyword"},
        BadCase{attention("table: {@key: [Lk]}\n"), "is the name of another tensor"},
        BadCase{attention("table: {@call: [Lk]}\n"), "or field of a call"},
        BadCase{attention("table: {@a-b: [Lk]}\n"), "is no C identifier"},
        BadCase{attention("mask: {rule: 'doc[q] > 0'}\ntable: {doc: @[]}\n"),
                "must have at least 1 item"},
        BadCase{attention("mask: {rule: 'doc[q] > 0'}\ntable: {doc: [@Lx]}\n"),
                "table.doc[0]: must be an integer"},
        BadCase{attention("mask: {rule: 'doc[q] > 0'}\ntable: {doc: [@0]}\n"), "table.doc[0]"},
        BadCase{attention("mask: {rule: 'doc[q] > 0'}\ntable: {@doc: {dtype: f32}}\n"),
                "required key `shape`"},
        BadCase{attention("mask: {rule: 'doc[q] > 0'}\ntable: {doc: {shape: [Lk], dtype: @i64}}\n"),
                "must be i32 or f32"}));

// The message of an `enum` lists its words, so each of them must be one.
TEST(Keys, EveryWordIsTaken) {
  for (const std::string& target : target_names()) {
    EXPECT_EQ(good(attention("targets: [" + target + "]\n")).targets,
              std::vector<std::string>{target});
  }
  for (const std::string& output : output_names()) {
    EXPECT_EQ(good(attention("outputs: [" + output + "]\n")).outputs,
              std::vector<std::string>{output});
  }
}

}  // namespace
}  // namespace mha
