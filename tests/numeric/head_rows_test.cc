// Norm and rotation of q and k, and heads that are pruned, against the reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/numeric/hostile.h"

namespace mha {
namespace {

std::string attention(const std::string& more) {
  return "{version: 1, name: rows, op: attention, " + more + "}";
}

std::string block(const std::string& more) {
  return "{version: 1, name: rows, d_model: 40, " + more + "}";
}

using Change = std::function<void(HostTensors&)>;

// Random inputs, strided on two threads too; what a test changes of them comes in `change`.
void expect_calls(const std::string& yaml, const std::vector<CallLengths>& calls,
                  const Change& change = {}) {
  const TestKernel kernel(yaml);
  for (CallLengths lengths : calls) {
    if (lengths.query == 0) lengths = max_lengths(kernel.spec());
    HostTensors inputs = random_inputs(kernel.spec(), lengths, test_seed(11));
    if (change) change(inputs);
    const Outputs outputs = run_kernel(kernel, lengths, inputs, {});
    expect_right(kernel, lengths, inputs, outputs);
    const Outputs again = run_kernel(kernel, lengths, inputs, {.threads = 2, .strided = true});
    for (const auto& [name, values] : outputs) {
      EXPECT_TRUE(same_bits(values, again.at(name))) << yaml << ": " << name;
    }
  }
}
// At the spec's largest lengths.
void expect_config(const std::string& yaml, const Change& change = {}) {
  expect_calls(yaml, {{0, 0, 0}}, change);
}

TEST(Rotation, OfInputs) {
  for (const char* more :
       {"heads: 4, kv_heads: 2, d_head: 32, layout: bhsd, batch: 2, query_length: 33,"
        " key_length: 50, rope: {style: half}",
        // Parts of a row, of widths that no vector divides.
        "heads: 2, d_head: 19, query_length: 21, rope: {style: half, dims: 10}",
        "heads: 2, d_head: 40, query_length: 21, rope: {style: interleaved, dims: 6, theta: 500}",
        "heads: 1, d_head: 2, query_length: 5, rope: {style: half}",
        "heads: 2, d_head: 32, query_length: 40, rope: {style: interleaved, scaling: {type: yarn,"
        " factor: 4, original_length: 16}}"}) {
    expect_config(attention(more));
  }
}

TEST(Rotation, OfRangesOfLengths) {
  const std::string rope =
      "rope: {style: half, scaling: {type: llama3, factor: 8, low_freq_factor: 1,"
      " high_freq_factor: 4, original_length: 64}}";
  expect_calls(attention("heads: 1, d_head: 48, query_length: {min: 1, max: 150},"
                         " mask: {causal: true}, " +
                         rope),
               {{1, 1, 1}, {1, 17, 17}, {1, 150, 150}});
}

// Queries anywhere among the keys, before them, and so far away that a float cannot count there.
TEST(Rotation, AtAnyOffset) {
  const std::string rope =
      "heads: 2, d_head: 32, batch: 3, query_length: 20, key_length: 50, rope: {style: half}, ";
  expect_config(attention(rope + "query_offset: end, mask: {key_lengths: true}"),
                [](HostTensors& inputs) { inputs.at("key_lengths").ints = {50, 7, 30}; });
  int call = 0;
  expect_calls(attention(rope + "query_offset: input"), {{3, 20, 50}, {3, 20, 50}},
               [&](HostTensors& inputs) {
                 inputs.at("query_offset").ints = {-13, 1 << 20, 1 << 30};
                 if (call++ > 0) inputs.at("query_offset").ints = {25, -(1 << 20), -(1 << 30)};
               });
}

TEST(Rotation, OfPackedSequencesCountsFromTheirStart) {
  const std::string packed =
      "heads: 4, kv_heads: 2, d_head: 32, batch: 4, query_length: 300, packed: true,"
      " mask: {causal: true}, rope: {style: half}, qk_norm: ";
  for (const std::string& yaml :
       {attention(packed + "{}"), attention(packed + "{width: all, order: after_rope}"),
        block(packed + "{weight_offset: 1}")}) {
    expect_calls(yaml, {{4, 300, 300, 330}}, [](HostTensors& inputs) {
      inputs.at("sequence_starts").ints = {0, 300, 300, 317, 330};
    });
  }
}

TEST(Norm, OfInputs) {
  const std::string heads = "heads: 4, kv_heads: 2, batch: 2, query_length: 9, key_length: 30, ";
  for (const char* more :
       {"d_head: 64, qk_norm: {}", "d_head: 17, qk_norm: {eps: 0.1, weight_offset: 1}",
        "d_head: 17, layout: bhsd, qk_norm: {width: all}",
        "d_head: 5, qk_norm: {width: all, weight_offset: 1}"}) {
    expect_config(attention(heads + more));
  }
}

// Both orders, with a factor that tells them apart, of whole rows and of a part of each.
TEST(Norm, WithRotation) {
  const std::string
      whole = "{style: half, scaling: {type: yarn, factor: 32, original_length: 16}}",
      part = "{style: half, dims: 4, scaling: {inv_freq: [1, 0.1], attention_factor: 3}}";
  const std::pair<const char*, std::string> cases[] = {
      {"{order: before_rope}", whole},
      {"{order: after_rope}", part},
      {"{order: after_rope, weight_offset: 1}", "{style: interleaved, dims: 8}"},
      {"{order: before_rope, width: all, weight_offset: 1}", part},
      {"{order: after_rope, width: all}", whole}};
  for (const auto& [norm, rope] : cases) {
    expect_config(attention(std::string("heads: 2, d_head: 24, query_length: 25, qk_norm: ") +
                            norm + ", rope: " + rope));
  }
}

TEST(Norm, OfRowsThatAreZero) {
  for (const char* norm : {"{eps: 1.2e-38}", "{width: all}"}) {
    expect_config(attention(std::string("heads: 2, d_head: 16, query_length: 9, qk_norm: ") + norm),
                  [](HostTensors& inputs) {
                    for (const char* name : {"query", "key"}) {
                      std::fill_n(inputs.at(name).floats.begin() + 32, 96, 0.0f);
                    }
                  });
  }
}

const char kBlock[] =
    "heads: 4, kv_heads: 2, d_head: 24, batch: 2, query_length: {min: 1, max: 50}, ";

TEST(Norm, InBlocks) {
  for (const char* more :
       {"qk_norm: {}, projection_bias: {q: true, k: true}",
        "qk_norm: {width: all, weight_offset: 1}, rope: {style: half}, d_value: 9"}) {
    expect_calls(block(std::string(kBlock) + more), {{2, 3, 3}, {2, 50, 50}});
  }
}

TEST(Rotation, InBlocks) {
  expect_calls(block(std::string(kBlock) + "rope: {style: interleaved}, query_offset: input,"
                                           " mask: {causal: true}"),
               {{2, 3, 3}, {2, 50, 50}});
  expect_calls(block(std::string(kBlock) + "qk_norm: {order: after_rope}, cross: true,"
                                           " key_length: 60, rope: {style: half, dims: 6}"),
               {{2, 50, 60}});
}

// What hidden keys hold reaches no row, turned or not.
TEST(Norm, PaddingMayHoldAnything) {
  const TestKernel kernel(
      attention("heads: 2, d_head: 16, query_length: 9, key_length: 40, qk_norm: {},"
                " rope: {style: half}, mask: {key_lengths: true}"));
  const CallLengths lengths{1, 9, 40};
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 3);
  inputs.at("key_lengths").ints = {21};
  const Outputs clean = run_kernel(kernel, lengths, inputs, {});
  expect_right(kernel, lengths, inputs, clean);
  for (float poison : {std::numeric_limits<float>::quiet_NaN(), 3e38f}) {
    for (size_t i = 21 * 32; i < 40 * 32; ++i) inputs.at("key").floats[i] = poison;
    EXPECT_TRUE(
        same_bits(clean.at("output"), run_kernel(kernel, lengths, inputs, {}).at("output")));
  }
}

// --- pruned heads ---

TEST(Pruned, HeadsOfInputs) {
  const std::string heads = "heads: 8, kv_heads: 4, d_head: 16, batch: 2, query_length: 20, ";
  for (const char* more :
       {"pruned_heads: [0], layout: bhsd", "pruned_heads: [7], qk_norm: {width: all}, d_value: 7",
        "pruned_heads: [1, 2, 3], rope: {style: half}, qk_norm: {}",
        "pruned_heads: [1, 2, 3, 4, 5, 6, 7]"}) {
    expect_config(attention(heads + more));
  }
}

TEST(Pruned, HeadsOfBlocks) {
  const std::string heads =
      "heads: 8, kv_heads: 4, d_head: 16, query_length: {min: 1, max: 30}, pruned_heads: ";
  for (const char* more :
       {"[0, 2, 4, 6, 7], projection_bias: {q: true, k: true, v: true, out: true}",
        "[1, 2, 3], d_value: 7, rope: {style: half}", "[0, 1, 5], qk_norm: {width: all}"}) {
    expect_config(block(heads + more));
  }
}

const char kPrunedOutputs[] =
    "{version: 1, name: rows, heads: 4, kv_heads: 2, batch: 2, query_length: 20,"
    " pruned_heads: [0, 3], op: attention, d_head: 16, ";

TEST(Pruned, HeadsOfEveryOutput) {
  expect_config(std::string(kPrunedOutputs) + "mask: {tensor: additive}" + kAllOutputs);
}

TEST(Pruned, HeadsOfEveryPackedOutput) {
  expect_calls(std::string(kPrunedOutputs) + "packed: true, rope: {style: half}" + kMaskedOutputs,
               {{2, 20, 20, 27}},
               [](HostTensors& inputs) { inputs.at("sequence_starts").ints = {0, 7, 27}; });
}

// The same bits as without pruning, heads that are left being computed alike.
TEST(Pruned, HeadsLeaveTheOthersAsTheyAre) {
  const std::string config = "heads: 6, kv_heads: 3, d_head: 16, query_length: 20";
  const TestKernel all(attention(config)), some(attention(config + ", pruned_heads: [1, 4, 5]"));
  const CallLengths lengths{1, 20, 20};
  const HostTensors inputs = random_inputs(all.spec(), lengths, 5);
  const std::vector<float> want = run_kernel(all, lengths, inputs, {}).at("output"),
                           got = run_kernel(some, lengths, inputs, {}).at("output");
  for (size_t i = 0; i < want.size(); ++i) {
    const size_t head = i / 16 % 6;
    ASSERT_EQ(got[i], head == 1 || head >= 4 ? 0.0f : want[i]) << i;
  }
}

}  // namespace
}  // namespace mha
