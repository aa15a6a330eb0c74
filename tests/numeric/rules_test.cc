// Score rules, mask rules and their tables, softcap, ALiBi and sinks against the float64 reference;
// and what rules hide is not computed.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "generator/spec/error.h"
#include "tests/numeric/hostile.h"

namespace mha {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::string config(const std::string& lengths, const std::string& keys) {
  return "{version: 1, name: ruled, op: attention, heads: 4, kv_heads: 2, d_head: 19, d_value: "
         "24, " +
         lengths + ", " + keys;
}

// --- every step, by itself and with the rest ---

struct RuleCase {
  const char* name;
  const char* lengths;
  const char* keys;
};

const RuleCase kCases[] = {
    {"Softcap", "query_length: 75, key_length: 300", "softcap: 3.5"},
    {"TinySoftcap", "query_length: 7", "softcap: 1.0e-30"},
    {"Alibi", "batch: 2, query_length: 75, key_length: 300", "alibi: true, query_offset: end"},
    {"AlibiSlopes", "query_length: {min: 1, max: 90}",
     "alibi: [0.5, 0, -0.25, 3], mask: {causal: true}"},
    {"Sink", "query_length: 300", "sink: true"},
    {"SinkOfFewKeys", "batch: 2, query_length: 9",
     "sink: true, mask: {key_lengths: true, key_starts: true}"},
    {"All", "batch: 2, query_length: 40, key_length: 300",
     "sink: true, softcap: 2, alibi: true, score_rule: s * 2 - 1, mask: {tensor: additive, "
     "window: {left: 200}}, query_offset: end"},
    {"ScoreOfPlaces", "query_length: 200",
     "score_rule: 's - 0.1 * abs(q - k) if k <= q else s / (1 + k - q)'"},
    {"ScoreFunctions", "query_length: 30",
     "score_rule: 'tanh(s) + exp(-abs(s)) * log(1 + abs(s)) + sqrt(abs(s)) + floor(s) - max(s, "
     "0.5, "
     "h) % 0.75'"},
    {"ExtremesOfMany", "query_length: 9",
     "score_rule: 'min(s, t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10], "
     "t[11], "
     "t[12], t[13], t[14], t[15]) + max(t[0], t[3], s, t[1] * 2, t[4])', table: {t: {shape: [16], "
     "dtype: f32}}"},
    {"Bias", "query_length: 150",
     "score_rule: 's + bias[h, min(abs(q - k), 31)]', table: {bias: {shape: [H, 32], dtype: f32}}"},
    {"CausalBias", "query_length: 90",
     "score_rule: 's + bias[q - k, h]', mask: {causal: true}, table: {bias: {shape: [Lk, H], "
     "dtype: "
     "f32}}, outputs: [output, lse]"},
    {"Strict", "query_length: 300", "mask: {rule: k < q}"},
    {"Band", "query_length: 300", "mask: {rule: 'not (q - k > 40) and k - 3 <= q'}"},
    {"FirstAndNear", "query_length: 600",
     "mask: {rule: 'k <= q and (q - k < 100 or k < 4)'}, outputs: [output, lse]"},
    {"TwoBands", "batch: 2, query_length: 130, key_length: 700",
     "query_offset: end, mask: {rule: 'q - k < 30 and k <= q or 200 <= q - k < 260'}"},
    {"Dilated", "query_length: 300", "mask: {rule: '(q - k) % 3 == 0 and k // 64 != 2'}"},
    {"Blocks", "query_length: 500", "mask: {rule: 'q // 100 == k // 100'}, outputs: [output, lse]"},
    {"Documents", "query_length: 500",
     "mask: {causal: true, rule: 'doc[q] == doc[k]'}, table: {doc: [Lk]}, outputs: [output, lse]"},
    {"DocumentsOfEach", "batch: 3, query_length: {min: 1, max: 400}",
     "mask: {key_lengths: true, rule: 'doc[b, q] == doc[b, k] or k < 2'}, table: {doc: [B, Lk]}"},
    {"ByHead", "query_length: 300",
     "mask: {rule: 'q - k < 20 * (h + 1) and (h % 2 == 0 or k <= q)'}"},
    {"Reals", "query_length: 300", "mask: {rule: '0.3 * q <= k / 2 < 0.7 * q + 3'}"},
    {"Nothing", "query_length: 300", "sink: true, mask: {rule: 'k > q and k < q'}"},
    {"Lengths", "batch: 2, query_length: {min: 1, max: 200}",
     "mask: {key_lengths: true, rule: 'k * 2 < k_len or q + 1 == q_len'}"},
    {"WithTensor", "batch: 2, query_length: 90, key_length: 400",
     "mask: {tensor: bool, rule: 'k % 7 != 3'}, sink: true"},
    {"Far", "batch: 2, query_length: 90, key_length: 400",
     "query_offset: input, mask: {rule: 'abs(q - k) < 64 or k == 5'}"},
};

class Rules : public testing::TestWithParam<size_t> {};

// The documents of the tests: runs of the same number, now and then one from before.
void fill_documents(HostTensors& inputs) {
  const auto found = inputs.find("doc");
  if (found == inputs.end()) return;
  for (size_t i = 0; i < found->second.ints.size(); ++i) {
    found->second.ints[i] = i % 97 == 50 ? 0 : static_cast<int32_t>(i / 90);
  }
}

TEST_P(Rules, AreRight) {
  const RuleCase& test = kCases[GetParam()];
  std::string text = config(test.lengths, test.keys);
  text += text.find("outputs:") == std::string::npos ? kAllOutputs : "}";
  const TestKernel kernel(text);
  const Spec& spec = kernel.spec();
  std::vector<int64_t> queries = {spec.query_length.max};
  if (!spec.query_length.fixed()) queries.insert(queries.end(), {1, 67});
  for (int64_t query : queries) {
    CallLengths lengths = max_lengths(spec);
    lengths.query = query;
    if (!spec.key_length_given) lengths.key = query;
    HostTensors inputs = random_inputs(spec, lengths, 7 + static_cast<uint64_t>(query));
    fill_documents(inputs);
    const Outputs outputs = run_kernel(kernel, lengths, inputs, {.threads = 2, .strided = true});
    expect_right(kernel, lengths, inputs, outputs);
  }
}

INSTANTIATE_TEST_SUITE_P(Numeric, Rules, testing::Range(size_t{0}, std::size(kCases)),
                         [](const auto& info) { return kCases[info.param].name; });

TEST(Rules, OfABlockAndAPackedBatch) {
  for (const char* more :
       {"d_model: 40, heads: 4, d_head: 19, batch: 3, query_length: {min: 1, max: 90}, packed: "
        "true, "
        "mask: {rule: 'k <= q and doc[b, q] == doc[b, k]'}, table: {doc: [B, Lq]}, sink: true, "
        "softcap: 5",
        "d_model: 40, heads: 4, d_head: 19, batch: 2, query_length: 33, key_length: 150, cross: "
        "true, "
        "alibi: true, score_rule: 's + 0.5 * h', mask: {rule: 'k % 2 == 0 or k > q'}"}) {
    const TestKernel kernel(std::string("{version: 1, name: ruled, ") + more + kAllOutputs);
    CallLengths lengths = max_lengths(kernel.spec());
    if (kernel.spec().packed) lengths.total = 3 * 60;
    HostTensors inputs = random_inputs(kernel.spec(), lengths, 3);
    if (kernel.spec().packed) inputs.at("sequence_starts").ints = {0, 90, 97, 180};
    fill_documents(inputs);
    expect_right(kernel, lengths, inputs, run_kernel(kernel, lengths, inputs, {.threads = 2}));
  }
}

// --- what rules hide ---

Outputs outputs_of(const TestKernel& kernel, const CallLengths& lengths,
                   const HostTensors& inputs) {
  return run_kernel(kernel, lengths, inputs, {.threads = 1});
}

// A rule that says what a built-in mask says is that mask: bit by bit.
TEST(Rules, ThatAreMasksAreThem) {
  const char* pairs[][2] = {
      {"mask: {rule: k <= q}", "mask: {causal: true}"},
      {"mask: {rule: 'k <= q and q - k < 33'}", "mask: {causal: true, window: {left: 32}}"},
      {"mask: {rule: '-5 <= k - q < 8 and heads == 4'}", "mask: {window: {left: 5, right: 7}}"}};
  for (const auto& [rule, mask] : pairs) {
    const TestKernel a(config("query_length: 300", rule) + "}"),
        b(config("query_length: 300", mask) + "}");
    const CallLengths lengths = max_lengths(a.spec());
    const HostTensors inputs = random_inputs(a.spec(), lengths, 5);
    EXPECT_TRUE(same_bits(outputs_of(a, lengths, inputs).at("output"),
                          outputs_of(b, lengths, inputs).at("output")))
        << rule;
  }
}

// Blocks of keys that a rule hides from all queries of a task are not read: NaN there, in V too,
// reaches nobody. Were one of them computed, its weights of 0 would make NaN of the row.
TEST(Rules, HiddenBlocksAreNotComputed) {
  struct Hidden {
    const char* keys;
    int64_t from, to;
  };
  for (const Hidden& hidden : std::vector<Hidden>{
           {"mask: {rule: 'k < 100 or k >= 1200'}", 512, 1024},
           {"query_offset: end, mask: {rule: 'k <= q and (q - k < 200 or k < 4)'}", 512, 1024},
           {"query_offset: end, mask: {rule: 'not (300 <= q - k) or k // 64 == 2'}", 512, 1024},
           {"mask: {rule: 'doc[0] == doc[k]'}, table: {doc: [Lk]}", 512, 1024},
           {"mask: {rule: 'doc[q] == doc[k] or k < h'}, table: {doc: [Lk]}", 512, 1536}}) {
    const TestKernel kernel(config("query_length: 32, key_length: 1536", hidden.keys) + "}");
    const CallLengths lengths = max_lengths(kernel.spec());
    HostTensors inputs = random_inputs(kernel.spec(), lengths, 9);
    fill_documents(inputs);
    if (inputs.count("doc") != 0) {
      for (size_t j = 0; j < inputs.at("doc").ints.size(); ++j)
        inputs.at("doc").ints[j] = j < 100 ? 7 : 1 + static_cast<int32_t>(j * 31 % 6);
      for (size_t j = 1030;
           std::string(hidden.keys).find("doc[0]") != std::string::npos && j < 1100; ++j)
        inputs.at("doc").ints[j] = 7;
    }
    const Outputs clean = outputs_of(kernel, lengths, inputs);
    expect_right(kernel, lengths, inputs, clean);
    for (const char* name : {"key", "value"}) {
      HostTensor& tensor = inputs.at(name);
      const int64_t row = tensor.decl.elements() / 1536;
      for (int64_t i = hidden.from * row; i < hidden.to * row; ++i)
        tensor.floats[static_cast<size_t>(i)] = kNan;
    }
    EXPECT_TRUE(same_bits(outputs_of(kernel, lengths, inputs).at("output"), clean.at("output")))
        << hidden.keys;
  }
}

// In blocks that are shown in part, what is hidden may hold anything in K.
TEST(Rules, HiddenKeysOfABlockMayHoldAnything) {
  const TestKernel kernel(
      config("query_length: 70, key_length: 300", "mask: {rule: 'k % 5 != 2'}, sink: true") +
      kMaskedOutputs);
  const CallLengths lengths = max_lengths(kernel.spec());
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 11);
  const Outputs clean = outputs_of(kernel, lengths, inputs);
  HostTensor& keys = inputs.at("key");
  const int64_t row = keys.decl.elements() / 300;
  for (int64_t j = 2; j < 300; j += 5) {
    for (int64_t i = 0; i < row; ++i) {
      keys.floats[static_cast<size_t>(j * row + i)] = j % 3 == 0 ? kNan : j % 3 == 1 ? kInf : -kInf;
    }
  }
  for (const auto& [name, values] : outputs_of(kernel, lengths, inputs))
    EXPECT_TRUE(same_bits(values, clean.at(name))) << name;
}

// The lowest number of int32 has no negative there, and // and % by a negative number negate.
TEST(Rules, LowestWholeNumberByANegativeOne) {
  for (const char* rule : {"t[k] % -3 == -2", "t[k] // -3 < 0", "t[k] // min(q - 20, -2) > 0",
                           "t[k] % min(q - 20, -5) == -3", "7 // min(t[k], -1) == -1"}) {
    SCOPED_TRACE(rule);
    const TestKernel kernel(
        config("query_length: 9", std::string("table: {t: [Lk]}, mask: {rule: '") + rule + "'}") +
        ", outputs: [output, lse]}");
    const CallLengths lengths = max_lengths(kernel.spec());
    HostTensors inputs = random_inputs(kernel.spec(), lengths, 17);
    const int32_t lowest = std::numeric_limits<int32_t>::min();
    inputs.at("t").ints = {lowest, lowest + 1, -1, 0, 1, -2, lowest, 2147483647, lowest + 2};
    expect_right(kernel, lengths, inputs, run_kernel(kernel, lengths, inputs, {}));
  }
}

// A sink whose product with log2(e) leaves float32 is the lse of a row that sees no key, and of one
// that it outweighs.
TEST(Rules, SinksAtTheEndsOfFloat32) {
  const TestKernel kernel(
      config("batch: 2, query_length: 9", "sink: true, mask: {key_lengths: true}") +
      ", outputs: [output, weights, lse]}");
  const CallLengths lengths = max_lengths(kernel.spec());
  HostTensors inputs = random_inputs(kernel.spec(), lengths, 19);
  inputs.at("key_lengths").ints = {0, 9};
  const float most = std::numeric_limits<float>::max();
  const std::vector<float> sinks = {-most, 2.5e38f, most, -kInf};
  inputs.at("sink").floats = sinks;
  const Outputs outputs = run_kernel(kernel, lengths, inputs, {});
  for (size_t h = 0; h < 4; ++h) {
    for (size_t i = 0; i < 9; ++i) {
      EXPECT_EQ(outputs.at("lse")[h * 9 + i], sinks[h]) << h;
      const float of_keys = outputs.at("lse")[(4 + h) * 9 + i];
      if (sinks[h] > 0) {
        EXPECT_EQ(of_keys, sinks[h]) << h;
      } else {
        EXPECT_LT(std::abs(of_keys), 100) << h;
      }
    }
  }
}

// In bf16 as well, whatever the bits of the NaN are.
TEST(Rules, NanOfAllOnesInTensorsOfTheUser) {
  for (const char* keys :
       {"mask: {tensor: additive}",
        "score_rule: 's + mask[q, k]', table: {mask: {shape: [Lq, Lk], dtype: f32}}"}) {
    SCOPED_TRACE(keys);
    std::string text = keys;
    const bool table = text.find("table") != std::string::npos;
    if (table) {
      for (size_t at; (at = text.find("mask")) != std::string::npos;) text.replace(at, 4, "bias");
    }
    const TestKernel kernel(config("query_length: 9", "dtype: bf16, " + text) + "}");
    const CallLengths lengths = max_lengths(kernel.spec());
    for (uint32_t bits : {0x7fffffffu, 0xffffffffu, 0x7fc00000u, 0xff800001u}) {
      HostTensors inputs = random_inputs(kernel.spec(), lengths, 23);
      HostTensor& given = inputs.at(table ? "bias" : "mask");
      if (!table)
        given = mask_by(kernel.spec(), {1, 1, 9, 9}, [](auto, auto, auto, auto) { return 0; });
      std::memcpy(&given.floats[5 * 9 + 3], &bits, sizeof bits);
      const Outputs outputs = run_kernel(kernel, lengths, inputs, {});
      const std::vector<float>& output = outputs.at("output");
      const size_t row = output.size() / 9;
      for (size_t at = 0; at < output.size(); ++at)
        ASSERT_EQ(std::isnan(output[at]), at / row == 5) << std::hex << bits << " " << at;
    }
  }
}

// A NaN that a row sees stays one through every step on its way.
TEST(Rules, NanPassesThroughEveryStep) {
  for (const char* keys :
       {"softcap: 3", "alibi: true", "sink: true", "score_rule: 'max(s, 0) + tanh(s)'",
        "score_rule: 'exp(s)'", "score_rule: 'log(s)'", "score_rule: 'min(0, s)'"}) {
    const TestKernel kernel(config("query_length: 20", keys) + "}");
    const CallLengths lengths = max_lengths(kernel.spec());
    HostTensors inputs = random_inputs(kernel.spec(), lengths, 13);
    for (float& number : inputs.at("key").floats) number = std::abs(number);
    for (float& number : inputs.at("query").floats) number = std::abs(number);
    const int64_t row = inputs.at("query").decl.elements() / 20;
    inputs.at("query").floats[static_cast<size_t>(3 * row)] = kNan;  // query 3, head 0
    const std::vector<float> output = outputs_of(kernel, lengths, inputs).at("output");
    const size_t out_row = output.size() / 20;
    for (size_t i = 0; i < 20; ++i)
      EXPECT_EQ(std::isnan(output[i * out_row]), i == 3) << keys << ", query " << i;
  }
}

}  // namespace
}  // namespace mha
