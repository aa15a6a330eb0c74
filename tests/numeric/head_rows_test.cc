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

// Random inputs, strided on two threads too; what a test changes of them comes in `change`.
void expect_config(const std::string& yaml, const CallLengths& lengths,
                   const std::function<void(HostTensors&)>& change = {}) {
  const TestKernel kernel(yaml);
  HostTensors inputs = random_inputs(kernel.spec(), lengths, test_seed(11));
  if (change) change(inputs);
  const Outputs outputs = run_kernel(kernel, lengths, inputs, {});
  expect_right(kernel, lengths, inputs, outputs);
  const Outputs again = run_kernel(kernel, lengths, inputs, {.threads = 2, .strided = true});
  for (const auto& [name, values] : outputs) {
    EXPECT_TRUE(same_bits(values, again.at(name))) << yaml << ": " << name;
  }
}

TEST(Rotation, OfInputs) {
  for (const char* more :
       {"heads: 2, d_head: 64, query_length: 70, key_length: 90, rope: {style: half}",
        "heads: 4, kv_heads: 2, d_head: 32, layout: bhsd, batch: 2, query_length: 33,"
        " rope: {style: interleaved, theta: 500}",
        // Parts of a row, of widths that no vector divides.
        "heads: 2, d_head: 19, query_length: 21, rope: {style: half, dims: 10}",
        "heads: 2, d_head: 40, query_length: 21, rope: {style: interleaved, dims: 6}",
        "heads: 1, d_head: 2, query_length: 5, rope: {style: half}",
        "heads: 1, d_head: 48, query_length: {min: 1, max: 300}, mask: {causal: true},"
        " rope: {style: half, scaling: {type: llama3, factor: 8, low_freq_factor: 1,"
        " high_freq_factor: 4, original_length: 64}}",
        "heads: 2, d_head: 24, query_length: 40, rope: {style: half, scaling: {type: yarn,"
        " factor: 4, original_length: 16}}",
        "heads: 1, d_head: 4, query_length: 40,"
        " rope: {style: half, scaling: {inv_freq: [3.5, 0], attention_factor: 0.75}}"}) {
    const TestKernel kernel(attention(more));
    expect_config(attention(more), max_lengths(kernel.spec()));
  }
}

// Queries anywhere among the keys, before them, and so far away that a float cannot count there.
TEST(Rotation, AtAnyOffset) {
  const std::string rope =
      "heads: 2, d_head: 32, batch: 3, query_length: 20, key_length: 50, rope: {style: half}, ";
  expect_config(attention(rope + "query_offset: end, mask: {key_lengths: true}"), {3, 20, 50},
                [](HostTensors& inputs) { inputs.at("key_lengths").ints = {50, 7, 30}; });
  for (int32_t far : {1 << 20, -(1 << 20), 1 << 30, -(1 << 30)}) {
    expect_config(attention(rope + "query_offset: input"), {3, 20, 50},
                  [&](HostTensors& inputs) { inputs.at("query_offset").ints = {-13, 25, far}; });
  }
}

TEST(Rotation, OfPackedSequencesCountsFromTheirStart) {
  for (const char* more : {"op: attention, d_head: 32", "d_model: 40, d_head: 32"}) {
    for (const char* norm : {"", ", qk_norm: {}", ", qk_norm: {width: all, order: after_rope}"}) {
      expect_config(std::string("{version: 1, name: rows, heads: 4, kv_heads: 2, batch: 4,"
                                " query_length: 300, packed: true, mask: {causal: true},"
                                " rope: {style: half}, ") +
                        more + norm + "}",
                    {4, 300, 300, 330}, [](HostTensors& inputs) {
                      inputs.at("sequence_starts").ints = {0, 300, 300, 317, 330};
                    });
    }
  }
}

TEST(Norm, OfInputs) {
  for (const char* norm :
       {"{}", "{eps: 0.1, weight_offset: 1}", "{width: all}", "{width: all, weight_offset: 1}"}) {
    for (const char* more : {"d_head: 64, query_length: 40", "d_head: 17, query_length: 9",
                             "d_head: 5, query_length: 9, layout: bhsd"}) {
      expect_config(attention(std::string("heads: 4, kv_heads: 2, batch: 2, key_length: 30, ") +
                              more + ", qk_norm: " + norm),
                    {2, std::string(more).find("40") == std::string::npos ? 9 : 40, 30});
    }
  }
}

// Both orders, with a factor that tells them apart, of whole rows and of a part of each.
TEST(Norm, WithRotation) {
  for (const char* norm :
       {"{order: before_rope}", "{order: after_rope}",
        "{order: before_rope, width: all, weight_offset: 1}", "{order: after_rope, width: all}"}) {
    for (const char* rope :
         {"{style: half, scaling: {type: yarn, factor: 32, original_length: 16}}",
          "{style: interleaved, dims: 8}",
          "{style: half, dims: 4, scaling: {inv_freq: [1, 0.1], attention_factor: 3}}"}) {
      expect_config(attention(std::string("heads: 2, d_head: 24, query_length: 25, qk_norm: ") +
                              norm + ", rope: " + rope),
                    {1, 25, 25});
    }
  }
}

TEST(Norm, OfRowsThatAreZero) {
  for (const char* norm : {"{eps: 1e-40}", "{width: all}"}) {
    expect_config(attention(std::string("heads: 2, d_head: 16, query_length: 9, qk_norm: ") + norm),
                  {1, 9, 9}, [](HostTensors& inputs) {
                    for (const char* name : {"query", "key"}) {
                      std::fill_n(inputs.at(name).floats.begin() + 32, 96, 0.0f);
                    }
                  });
  }
}

TEST(Norm, InBlocks) {
  for (const char* more :
       {"qk_norm: {}", "qk_norm: {width: all, weight_offset: 1}, rope: {style: half}",
        "rope: {style: interleaved}, projection_bias: {q: true, k: true}",
        "qk_norm: {order: after_rope}, rope: {style: half, dims: 6}, cross: true, key_length: 60",
        "rope: {style: half}, d_value: 9, query_offset: input, mask: {causal: true}"}) {
    const std::string yaml = std::string(
                                 "{version: 1, name: rows, d_model: 48, heads: 4,"
                                 " kv_heads: 2, d_head: 24, batch: 2,"
                                 " query_length: {min: 1, max: 50}, ") +
                             more + "}";
    const bool cross = yaml.find("cross") != std::string::npos;
    expect_config(yaml, {2, 50, cross ? 60 : 50});
    expect_config(yaml, {2, 3, cross ? 60 : 3});
  }
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

const char* const kPruned[] = {"[0]", "[7]", "[1, 2, 3]", "[0, 2, 4, 6, 7]",
                               "[1, 2, 3, 4, 5, 6, 7]"};

TEST(Pruned, HeadsOfInputs) {
  for (const char* pruned : kPruned) {
    for (const char* more : {"layout: bhsd", "layout: bshd, rope: {style: half}, qk_norm: {}",
                             "qk_norm: {width: all}, d_value: 7"}) {
      expect_config(attention(std::string("heads: 8, kv_heads: 4, d_head: 16, batch: 2,"
                                          " query_length: 20, pruned_heads: ") +
                              pruned + ", " + more),
                    {2, 20, 20});
    }
  }
}

TEST(Pruned, HeadsOfBlocks) {
  for (const char* pruned : kPruned) {
    for (const char* more : {"projection_bias: {q: true, k: true, v: true, out: true}",
                             "d_value: 7", "qk_norm: {width: all}, rope: {style: half}"}) {
      expect_config(std::string("{version: 1, name: rows, d_model: 40, heads: 8, kv_heads: 4,"
                                " d_head: 16, query_length: {min: 1, max: 30}, pruned_heads: ") +
                        pruned + ", " + more + "}",
                    {1, 30, 30});
    }
  }
}

TEST(Pruned, HeadsOfEveryOutput) {
  for (const char* more :
       {"op: attention, d_head: 16, mask: {tensor: additive}", "d_model: 40, mask: {tensor: bool}",
        "op: attention, d_head: 16, packed: true, rope: {style: half}"}) {
    const std::string yaml = std::string(
                                 "{version: 1, name: rows, heads: 4, kv_heads: 2, batch: 2,"
                                 " query_length: 20, pruned_heads: [0, 3], ") +
                             more + kAllOutputs;
    const bool packed = yaml.find("packed") != std::string::npos;
    expect_config(yaml, {2, 20, 20, packed ? 27 : 0}, [&](HostTensors& inputs) {
      if (packed) inputs.at("sequence_starts").ints = {0, 7, 27};
    });
  }
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
