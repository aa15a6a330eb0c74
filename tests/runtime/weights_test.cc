// Weights: packing against a plain loop over the definition, and every way to give wrong ones.
#include <HalideRuntime.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <ctime>
#include <limits>
#include <random>
#include <thread>

#include "mha/kernel.h"
#include "mha/mha.h"
#include "tests/runtime/file_builder.h"

namespace mha {
namespace {

// A kernel without tensors whose single stage copies out the packed arrays that it is given.
//   w_q [6, 4] and w_k [4, 4]: three and two heads of 2 rows, padded to 3; columns in pairs, padded
//   to 4 b_q [6]
struct WeightsArgs {
  mha_call call;
};

std::vector<std::vector<float>> seen;

int look(void** argv) {
  seen.clear();
  for (int i = 1; i <= 2; ++i) {
    const halide_buffer_t* buffer = static_cast<halide_buffer_t*>(argv[i]);
    int64_t count = 1;
    for (int d = 0; d < buffer->dimensions; ++d) {
      EXPECT_EQ(buffer->dim[d].stride, count);
      count *= buffer->dim[d].extent;
    }
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->host) % 64, 0u);
    const float* data = reinterpret_cast<const float*>(buffer->host);
    seen.emplace_back(data, data + count);
  }
  return 0;
}

class Weights : public testing::Test {
 protected:
  static constexpr int64_t kQ = 6, kK = 4, kPadded = 8, kPanel = 4, kRows = 16;

  Weights() {
    parts[0] = {0, 0, 0, 3, 2, 3, 0.3, nullptr};  // rows 0-1, 3-4, 6-7
    parts[1] = {1, 0, 9, 2, 2, 3, 1.0, nullptr};  // rows 9-10, 12-13
    bias_parts[0] = {2, 0, 0, 3, 2, 3, 0.3, nullptr};
    packs[0] = {MHA_PACK_MATRIX, kPanel, kRows, kPadded, 2, 2, 4, parts, 2, nullptr, MHA_F32, 1};
    packs[1] = {MHA_PACK_VECTOR, 1, kRows, 1, 1, 1, 1, bias_parts, 1, nullptr, MHA_F32, 1};
    infos[0] = {"w_q", "layer.{layer}.q/{layer}", 2, 0, {kQ, 4}, 0};
    infos[1] = {"w_k", nullptr, 2, 0, {kK, 4}, 0};
    infos[2] = {"b_q", "bias", 1, 0, {kQ, 0}, 0};
    operands[0] = {MHA_OPERAND_PACK, 0, 0, {}};
    operands[1] = {MHA_OPERAND_PACK, 1, 0, {}};
    stage.name = "look";
    stage.run = look;
    stage.operands = operands;
    stage.operand_count = 2;
    stage.batch_axis = stage.query_axis = stage.key_axis = -1;
    kernel.abi = MHA_KERNEL_ABI;
    kernel.struct_size = sizeof kernel;
    kernel.info = {"toy", "{}", "any", "", "default", "tests"};
    kernel.args_size = sizeof(WeightsArgs);
    kernel.key_lengths_tensor = kernel.query_offset_tensor = -1;
    kernel.key_starts_tensor = kernel.sequence_starts_tensor = -1;
    kernel.batch = kernel.query_length = kernel.key_length = {1, 1};
    kernel.weights = infos;
    kernel.weight_count = 3;
    kernel.packs = packs;
    kernel.pack_count = 2;
    variant = {1, "", nullptr, 0, &stage, 1};
    kernel.variants = &variant;
    kernel.variant_count = 1;
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (auto* values : {&q, &k, &b}) {
      values->resize(values == &q ? kQ * 4 : values == &k ? kK * 4 : kQ);
      for (float& value : *values) value = normal(random);
    }
    arrays = {array("w_q", q, {kQ, 4}), array("w_k", k, {kK, 4}), array("b_q", b, {kQ})};
  }

  static mha_weight_array array(const char* name, const std::vector<float>& values,
                                std::vector<int64_t> shape) {
    mha_weight_array result = {
        name, values.data(), MHA_F32, static_cast<int32_t>(shape.size()), {}};
    std::copy(shape.begin(), shape.end(), result.shape);
    return result;
  }

  // The definition in kernel.h, read the other way round: every element of every weight to its
  // place.
  std::vector<float> plain_matrix() const {
    std::vector<float> packed(kRows * kPadded, 0.0f);
    const std::vector<float>* sources[2] = {&q, &k};
    for (const mha_pack_part& part : parts) {
      for (int64_t g = 0; g < part.row_groups; ++g) {
        for (int64_t i = 0; i < part.row_width; ++i) {
          for (int64_t cg = 0; cg < 2; ++cg) {
            for (int64_t ci = 0; ci < 2; ++ci) {
              const int64_t row = part.first_row + g * part.row_padded + i, column = cg * 4 + ci;
              const double value =
                  (*sources[part.weight])[(g * part.row_width + i) * 4 + cg * 2 + ci];
              packed[(row / kPanel * kPadded + column) * kPanel + row % kPanel] =
                  static_cast<float>(value * part.scale);
            }
          }
        }
      }
    }
    return packed;
  }

  mha_status create(mha_weights** weights) {
    return mha_weights_create(&kernel, arrays.data(), arrays.size(), weights);
  }
  void expect_refused(mha_status status, std::vector<const char*> words) {
    mha_weights* weights = reinterpret_cast<mha_weights*>(1);
    EXPECT_EQ(create(&weights), status);
    EXPECT_EQ(weights, nullptr);
    for (const char* word : words)
      EXPECT_NE(strstr(mha_last_message(), word), nullptr) << mha_last_message();
  }
  // Packs, runs, and leaves what the stage saw in `seen`.
  void look_at(const mha_weights* weights) {
    mha_context_options options = {};
    options.size = sizeof options;
    options.threads = 1;
    mha_context* context = nullptr;
    ASSERT_EQ(mha_context_create(&options, &context), MHA_OK);
    WeightsArgs args = {};
    args.call.size = sizeof args;
    args.call.weights = weights;
    alignas(64) uint8_t workspace[1024];
    args.call.workspace = workspace;
    args.call.workspace_size = sizeof workspace;
    EXPECT_EQ(mha_run(&kernel, context, &args), MHA_OK) << mha_last_message();
    mha_context_destroy(context);
  }

  std::vector<float> q, k, b;
  std::vector<mha_weight_array> arrays;
  mha_pack_part parts[2];
  mha_pack_part bias_parts[1];
  mha_pack_info packs[2];
  mha_weight_info infos[3];
  mha_operand operands[2];
  mha_stage stage = {};
  mha_variant variant = {};
  mha_kernel kernel = {};
};

TEST_F(Weights, PackAsDefined) {
  mha_weights* weights = nullptr;
  ASSERT_EQ(create(&weights), MHA_OK) << mha_last_message();
  look_at(weights);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0], plain_matrix());
  std::vector<float> bias(kRows, 0.0f);
  for (int64_t r = 0; r < kQ; ++r) bias[r / 2 * 3 + r % 2] = static_cast<float>(0.3 * double{b[r]});
  EXPECT_EQ(seen[1], bias);
  mha_weights_destroy(weights);
  mha_weights_destroy(nullptr);
}

// Groups of rows and of columns that no list names are left out, and their room is not there.
TEST_F(Weights, OnlyNamedGroupsArePacked) {
  const int32_t rows[] = {0, 2}, columns[] = {1};
  parts[0].row_groups = bias_parts[0].row_groups = 2;
  parts[0].row_sources = bias_parts[0].row_sources = rows;
  packs[0].part_count = 1;
  packs[0].rows = packs[1].rows = 8;
  packs[0].col_groups = 1;
  packs[0].col_sources = columns;
  packs[0].columns = 4;
  mha_weights* weights = nullptr;
  ASSERT_EQ(create(&weights), MHA_OK) << mha_last_message();
  look_at(weights);
  std::vector<float> matrix(8 * 4, 0.0f), bias(8, 0.0f);
  for (int64_t g = 0; g < 2; ++g) {
    for (int64_t i = 0; i < 2; ++i) {
      const int64_t from = rows[g] * 2 + i, row = g * 3 + i;
      bias[row] = static_cast<float>(0.3 * double{b[from]});
      for (int64_t c = 0; c < 2; ++c) {
        matrix[(row / kPanel * 4 + c) * kPanel + row % kPanel] =
            static_cast<float>(0.3 * double{q[from * 4 + 2 + c]});
      }
    }
  }
  EXPECT_EQ(seen[0], matrix);
  EXPECT_EQ(seen[1], bias);
  mha_weights_destroy(weights);
}

TEST_F(Weights, NamedGroupsMustBeThere) {
  int32_t groups[] = {0, 3, 1};
  parts[0].row_sources = groups;
  expect_refused(MHA_INTERNAL, {"packed array 0", "makes no sense"});
  groups[1] = -1;
  expect_refused(MHA_INTERNAL, {"packed array 0", "makes no sense"});
  parts[0].row_sources = nullptr;
  bias_parts[0].row_sources = groups;
  expect_refused(MHA_INTERNAL, {"packed array 1", "makes no sense"});
  bias_parts[0].row_sources = nullptr;
  groups[1] = 2;
  packs[0].col_sources = groups;
  expect_refused(MHA_INTERNAL, {"packed array 0", "makes no sense"});
}

TEST_F(Weights, OrderOfTheArraysIsFree) {
  std::swap(arrays[0], arrays[2]);
  mha_weights* weights = nullptr;
  ASSERT_EQ(create(&weights), MHA_OK);
  look_at(weights);
  EXPECT_EQ(seen[0], plain_matrix());
  mha_weights_destroy(weights);
}

TEST_F(Weights, ScaleOfOneKeepsTheBits) {
  const uint32_t patterns[] = {0x80000000u, 0x7FA00001u, 0xFFC12345u, 0x00000001u, 0x7F800000u};
  memcpy(k.data(), patterns, sizeof patterns);
  mha_weights* weights = nullptr;
  ASSERT_EQ(create(&weights), MHA_OK);
  look_at(weights);
  for (int i = 0; i < 4; ++i) {
    const int64_t column = i / 2 * 4 + i % 2;
    uint32_t bits;
    memcpy(&bits, &seen[0][(9 / kPanel * kPadded + column) * kPanel + 9 % kPanel], 4);
    EXPECT_EQ(bits, patterns[i]);
  }
  mha_weights_destroy(weights);
}

TEST_F(Weights, ScaleIsRoundedOnce) {
  // A number for which a product in float would be another one.
  float number = 1;
  while (0.3f * number == static_cast<float>(0.3 * double{number})) ++number;
  q.assign(q.size(), number);
  mha_weights* weights = nullptr;
  ASSERT_EQ(create(&weights), MHA_OK);
  look_at(weights);
  EXPECT_EQ(seen[0][0], static_cast<float>(0.3 * double{number}));
  q.assign(q.size(), -0.0f);
  mha_weights_destroy(weights);
  ASSERT_EQ(create(&weights), MHA_OK);
  look_at(weights);
  EXPECT_TRUE(std::signbit(seen[0][0]));
  mha_weights_destroy(weights);
}

// The value of an IEEE half, from the formula.
float half_value(uint16_t half) {
  const int sign = half >> 15, exponent = (half >> 10) & 31, fraction = half & 1023;
  const float magnitude = exponent == 31 ? (fraction ? std::numeric_limits<float>::quiet_NaN()
                                                     : std::numeric_limits<float>::infinity())
                          : exponent == 0
                              ? std::ldexp(static_cast<float>(fraction), -24)
                              : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return sign ? -magnitude : magnitude;
}

TEST_F(Weights, EveryHalfAndEveryBfloat) {
  for (const mha_dtype dtype : {MHA_F16, MHA_BF16}) {
    for (uint32_t first = 0; first < 0x10000; first += 4 * 4) {
      uint16_t bits[kK * 4];
      for (uint32_t i = 0; i < 16; ++i) bits[i] = static_cast<uint16_t>(first + i);
      arrays[1].data = bits;
      arrays[1].dtype = dtype;
      mha_weights* weights = nullptr;
      ASSERT_EQ(create(&weights), MHA_OK);
      look_at(weights);
      for (uint32_t i = 0; i < 16; ++i) {
        const int64_t row = 9 + i / 4 / 2 * 3 + i / 4 % 2, column = i % 4 / 2 * 4 + i % 2;
        const float got = seen[0][(row / kPanel * kPadded + column) * kPanel + row % kPanel];
        float want;
        const uint32_t wide = static_cast<uint32_t>(bits[i]) << 16;
        memcpy(&want, &wide, 4);
        if (dtype == MHA_F16) want = half_value(bits[i]);
        if (std::isnan(want)) {
          EXPECT_TRUE(std::isnan(got)) << bits[i];
        } else {
          EXPECT_EQ(got, want) << bits[i];
          EXPECT_EQ(std::signbit(got), std::signbit(want)) << bits[i];
        }
      }
      mha_weights_destroy(weights);
    }
  }
}

TEST_F(Weights, SourcesNeedNoAlignment) {
  std::vector<char> bytes(q.size() * 4 + 1);
  memcpy(bytes.data() + 1, q.data(), q.size() * 4);
  arrays[0].data = bytes.data() + 1;
  mha_weights* weights = nullptr;
  ASSERT_EQ(create(&weights), MHA_OK);
  look_at(weights);
  EXPECT_EQ(seen[0], plain_matrix());
  mha_weights_destroy(weights);
}

TEST_F(Weights, WrongOnesAreNamed) {
  const std::vector<mha_weight_array> good = arrays;
  arrays[0].shape[1] = 5;
  expect_refused(MHA_INVALID_ARGUMENT, {"'w_q'", "[6, 5]", "[6, 4]"});
  arrays = good;
  arrays[0].rank = 3;
  arrays[0].shape[2] = 1;
  expect_refused(MHA_INVALID_ARGUMENT, {"'w_q'", "[6, 4, 1]"});
  arrays[0].rank = 1 << 30;
  expect_refused(MHA_INVALID_ARGUMENT, {"'w_q'", "rank"});
  arrays[0].rank = -1;
  expect_refused(MHA_INVALID_ARGUMENT, {"'w_q'"});
  arrays = good;
  arrays[2].dtype = MHA_I32;
  expect_refused(MHA_INVALID_ARGUMENT, {"'b_q'", "I32"});
  arrays = good;
  arrays[1].data = nullptr;
  expect_refused(MHA_INVALID_ARGUMENT, {"'w_k'", "NULL"});
  arrays = good;
  arrays[1].name = "w_x";
  expect_refused(MHA_INVALID_ARGUMENT, {"'w_x'", "w_q, w_k, b_q"});
  arrays[1].name = nullptr;
  expect_refused(MHA_INVALID_ARGUMENT, {"arrays[1]"});
  arrays = good;
  arrays[1] = arrays[0];
  expect_refused(MHA_INVALID_ARGUMENT, {"'w_q'", "twice"});
  arrays = good;
  arrays.pop_back();
  expect_refused(MHA_INVALID_ARGUMENT, {"'b_q'", "missing"});
  arrays = good;
  arrays.push_back(array("b_q", b, {kQ}));
  expect_refused(MHA_INVALID_ARGUMENT, {"'b_q'", "twice"});
  arrays = good;
  kernel.cpu_features = uint64_t{1} << 50;
  expect_refused(MHA_UNSUPPORTED_CPU, {"toy"});
  EXPECT_EQ(mha_weights_create(&kernel, nullptr, 3, nullptr), MHA_INVALID_ARGUMENT);
}

TEST_F(Weights, TablesThatMakeNoSense) {
  const auto expect_internal = [&](const char* what) {
    mha_weights* weights = nullptr;
    EXPECT_EQ(create(&weights), MHA_INTERNAL) << what;
  };
  parts[0].row_groups = 4;
  expect_internal("more rows than the weight has");
  parts[0].row_groups = 3;
  parts[0].weight = 3;
  expect_internal("a weight that is not there");
  parts[0].weight = 2;
  expect_internal("a vector in a matrix");
  parts[0].weight = 0;
  packs[0].col_groups = 3;
  expect_internal("more columns than the weight has");
  packs[0].col_groups = 2;
  packs[0].panel = 5;
  expect_internal("rows that are no multiple of the panel");
  packs[0].panel = kPanel;
  packs[0].columns = int64_t{1} << 40;
  expect_internal("2^31 elements or more");
  packs[0].columns = kPadded;
  packs[0].pair = 2;
  expect_internal("pairs of f32");
  packs[0].pair = 0;
  expect_internal("no pair at all");
  packs[0].pair = 1;
  packs[0].dtype = MHA_I32;
  expect_internal("a type that no matrix has");
  packs[0].dtype = MHA_F32;
  packs[1].dtype = MHA_BF16;
  expect_internal("a vector that is not f32");
  packs[1].dtype = MHA_F32;
  packs[1].kind = 3;
  expect_internal("a kind that there is not");
}

TEST_F(Weights, BelongToTheirKernel) {
  mha_weights* weights = nullptr;
  ASSERT_EQ(create(&weights), MHA_OK);
  mha_kernel other = kernel;
  mha_context_options options = {};
  options.size = sizeof options;
  options.threads = 1;
  mha_context* context = nullptr;
  ASSERT_EQ(mha_context_create(&options, &context), MHA_OK);
  WeightsArgs args = {};
  args.call.size = sizeof args;
  alignas(64) uint8_t workspace[1024];
  args.call.workspace = workspace;
  args.call.workspace_size = sizeof workspace;
  EXPECT_EQ(mha_run(&kernel, context, &args), MHA_INVALID_ARGUMENT);
  EXPECT_NE(strstr(mha_last_message(), "weights is NULL"), nullptr) << mha_last_message();
  args.call.weights = weights;
  EXPECT_EQ(mha_run(&other, context, &args), MHA_INVALID_ARGUMENT);
  EXPECT_NE(strstr(mha_last_message(), "another kernel"), nullptr) << mha_last_message();
  mha_context_destroy(context);
  mha_weights_destroy(weights);
}

// --- from files ---
class WeightFiles : public Weights {
 protected:
  void expect_load_refused(const std::string& path, int32_t layer, mha_status status,
                           std::vector<std::string> words) {
    mha_weights* weights = reinterpret_cast<mha_weights*>(1);
    EXPECT_EQ(mha_weights_load(&kernel, path.c_str(), layer, &weights), status)
        << mha_last_message();
    EXPECT_EQ(weights, nullptr);
    for (const std::string& word : words) {
      EXPECT_NE(std::string(mha_last_message()).find(word), std::string::npos)
          << mha_last_message();
    }
  }
  void expect_loads(const std::string& path, int32_t layer) {
    mha_weights* weights = nullptr;
    ASSERT_EQ(mha_weights_load(&kernel, path.c_str(), layer, &weights), MHA_OK)
        << mha_last_message();
    look_at(weights);
    EXPECT_EQ(seen[0], plain_matrix());
    mha_weights_destroy(weights);
  }
  FileBuilder whole() const {
    FileBuilder builder;
    builder.add("other", "F64", {1}, std::string(8, 'x'));
    builder.add("layer.3.q/3", "F32", {kQ, 4}, q)
        .add("w_k", "F32", {kK, 4}, k)
        .add("bias", "F32", {kQ}, b);
    return builder;
  }
  TestFolder folder;
};

TEST_F(WeightFiles, OneFile) { expect_loads(folder.write("model", whole().bytes()), 3); }

TEST_F(WeightFiles, WrongOnesAreNamed) {
  const std::string path = folder.write("model", whole().bytes());
  expect_load_refused(path, 4, MHA_BAD_FILE, {path, "'layer.4.q/4'", "'w_q'"});
  expect_load_refused(path, -1, MHA_INVALID_ARGUMENT, {"layer is -1", "'w_q'"});
  expect_load_refused(folder.path("absent"), 3, MHA_IO_ERROR, {folder.path("absent")});
  // A long path leaves room for the cause.
  std::string detour;
  for (int i = 0; i < 600; ++i) detour += "./";
  expect_load_refused(folder.path(detour + "model"), 4, MHA_BAD_FILE,
                      {"...", "/./model: ", "'layer.4.q/4'", "'w_q'", "'toy'"});
  expect_load_refused(folder.path(detour + "absent"), 3, MHA_IO_ERROR,
                      {"...", "/./absent: No such file"});
  // Of two-byte characters none is cut.
  std::string letters = "\xC3\xA9";
  for (int i = 0; i < 9; ++i) letters += letters;
  for (const char* more : {"", "x"}) {
    expect_load_refused(letters + more, 3, MHA_IO_ERROR, {"...\xC3\xA9", "File name too long"});
  }
  EXPECT_EQ(mha_weights_load(&kernel, nullptr, 3, nullptr), MHA_INVALID_ARGUMENT);
  FileBuilder shape;
  shape.add("layer.3.q/3", "F32", {4, kQ}, q)
      .add("w_k", "F32", {kK, 4}, k)
      .add("bias", "F32", {kQ}, b);
  expect_load_refused(folder.write("shape", shape.bytes()), 3, MHA_BAD_FILE,
                      {"shape", "'layer.3.q/3'", "'w_q'", "[4, 6]", "[6, 4]"});
  FileBuilder rank;
  rank.add("layer.3.q/3", "F32", {kQ, 4, 1, 1, 1, 1, 1}, q)
      .add("w_k", "F32", {kK, 4}, k)
      .add("bias", "F32", {kQ}, b);
  expect_load_refused(folder.write("rank", rank.bytes()), 3, MHA_BAD_FILE,
                      {"'w_q'", "[6, 4, 1, 1, 1"});
  FileBuilder dtype;
  dtype.add("layer.3.q/3", "F32", {kQ, 4}, q)
      .add("w_k", "I32", {kK, 4}, k)
      .add("bias", "F32", {kQ}, b);
  expect_load_refused(folder.write("dtype", dtype.bytes()), 3, MHA_BAD_FILE, {"'w_k'", "I32"});
  const std::string bytes = whole().bytes();
  expect_load_refused(folder.write("cut", bytes.substr(0, bytes.size() - 5)), 3, MHA_BAD_FILE,
                      {"cut", "cut short"});
  expect_load_refused(folder.write("empty", ""), 3, MHA_BAD_FILE, {"empty"});
}

TEST_F(WeightFiles, LongNamesAreRefused) {
  const std::string name(600, 'n');
  infos[0].source_name = name.c_str();
  expect_load_refused(folder.write("model", whole().bytes()), 3, MHA_INVALID_ARGUMENT,
                      {"'w_q'", "too long"});
}

TEST_F(WeightFiles, Shards) {
  FileBuilder first, second;
  first.add("layer.3.q/3", "F32", {kQ, 4}, q).add("bias", "F32", {kQ}, b);
  second.add("w_k", "F32", {kK, 4}, k);
  folder.write("one.safetensors", first.bytes());
  folder.write("two.safetensors", second.bytes());
  const auto index = [](const std::string& shard_of_k) {
    return R"({"metadata": {"total_size": 1, "x": [null]}, "weight_map": {"layer.3.q/3": "one.safetensors",
             "bias": "one.safetensors", "w_k": )" +
           shard_of_k + R"(, "unused": "absent.safetensors"}})";
  };
  expect_loads(folder.write("index.json", index("\"two.safetensors\"")), 3);
  expect_load_refused(folder.write("a", index("\"absent.safetensors\"")), 3, MHA_IO_ERROR,
                      {"absent.safetensors"});
  expect_load_refused(folder.write("b", index("\"one.safetensors\"")), 3, MHA_BAD_FILE,
                      {"one.safetensors", "'w_k'"});
  for (const char* outside :
       {"\"../two.safetensors\"", "\"/etc/passwd\"", "\"\"", "\"..\"", "\"sub/two\""}) {
    expect_load_refused(folder.write("c", index(outside)), 3, MHA_BAD_FILE, {"no file beside it"});
  }
  expect_load_refused(folder.write("d", index("7")), 3, MHA_BAD_FILE, {"not valid JSON"});
  expect_load_refused(folder.write("e", index("\"two.safetensors\"") + "x"), 3, MHA_BAD_FILE,
                      {"not valid JSON"});
  expect_load_refused(folder.write("f", "{\"a\": 1}    "), 3, MHA_BAD_FILE, {"no weight_map"});
  expect_load_refused(folder.write("g", R"({"weight_map": {}})"), 3, MHA_BAD_FILE,
                      {"no tensor", "'w_q'"});
  expect_load_refused(folder.write("h", R"({"weight_map": {"w_k": "a", "w_k": "b"}})"), 3,
                      MHA_BAD_FILE, {"twice"});
}

// --- tensors that hold a weight transposed, or several weights at once ---
class FusedWeights : public WeightFiles {
 protected:
  // w_q, w_k and others' rows around them: 2 rows, w_k, 1 row, w_q, 1 row.
  static constexpr int64_t kFused = 14, kFirstK = 2, kFirstQ = 7;

  FusedWeights() : fused(kFused * 4, -99), fused_bias(kFused, -99) {
    std::copy(k.begin(), k.end(), fused.begin() + kFirstK * 4);
    std::copy(q.begin(), q.end(), fused.begin() + kFirstQ * 4);
    std::copy(b.begin(), b.end(), fused_bias.begin() + kFirstQ);
    infos[0].source_name = infos[1].source_name = "qkv";
    infos[0].source_flags = infos[1].source_flags = infos[2].source_flags = MHA_SOURCE_ROWS;
    infos[0].source_first_row = infos[2].source_first_row = kFirstQ;
    infos[1].source_first_row = kFirstK;
  }

  static std::vector<float> turned(const std::vector<float>& matrix, size_t columns) {
    const size_t rows = matrix.size() / columns;
    std::vector<float> result(matrix.size());
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < columns; ++c) result[c * rows + r] = matrix[r * columns + c];
    }
    return result;
  }

  void expect_bias() const {
    for (size_t r = 0; r < kQ; ++r) {
      EXPECT_EQ(seen[1][r / 2 * 3 + r % 2], static_cast<float>(0.3 * double{b[r]})) << r;
    }
  }

  std::vector<float> fused, fused_bias;
};

TEST_F(FusedWeights, RowsOfATensor) {
  FileBuilder builder;
  builder.add("other", "U8", {3}, std::string("abc"))
      .add("qkv", "F32", {kFused, 4}, fused)
      .add("bias", "F32", {kFused}, fused_bias);
  expect_loads(folder.write("model", builder.bytes()), 0);
  expect_bias();
}

TEST_F(FusedWeights, RowsOfATransposedTensor) {
  infos[0].source_flags = infos[1].source_flags = MHA_SOURCE_ROWS | MHA_SOURCE_TURNED;
  FileBuilder builder;
  builder.add("qkv", "F32", {4, kFused}, turned(fused, 4)).add("bias", "F32", {kFused}, fused_bias);
  expect_loads(folder.write("model", builder.bytes()), 0);
  expect_bias();
}

TEST_F(FusedWeights, ATransposedTensor) {
  infos[0].source_name = "q";
  infos[0].source_flags = MHA_SOURCE_TURNED;
  infos[1].source_flags = MHA_SOURCE_ROWS | MHA_SOURCE_TURNED;
  infos[1].source_first_row = 0;  // all the rows that there are
  FileBuilder builder;
  builder.add("q", "F32", {4, kQ}, turned(q, 4))
      .add("qkv", "F32", {4, kK}, turned(k, 4))
      .add("bias", "F32", {kFused}, fused_bias);
  expect_loads(folder.write("model", builder.bytes()), 0);
}

TEST_F(FusedWeights, OfSixteenBits) {
  infos[0].source_flags = infos[1].source_flags = MHA_SOURCE_ROWS | MHA_SOURCE_TURNED;
  for (auto* values : {&fused, &q, &k, &fused_bias, &b}) {
    for (float& value : *values) {
      uint32_t bits;
      memcpy(&bits, &value, 4);
      bits &= 0xFFFF0000u;
      memcpy(&value, &bits, 4);
    }
  }
  const auto halves = [](const std::vector<float>& values) {
    std::vector<uint16_t> result;
    for (float value : values) {
      uint32_t bits;
      memcpy(&bits, &value, 4);
      result.push_back(static_cast<uint16_t>(bits >> 16));
    }
    return result;
  };
  FileBuilder builder;
  builder.add("qkv", "BF16", {4, kFused}, halves(turned(fused, 4)))
      .add("bias", "BF16", {kFused}, halves(fused_bias));
  expect_loads(folder.write("model", builder.bytes()), 0);
  expect_bias();
}

TEST_F(FusedWeights, OverShards) {
  infos[0].source_flags = infos[1].source_flags = MHA_SOURCE_ROWS | MHA_SOURCE_TURNED;
  FileBuilder first, second;
  first.add("bias", "F32", {kFused}, fused_bias);
  second.add("qkv", "F32", {4, kFused}, turned(fused, 4));
  folder.write("one", first.bytes());
  folder.write("two", second.bytes());
  expect_loads(
      folder.write("index", R"({"weight_map": {"qkv": "two", "bias": "one", "more": "three"}})"),
      0);
  expect_bias();
}

TEST_F(FusedWeights, WrongShapesAreNamed) {
  const auto refused = [&](const std::vector<int64_t>& shape, const std::vector<int64_t>& bias,
                           const std::vector<std::string>& words) {
    const auto floats = [](const std::vector<int64_t>& axes) {
      int64_t count = 1;
      for (int64_t axis : axes) count *= axis;
      return std::vector<float>(static_cast<size_t>(count));
    };
    FileBuilder builder;
    builder.add("qkv", "F32", shape, floats(shape)).add("bias", "F32", bias, floats(bias));
    expect_load_refused(folder.write("model", builder.bytes()), 0, MHA_BAD_FILE, words);
  };
  refused({kFirstQ + kQ - 1, 4}, {kFused},
          {"model: ", "tensor 'qkv' has shape [12, 4]",
           "weight 'w_q', rows 7 to 13 of it, needs [13 or more, 4]"});
  refused({kFused, 5}, {kFused}, {"[14, 5]", "needs [13 or more, 4]"});
  refused({4, kFused}, {kFused}, {"[4, 14]", "needs [13 or more, 4]"});
  refused({kFused}, {kFused}, {"has shape [14];"});
  refused({kFused, 4, 1}, {kFused}, {"has shape [14, 4, 1];"});
  refused({kFused, 4}, {12},
          {"tensor 'bias' has shape [12]", "rows 7 to 13 of it", "[13 or more]"});
  refused({kFused, 4}, {kFused, 1}, {"tensor 'bias' has shape [14, 1]"});
  infos[0].source_flags = infos[1].source_flags = MHA_SOURCE_ROWS | MHA_SOURCE_TURNED;
  refused({kFused, 4}, {kFused},
          {"[14, 4]", "rows 7 to 13 of it transposed, needs [4, 13 or more]"});
  refused({4, 12}, {kFused}, {"[4, 12]"});
  infos[0].source_flags = MHA_SOURCE_TURNED;
  refused({4, kFused}, {kFused}, {"[4, 14]", "weight 'w_q', all of it transposed, needs [4, 6]"});
  infos[2].source_flags = MHA_SOURCE_TURNED;  // which the language does not let happen
  infos[0].source_flags = MHA_SOURCE_ROWS;
  infos[1].source_flags = MHA_SOURCE_ROWS;
  refused({kFused, 4}, {kQ}, {"tensor 'bias'"});
}

// A file that another process cuts short and writes anew while it is read: weights or a status.
TEST_F(FusedWeights, ShrinkAndGrowWhileTheyAreRead) {
  infos[0].source_flags = infos[1].source_flags = MHA_SOURCE_ROWS | MHA_SOURCE_TURNED;
  FileBuilder builder;
  builder.add("bias", "F32", {kFused}, fused_bias).add("qkv", "F32", {4, kFused}, turned(fused, 4));
  const std::string bytes = builder.bytes();
  const std::string path = folder.write("model", bytes);
  std::atomic<bool> done = false;
  std::thread other([&] {
    const int file = open(path.c_str(), O_WRONLY);
    for (size_t length = 0; !done; length = (length + 97) % bytes.size()) {
      EXPECT_EQ(ftruncate(file, static_cast<off_t>(length)), 0);
      const char* end = bytes.data() + length;
      const size_t rest = bytes.size() - length;
      EXPECT_EQ(pwrite(file, end, rest, static_cast<off_t>(length)), static_cast<ssize_t>(rest));
    }
    close(file);
  });
  int loaded = 0, refused = 0;
  const time_t end = time(nullptr) + 60;
  while ((loaded < 200 || refused < 200) && time(nullptr) < end) {
    mha_weights* weights = nullptr;
    const mha_status status = mha_weights_load(&kernel, path.c_str(), 0, &weights);
    ++(status == MHA_OK ? loaded : refused);
    if (status == MHA_OK) {
      look_at(weights);
      EXPECT_EQ(seen[0], plain_matrix());
      mha_weights_destroy(weights);
    } else {
      EXPECT_EQ(status, MHA_BAD_FILE) << mha_last_message();
      EXPECT_EQ(weights, nullptr);
    }
  }
  done = true;
  other.join();
  EXPECT_GE(loaded, 200);
  EXPECT_GE(refused, 200);
}

}  // namespace
}  // namespace mha
