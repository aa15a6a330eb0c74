// Hand-picked cruelty: what stands in hidden keys, extreme scores, rows that see nothing, every
// target.
#include "tests/numeric/hostile.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "schedules/machine.h"

namespace mha {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// Rows of one sequence in layout bshd: element (b, i, h, d) of a tensor [B,L,heads,width].
size_t at(const HostTensor& tensor, int64_t b, int64_t i, int64_t h, int64_t d) {
  const std::vector<int64_t>& s = tensor.decl.shape;
  return static_cast<size_t>(((b * s[1] + i) * s[2] + h) * s[3] + d);
}

TEST(Hostile, PaddingMayHoldAnything) {
  const TestKernel kernel(
      "{version: 1, name: padding, op: attention, heads: 2, d_head: 19, batch: 3,"
      " query_length: 21, key_length: 150, mask: {key_lengths: true},"
      " outputs: [output, weights, lse]}");
  const CallLengths lengths{3, 21, 150};
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 1);
  inputs.at("key_lengths").ints = {0, 149, 70};
  const auto clean = run_kernel(kernel, lengths, inputs, {});
  expect_right(kernel, lengths, inputs, clean);
  for (float poison : {kNan, kInf, -kInf}) {
    for (const char* name : {"key", "value"}) {
      HostTensor& tensor = inputs.at(name);
      for (int64_t b = 0; b < 3; ++b) {
        for (int64_t j = inputs.at("key_lengths").ints[static_cast<size_t>(b)]; j < 150; ++j) {
          for (int64_t d = 0; d < 19; ++d) {
            tensor.floats[at(tensor, b, j, 0, d)] = poison;
            tensor.floats[at(tensor, b, j, 1, d)] = poison;
          }
        }
      }
    }
    const auto poisoned = run_kernel(kernel, lengths, inputs, {.threads = 2});
    for (const auto& [name, values] : clean) {
      EXPECT_TRUE(same_bits(values, poisoned.at(name))) << name << ", " << poison;
    }
  }
}

TEST(Hostile, PaddedRowsOfABlockMayHoldAnything) {
  const TestKernel kernel(
      "{version: 1, name: padded_block, op: block, d_model: 48, heads: 3, batch: 2,"
      " query_length: 37, mask: {key_lengths: true}}");
  const CallLengths lengths{2, 37, 37};
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 2);
  inputs.at("key_lengths").ints = {20, 37};
  const auto clean = run_kernel(kernel, lengths, inputs, {});
  expect_right(kernel, lengths, inputs, clean);
  for (size_t i = 20 * 48; i < 37 * 48; ++i) inputs.at("x").floats[i] = kNan;
  const auto poisoned = run_kernel(kernel, lengths, inputs, {});
  // Rows 20 to 36 of sequence 0 are NaN as queries; all the others are what they were.
  for (size_t i = 0; i < clean.at("output").size(); ++i) {
    const bool query_is_nan = i >= 20 * 48 && i < 37 * 48;
    const float got = poisoned.at("output")[i];
    if (query_is_nan) {
      EXPECT_TRUE(std::isnan(got)) << i;
    } else {
      ASSERT_EQ(got, clean.at("output")[i]) << i;
    }
  }
}

TEST(Hostile, NanKeyReachesExactlyTheRowsThatSeeIt) {
  const TestKernel kernel(
      "{version: 1, name: nan_key, op: attention, heads: 1, d_head: 32, query_length: 200,"
      " mask: {causal: true}, outputs: [output, weights, lse]}");
  const CallLengths lengths{1, 200, 200};
  const HostTensors clean_inputs = random_inputs(kernel.spec(), lengths, 3);
  const auto clean = run_kernel(kernel, lengths, clean_inputs, {});
  for (int64_t j : {0, 77, 128, 199}) {
    HostTensors inputs = clean_inputs;
    inputs.at("key").floats[static_cast<size_t>(j * 32 + 5)] = kNan;
    const auto poisoned = run_kernel(kernel, lengths, inputs, {});
    for (int64_t i = 0; i < 200; ++i) {
      for (int64_t d = 0; d < 32; ++d) {
        const size_t element = static_cast<size_t>(i * 32 + d);
        if (i >= j) {
          ASSERT_TRUE(std::isnan(poisoned.at("output")[element])) << "key " << j << " row " << i;
        } else {
          ASSERT_EQ(poisoned.at("output")[element], clean.at("output")[element])
              << "key " << j << " row " << i;
        }
      }
      const float lse = poisoned.at("lse")[static_cast<size_t>(i)];
      ASSERT_EQ(std::isnan(lse), i >= j) << "key " << j << " row " << i;
    }
  }
}

// The last block of queries is partly filled; what only its filling would see must not be read.
TEST(Hostile, ValuesBehindTheLastVisibleKeyMayHoldAnything) {
  for (const char* offset : {"start", "input"}) {
    const TestKernel kernel(std::string("{version: 1, name: unseen, op: attention, heads: 1, "
                                        "d_head: 16, query_length: {min: 1, max: 70},"
                                        " key_length: 90, mask: {causal: true}, outputs: [output, "
                                        "weights, lse], query_offset: ") +
                            offset + "}");
    for (int64_t queries : {1, 5, 63, 66, 70}) {
      const CallLengths lengths{1, queries, 90};
      HostTensors inputs = random_inputs(kernel.spec(), lengths, 6);
      int64_t first_hidden = queries;
      if (inputs.count("query_offset")) {
        inputs.at("query_offset").ints = {3};
        first_hidden += 3;
      }
      const auto clean = run_kernel(kernel, lengths, inputs, {});
      expect_right(kernel, lengths, inputs, clean);
      for (int64_t i = first_hidden * 16; i < 90 * 16; ++i) {
        inputs.at("value").floats[static_cast<size_t>(i)] = i % 2 == 0 ? kNan : kInf;
        inputs.at("key").floats[static_cast<size_t>(i)] = i % 3 == 0 ? kNan : -kInf;
      }
      const auto poisoned = run_kernel(kernel, lengths, inputs, {});
      for (const auto& [name, values] : clean) {
        EXPECT_TRUE(same_bits(values, poisoned.at(name)))
            << name << ", " << queries << " queries, " << offset;
      }
    }
  }
}

TEST(Hostile, WeightsOfHiddenKeysAreZeroInARowOfNan) {
  const TestKernel kernel(
      "{version: 1, name: nan_row, op: attention, heads: 1, d_head: 16, query_length: 40,"
      " mask: {causal: true}, outputs: [output, weights]}");
  const CallLengths lengths{1, 40, 40};
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 7);
  inputs.at("query").floats[20 * 16] = kNan;
  const auto outputs = run_kernel(kernel, lengths, inputs, {});
  for (size_t j = 0; j < 40; ++j) {
    const float weight = outputs.at("weights")[20 * 40 + j];
    if (j <= 20) {
      EXPECT_TRUE(std::isnan(weight)) << j;
    } else {
      EXPECT_EQ(weight, 0.0f) << j;
    }
  }
}

TEST(Hostile, InfiniteHiddenKeysReachNoRow) {
  const TestKernel kernel(
      "{version: 1, name: inf_key, op: attention, heads: 1, d_head: 8, query_length: 70,"
      " mask: {causal: true}}");
  const CallLengths lengths{1, 70, 70};
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 4);
  const auto clean = run_kernel(kernel, lengths, inputs, {});
  for (size_t i = 69 * 8; i < 70 * 8; ++i) inputs.at("key").floats[i] = i % 2 == 0 ? kInf : -kInf;
  const auto poisoned = run_kernel(kernel, lengths, inputs, {});
  for (size_t i = 0; i < 69 * 8; ++i) {
    ASSERT_EQ(poisoned.at("output")[i], clean.at("output")[i]) << i;
  }
}

TEST(Hostile, LogitsOf10000) {
  const TestKernel kernel(
      "{version: 1, name: huge, op: attention, heads: 2, d_head: 64, query_length: 65,"
      " key_length: 300, outputs: [output, weights, lse]}");
  const CallLengths lengths{1, 65, 300};
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 5);
  for (float& q : inputs.at("query").floats) q *= 3000;
  const auto outputs = run_kernel(kernel, lengths, inputs, {});
  float largest = 0;
  for (float lse : outputs.at("lse")) largest = std::max(largest, std::abs(lse));
  EXPECT_GT(largest, 10000);
  expect_right(kernel, lengths, inputs, outputs);
  // All scores far below zero: the row's maximum is what keeps exp from vanishing.
  for (float& q : inputs.at("query").floats) q = 1000;
  for (float& k : inputs.at("key").floats) k = -1.25F + 1e-4F * k;
  expect_right(kernel, lengths, inputs, run_kernel(kernel, lengths, inputs, {}));
}

TEST(Hostile, OffsetsFromFarBeforeToFarBehind) {
  const TestKernel kernel(
      "{version: 1, name: offsets, op: attention, heads: 2, d_head: 16, batch: 8,"
      " query_length: 33, key_length: 130, mask: {causal: true, key_lengths: true},"
      " query_offset: input, outputs: [output, weights, lse]}");
  const CallLengths lengths{8, 33, 130};
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 6);
  inputs.at("query_offset").ints = {-(1 << 30), -33, -32, -1, 0, 97, 130, 1 << 30};
  inputs.at("key_lengths").ints = {130, 130, 130, 1, 0, 64, 65, 129};
  for (int threads : {1, 2}) {
    const auto outputs = run_kernel(kernel, lengths, inputs, {.threads = threads});
    expect_right(kernel, lengths, inputs, outputs);
  }
}

TEST(Hostile, ConstantsAndDenormals) {
  const TestKernel kernel(
      "{version: 1, name: flat, op: attention, heads: 1, d_head: 24, query_length: 50,"
      " key_length: 577, outputs: [output, lse]}");
  const CallLengths lengths{1, 50, 577};
  for (float size : {0.0F, 0.1F, 1e-42F, 1e18F}) {
    HostTensors inputs = random_inputs(kernel.spec(), lengths, 7);
    // All keys alike: each output is the mean of the values.
    for (float& k : inputs.at("key").floats) k = size > 1 ? 1e-18F : size;
    for (float& v : inputs.at("value").floats) v *= size;
    expect_right(kernel, lengths, inputs, run_kernel(kernel, lengths, inputs, {}));
  }
}

TEST(Hostile, ValuesOutOfRangeAreRefusedAndNothingIsWritten) {
  const TestKernel kernel(
      "{version: 1, name: refused, op: attention, heads: 1, d_head: 8, batch: 2,"
      " query_length: {min: 2, max: 9}, key_length: 9, mask: {key_lengths: true}}");
  const CallLengths lengths{2, 5, 9};
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 8);
  std::vector<float> output(2 * 5 * 8, 42);
  Call call(kernel.library(), lengths, 1);
  for (auto& [name, tensor] : inputs) call.bind(name, tensor.data());
  call.bind("output", output.data());
  auto refused = [&](mha_status status) {
    EXPECT_EQ(call.try_run(), status) << kernel.library().api().last_message();
    EXPECT_NE(std::string(kernel.library().api().last_message()), "");
    EXPECT_EQ(output, std::vector<float>(output.size(), 42));
  };
  inputs.at("key_lengths").ints = {3, 10};
  refused(MHA_OUT_OF_RANGE);
  inputs.at("key_lengths").ints = {-1, 3};
  refused(MHA_OUT_OF_RANGE);
  inputs.at("key_lengths").ints = {3, 9};
  call.arguments().query_length = 10;
  refused(MHA_OUT_OF_RANGE);
  call.arguments().query_length = 1;
  refused(MHA_OUT_OF_RANGE);
  call.arguments().query_length = 5;
  call.arguments().workspace_size -= 1;
  if (call.workspace_bytes() > 0) refused(MHA_WORKSPACE_TOO_SMALL);
  call.arguments().workspace_size += 1;
  call.bind("query", nullptr);
  refused(MHA_INVALID_ARGUMENT);
  call.bind("query", inputs.at("query").data());
  EXPECT_EQ(call.try_run(), MHA_OK) << kernel.library().api().last_message();
}

class Targets : public testing::TestWithParam<std::string> {};

TEST_P(Targets, RunOrSayWhyNot) {
  for (
      const char* yaml :
      {"{version: 1, name: target_block, op: block, d_model: 59, heads: 2, kv_heads: 1, d_head: 17,"
       " query_length: {min: 1, max: 45}, mask: {causal: true},"
       " projection_bias: {q: true, k: true, v: true, out: true}}",
       "{version: 1, name: target_attention, op: attention, heads: 2, d_head: 33, query_length: 31,"
       " key_length: 200, mask: {key_lengths: true}, outputs: [output, weights, lse]}"}) {
    const TestKernel kernel(yaml, GetParam());
    EXPECT_EQ(kernel.library().info().target, GetParam());
    if (kernel.library().api().kernel_check(&kernel.library().kernel()) == MHA_UNSUPPORTED_CPU) {
      GTEST_SKIP() << kernel.library().api().last_message();
    }
    const CallLengths lengths = max_lengths(kernel.spec());
    const HostTensors inputs = random_inputs(kernel.spec(), lengths, 9);
    expect_right(kernel, lengths, inputs, run_kernel(kernel, lengths, inputs, {.threads = 2}));
  }
}

std::vector<std::string> x86_targets() {
  std::vector<std::string> targets;
  for (const std::string& target : named_targets()) targets.push_back(target);
  return targets;
}

INSTANTIATE_TEST_SUITE_P(Named, Targets, testing::ValuesIn(x86_targets()), [](const auto& info) {
  std::string name = info.param;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
});

}  // namespace
}  // namespace mha
