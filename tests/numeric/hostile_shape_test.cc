// Cruelty to windows, broadcast masks, lists of the strongest keys and packed batches.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "tests/numeric/hostile.h"
#include "tests/numeric/random_config.h"

namespace mha {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// --- windows ---

TEST(Hostile, WindowOfOneKeyCopiesItsValue) {
  const TestKernel kernel(
      std::string("{version: 1, name: diagonal, op: attention, heads: 2, d_head: 17,"
                  " query_length: {min: 1, max: 150}, mask: {window: {left: 0, right: 0}}") +
      kAllOutputs);
  for (int64_t length : {1, 2, 63, 64, 65, 150}) {
    const CallLengths lengths{1, length, length};
    const HostTensors inputs = random_inputs(kernel.spec(), lengths, 6);
    const Outputs outputs = run_kernel(kernel, lengths, inputs, {});
    EXPECT_TRUE(same_bits(outputs.at("output"), inputs.at("value").floats)) << length;
    expect_right(kernel, lengths, inputs, outputs);
  }
}

TEST(Hostile, WindowWiderThanTheSequence) {
  const char* masks[] = {"", "mask: {window: {left: 1000, right: 2147483647}}, ",
                         "mask: {window: {left: 2147483647}}, "};
  std::map<int64_t, Outputs> first;  // of each length: windows that hide nothing change no bit
  for (const char* mask : masks) {
    const TestKernel kernel(std::string("{version: 1, name: wide, op: attention, heads: 2,"
                                        " d_head: 16, query_length: {min: 1, max: 90}, ") +
                            mask + "outputs: [output, lse]}");
    for (int64_t length : {1, 33, 90}) {
      const CallLengths lengths{1, length, length};
      const HostTensors inputs = random_inputs(kernel.spec(), lengths, 7);
      const Outputs outputs = run_kernel(kernel, lengths, inputs, {});
      expect_right(kernel, lengths, inputs, outputs);
      const auto [known, is_first] = first.emplace(length, outputs);
      if (is_first) continue;
      for (const char* name : {"output", "lse"})
        EXPECT_TRUE(same_bits(outputs.at(name), known->second.at(name))) << mask << name << length;
    }
  }
}

// Positions and widths whose sums leave 32 bits.
TEST(Hostile, WideWindowsAtFarOffsets) {
  for (const char* window :
       {"left: 2147483647, right: 5", "left: 9, right: 2147483647",
        "left: 2147483647, right: 2147483647", "left: 1073741820, right: 1073741824"}) {
    SCOPED_TRACE(window);
    const TestKernel kernel(
        std::string("{version: 1, name: far, op: attention, heads: 1, d_head: 8, batch: 6,"
                    " query_length: 21, key_length: 100, query_offset: input, mask: {window: {") +
        window + "}}, outputs: [output, weights, lse]}");
    const CallLengths lengths{6, 21, 100};
    HostTensors inputs = random_inputs(kernel.spec(), lengths, 8);
    inputs.at("query_offset").ints = {-(1 << 30), -21, -3, 40, 109, 1 << 30};
    expect_right(kernel, lengths, inputs, run_kernel(kernel, lengths, inputs, {.threads = 2}));
  }
}

// --- broadcast masks ---

TEST(Hostile, BroadcastMasksAreTheirExpansions) {
  for (const char* kind : {"bool", "additive"}) {
    const TestKernel kernel(std::string("{version: 1, name: broadcast, op: attention, heads: 3,"
                                        " d_head: 12, batch: 2, query_length: 35, key_length: 67,"
                                        " mask: {tensor: ") +
                            kind + "}" + kAllOutputs);
    const CallLengths lengths{2, 35, 67};
    HostTensors inputs = random_inputs(kernel.spec(), lengths, 9);
    const std::vector<int64_t> full = {2, 3, 35, 67};
    Random random(9, "broadcast");
    for (unsigned shape = 0; shape < 16; ++shape) {
      std::vector<int64_t> extents = full;
      for (size_t axis = 0; axis < 4; ++axis) {
        if ((shape >> axis & 1) != 0) extents[axis] = 1;
      }
      SCOPED_TRACE(kind + shape_text(extents));
      const HostTensor small = mask_by(kernel.spec(), extents, [&](auto, auto, auto, auto) {
        const bool hides = random.uniform() < 0.3;
        if (std::string(kind) == "bool") return hides ? 0.0 : 7.0;
        return hides ? -static_cast<double>(kInf) : random.normal();
      });
      const Array values = small.array();
      const HostTensor expanded =
          mask_by(kernel.spec(), full, [&](int64_t b, int64_t h, int64_t i, int64_t j) {
            const int64_t at =
                (((b % extents[0]) * extents[1] + h % extents[1]) * extents[2] + i % extents[2]) *
                    extents[3] +
                j % extents[3];
            return values.values[static_cast<size_t>(at)];
          });
      inputs.at("mask") = small;
      const Outputs outputs = run_kernel(kernel, lengths, inputs, {.threads = 2, .strided = true});
      expect_right(kernel, lengths, inputs, outputs);
      inputs.at("mask") = expanded;
      const Outputs others = run_kernel(kernel, lengths, inputs, {});
      for (const auto& [name, output] : outputs) {
        EXPECT_TRUE(same_bits(output, others.at(name))) << name;
      }
    }
  }
}

// --- the strongest keys ---

TEST(Hostile, EqualScoresStandInTheOrderOfTheirKeys) {
  const TestKernel kernel(
      "{version: 1, name: ties, op: attention, heads: 2, d_head: 8, query_length: 20,"
      " key_length: 92, mask: {key_starts: true}, outputs: [output], top_k: 7}");
  const CallLengths lengths{1, 20, 92};
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 10);
  inputs.at("key_starts").ints = {4};
  // All scores 0, and then keys that come in fours.
  HostTensors zero = inputs;
  for (float& q : zero.at("query").floats) q = 0;
  for (size_t i = 0; i < 7; ++i) {
    const Outputs outputs = run_kernel(kernel, lengths, zero, {});
    EXPECT_EQ(outputs.at("top_indices")[i], static_cast<float>(4 + i));
  }
  auto& keys = inputs.at("key").floats;
  for (size_t j = 0; j < 92; ++j) std::copy_n(&keys[j / 4 * 64], 16, &keys[j * 16]);
  const Outputs outputs = run_kernel(kernel, lengths, inputs, {});
  expect_right(kernel, lengths, inputs, outputs);
  for (size_t row = 0; row < 40; ++row) {
    const float* top = &outputs.at("top_indices")[row * 7];
    for (size_t rank = 0; rank < 4; ++rank) {
      const float first = std::floor(top[0] / 4) * 4;
      EXPECT_EQ(top[rank], first + static_cast<float>(rank)) << row;
    }
  }
}

TEST(Hostile, FewerKeysThanAreAskedFor) {
  const TestKernel kernel(
      "{version: 1, name: few, op: attention, heads: 1, d_head: 8, batch: 2,"
      " query_length: {min: 1, max: 40}, mask: {causal: true, key_lengths: true},"
      " outputs: [lse], top_k: 40}");
  for (int64_t length : {1, 3, 40}) {
    const CallLengths lengths{2, length, length};
    HostTensors inputs = random_inputs(kernel.spec(), lengths, 11);
    inputs.at("key_lengths").ints = {static_cast<int32_t>(length), 0};
    expect_right(kernel, lengths, inputs, run_kernel(kernel, lengths, inputs, {}));
  }
}

// --- packed batches ---

// Sequences of every length, none among them, and each the same bits alone.
TEST(HostilePacked, SequencesOfNoRowAndOfOne) {
  for (const char* op : {"op: attention, d_head: 16", "op: block, d_model: 40, d_head: 16"}) {
    SCOPED_TRACE(op);
    const TestKernel kernel(std::string("{version: 1, name: packed, heads: 4, kv_heads: 2,"
                                        " batch: {min: 1, max: 9}, query_length: {min: 1, max: 80},"
                                        " packed: true, mask: {causal: true, key_lengths: true},"
                                        " query_offset: end, ") +
                            op + kAllOutputs);
    const Spec& spec = kernel.spec();
    RandomCall call;
    call.lengths = {8, 80, 80, 0};
    const std::vector<int32_t> starts = {0, 0, 1, 1, 1, 81, 145, 146, 211};
    call.lengths.total = starts.back();
    call.inputs = random_inputs(spec, call.lengths, 12);
    call.inputs.at("sequence_starts").ints = starts;
    call.inputs.at("key_lengths").ints = {0, 1, 0, 0, 77, 64, 0, 65};
    const Outputs outputs = run_kernel(kernel, call.lengths, call.inputs, {.threads = 2});
    expect_right(kernel, call.lengths, call.inputs, outputs);
    for (int64_t b = 0; b < 8; ++b) {
      const RandomCall one = only_sequence(spec, call, b);
      if (one.lengths.total == 0) continue;
      const Outputs alone = run_kernel(kernel, one.lengths, one.inputs, {});
      for (const auto& [name, values] : outputs_of_sequence(spec, call, outputs, b)) {
        EXPECT_TRUE(same_bits(values, alone.at(name))) << name << " of sequence " << b;
      }
    }
  }
}

// Rows of a neighbour are no keys: they may hold anything.
TEST(HostilePacked, NeighboursDoNotMeet) {
  const TestKernel kernel(
      std::string(
          "{version: 1, name: neighbours, op: attention, heads: 2, d_head: 16,"
          " batch: 3, query_length: 70, packed: true, mask: {window: {left: 40, right: 40}}") +
      kAllOutputs);
  const Spec& spec = kernel.spec();
  RandomCall call;
  call.lengths = {3, 70, 70, 138};
  call.inputs = random_inputs(spec, call.lengths, 13);
  call.inputs.at("sequence_starts").ints = {0, 5, 70, 138};
  const Outputs clean = run_kernel(kernel, call.lengths, call.inputs, {});
  expect_right(kernel, call.lengths, call.inputs, clean);
  for (const char* name : {"query", "key", "value"}) {
    auto& values = call.inputs.at(name).floats;
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t row = i / 32;
      if (row < 5 || row >= 70) values[i] = i % 2 == 0 ? kNan : kInf;
    }
  }
  const Outputs poisoned = run_kernel(kernel, call.lengths, call.inputs, {.threads = 2});
  const Outputs before = outputs_of_sequence(spec, call, clean, 1);
  for (const auto& [name, values] : outputs_of_sequence(spec, call, poisoned, 1)) {
    EXPECT_TRUE(same_bits(values, before.at(name))) << name;
  }
}

// The same sequences in a padded batch: another kernel, the same blocks of keys, the same bits.
TEST(HostilePacked, BitsOfAPaddedBatch) {
  const std::string shape =
      "op: attention, heads: 2, d_head: 16, batch: 3, query_length: {min: 1, max: 70},"
      " outputs: [output, lse], mask: {key_lengths: true}";
  const TestKernel packed("{version: 1, name: packed, packed: true, " + shape + "}");
  const TestKernel padded("{version: 1, name: padded, " + shape + "}");
  const int64_t lengths[] = {70, 1, 33};
  RandomCall call;
  call.lengths = {3, 70, 70, 104};
  call.inputs = random_inputs(packed.spec(), call.lengths, 14);
  call.inputs.at("sequence_starts").ints = {0, 70, 71, 104};
  call.inputs.at("key_lengths").ints = {70, 1, 33};
  const CallLengths wide{3, 70, 70};
  HostTensors inputs = random_inputs(padded.spec(), wide, 15);
  inputs.at("key_lengths").ints = {70, 1, 33};
  int64_t row = 0;
  for (int64_t b = 0; b < 3; ++b) {
    for (const char* name : {"query", "key", "value"}) {
      std::copy_n(&call.inputs.at(name).floats[static_cast<size_t>(row * 32)], lengths[b] * 32,
                  &inputs.at(name).floats[static_cast<size_t>(b * 70 * 32)]);
    }
    row += lengths[b];
  }
  const Outputs of_packed = run_kernel(packed, call.lengths, call.inputs, {});
  const Outputs of_padded = run_kernel(padded, wide, inputs, {});
  row = 0;
  for (int64_t b = 0; b < 3; ++b) {
    EXPECT_EQ(std::memcmp(&of_packed.at("output")[static_cast<size_t>(row * 32)],
                          &of_padded.at("output")[static_cast<size_t>(b * 70 * 32)],
                          static_cast<size_t>(lengths[b] * 32 * 4)),
              0)
        << "sequence " << b;
    row += lengths[b];
  }
}

}  // namespace
}  // namespace mha
