// Attention over numbers of two bytes, by itself and in blocks, on every target that this machine
// runs.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "schedules/machine.h"
#include "tests/numeric/harness.h"
#include "tests/numeric/random_config.h"

namespace mha {
namespace {

// What comes in pairs, and may come without its other half: widths, keys, where masks cut them, and
// where packed sequences begin.
const char* const kConfigs[] = {
    "op: attention, heads: 4, kv_heads: 2, d_head: 64, query_length: 75, key_length: 333}",
    "op: block, d_model: 59, heads: 4, kv_heads: 2, d_head: 17, query_length: {min: 1, max: 90},"
    " projection_bias: {q: true, v: true, out: true}, mask: {causal: true}, outputs: [output, "
    "lse]}",
    "op: block, d_model: 64, heads: 2, d_value: 16, batch: {min: 1, max: 3}, packed: true,"
    " query_length: 50, qk_norm: {}, rope: {style: half}}",
    "op: attention, heads: 2, d_head: 33, d_value: 20, layout: bhsd, batch: 2, query_length: 50,"
    " key_length: 131, query_offset: input, mask: {window: {left: 30, right: 9}}}",
    "op: attention, heads: 2, d_head: 1, query_length: {min: 1, max: 40}, key_length: {min: 1, "
    "max: 300},"
    " mask: {key_starts: true, key_lengths: true}}",
    "op: attention, heads: 3, d_head: 32, query_length: 37, pruned_heads: [1]}",
    "op: attention, heads: 3, kv_heads: 1, d_head: 32, batch: {min: 1, max: 4}, packed: true,"
    " query_length: {min: 1, max: 150}, mask: {causal: true}}",
    "op: attention, heads: 2, d_head: 17, query_length: 70, key_length: 201, mask: {tensor: "
    "additive},"
    " outputs: [output, weights, mean_weights, lse, scores, scores_masked], top_k: 3}",
};

struct PrecisionCase {
  const char* dtype;
  const char* target;
};

class Precision : public testing::TestWithParam<PrecisionCase> {};

TEST_P(Precision, IsWithinItsBounds) {
  const auto [dtype, target] = GetParam();
  const uint64_t needs = named_machine(target)->cpu_features;
  if ((needs & ~host_machine().cpu_features) != 0) GTEST_SKIP() << "not a " << target;
  for (const char* config : kConfigs) {
    const std::string yaml = std::string("{version: 1, name: t, dtype: ") + dtype + ", " + config;
    SCOPED_TRACE(yaml);
    const TestKernel kernel(yaml, target);
    Random random(1, "precision");
    Tally tally;
    for (int which : {0, 2}) {
      const auto call = random_call(kernel.spec(), which, 1, random);
      if (!call) continue;
      const Outputs outputs = run_kernel(kernel, call->lengths, call->inputs, {});
      EXPECT_EQ(check_against_reference(kernel, call->lengths, call->inputs, outputs, true, &tally),
                "");
      const Outputs again =
          run_kernel(kernel, call->lengths, call->inputs, {.threads = 2, .strided = true});
      for (const auto& [name, values] : outputs) {
        EXPECT_TRUE(same_bits(values, again.at(name))) << name << " differs when strided";
      }
    }
    EXPECT_GT(tally.compared, 0);
    for (const auto& [name, squares] : tally.kernel_squares) {
      EXPECT_LE(std::sqrt(squares), 2 * std::sqrt(tally.plain_squares.at(name))) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Targets, Precision,
    testing::Values(PrecisionCase{"bf16", "x86-64-v2"}, PrecisionCase{"bf16", "x86-64-v3"},
                    PrecisionCase{"bf16", "x86-64-v4"}, PrecisionCase{"bf16", "zen4"},
                    PrecisionCase{"f16", "x86-64-v2"}, PrecisionCase{"f16", "x86-64-v3"},
                    PrecisionCase{"f16", "zen4"}),
    [](const auto& info) {
      std::string name = std::string(info.param.dtype) + "_" + info.param.target;
      for (char& c : name) c = c == '-' ? '_' : c;
      return name;
    });

// Rows of a block of queries whose last key is the first of a pair: the other, which a later block
// sees, holds NaN, and they keep their bits.
TEST(Pairs, TheOtherKeyMayHoldAnything) {
  for (const char* more : {"", ", outputs: [output, lse]"}) {
    const TestKernel kernel(
        std::string("{version: 1, name: t, op: attention, dtype: bf16, heads: 1, d_head: 32,"
                    " query_length: 128, key_length: 129, query_offset: input,"
                    " mask: {window: {left: 63, right: 0}}") +
        more + "}");
    const CallLengths lengths{1, 128, 129};
    HostTensors inputs = random_inputs(kernel.spec(), lengths, 1);
    inputs.at("query_offset").ints = {1};
    const Outputs clean = run_kernel(kernel, lengths, inputs, {});
    // The default's tile of values is 8 rows high: rows 24 to 31 see keys up to 32.
    for (size_t d = 0; d < 32; ++d) {
      inputs.at("value").floats[33 * 32 + d] = std::numeric_limits<float>::quiet_NaN();
    }
    const Outputs got = run_kernel(kernel, lengths, inputs, {});
    for (size_t row = 0; row < 128; ++row) {
      const bool sees = row >= 32 && row <= 32 + 63;
      for (size_t d = 0; d < 32; ++d) {
        const float value = got.at("output")[row * 32 + d];
        if (sees) {
          ASSERT_TRUE(std::isnan(value)) << row;
        } else if (row < 32 || row >= 104) {
          ASSERT_EQ(value, clean.at("output")[row * 32 + d]) << row;
        }
      }
    }
  }
}

}  // namespace
}  // namespace mha
