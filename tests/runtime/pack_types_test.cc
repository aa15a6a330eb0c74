// Weights packed as bfloat16, half and int8: every element against the nearest that there is, found
// without the runtime's arithmetic, and what a stage sees of the array.
#include <HalideRuntime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "mha/kernel.h"
#include "mha/mha.h"

namespace mha {
namespace {

constexpr int64_t kRows = 5, kColumns = 7, kPanel = 4, kPackedRows = 8;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Seen {
  halide_type_t type;
  std::vector<std::pair<int, int>> dimensions;  // extent, stride
  std::vector<uint8_t> bytes;
};
std::vector<Seen> seen;

int look(void** argv) {
  seen.clear();
  for (int i = 1; i <= 2; ++i) {
    const halide_buffer_t* buffer = static_cast<halide_buffer_t*>(argv[i]);
    Seen one{buffer->type, {}, {}};
    size_t bytes = buffer->type.bytes();
    for (int d = 0; d < buffer->dimensions; ++d) {
      one.dimensions.emplace_back(buffer->dim[d].extent, buffer->dim[d].stride);
      bytes *= static_cast<size_t>(buffer->dim[d].extent);
    }
    one.bytes.assign(buffer->host, buffer->host + bytes);
    seen.push_back(one);
  }
  return 0;
}

// A kernel that has one matrix w [5, 7], packed as `dtype` with `columns` columns, and its scales.
class Packed {
 public:
  Packed(mha_dtype dtype, uint32_t pair, int64_t columns, uint32_t rank)
      : dtype_(dtype), pair_(pair), columns_(columns) {
    part_ = {0, 0, 0, 1, kRows, kRows, 1.0, nullptr};
    packs_[0] = {MHA_PACK_MATRIX, kPanel, kPackedRows, columns, 1,     kColumns,
                 columns,         &part_, 1,           nullptr, dtype, pair};
    packs_[1] = packs_[0];
    packs_[1].kind = MHA_PACK_SCALES;
    packs_[1].dtype = MHA_F32;
    info_ = {"w", nullptr, 2, 0, {kRows, kColumns}, 0};
    operands_[0] = {MHA_OPERAND_PACK, 0, rank, {}};
    operands_[1] = {MHA_OPERAND_PACK, 1, 1, {}};
    stage_.name = "look";
    stage_.run = look;
    stage_.operands = operands_;
    stage_.operand_count = 2;
    stage_.batch_axis = stage_.query_axis = stage_.key_axis = -1;
    variant_ = {1, "", nullptr, 0, &stage_, 1};
    kernel_.abi = MHA_KERNEL_ABI;
    kernel_.struct_size = sizeof kernel_;
    kernel_.info = {"toy", "{}", "any", "", "default", "tests"};
    kernel_.args_size = sizeof(mha_call);
    kernel_.key_lengths_tensor = kernel_.query_offset_tensor = -1;
    kernel_.key_starts_tensor = kernel_.sequence_starts_tensor = -1;
    kernel_.batch = kernel_.query_length = kernel_.key_length = {1, 1};
    kernel_.weights = &info_;
    kernel_.weight_count = 1;
    kernel_.packs = packs_;
    kernel_.pack_count = 2;
    kernel_.variants = &variant_;
    kernel_.variant_count = 1;
  }

  // Packs the matrix; `seen` has the array and the scales.
  void pack(const std::vector<float>& w) {
    ASSERT_EQ(w.size(), static_cast<size_t>(kRows * kColumns));
    const mha_weight_array array = {"w", w.data(), MHA_F32, 2, {kRows, kColumns}};
    mha_weights* weights = nullptr;
    ASSERT_EQ(mha_weights_create(&kernel_, &array, 1, &weights), MHA_OK) << mha_last_message();
    mha_context_options options = {};
    options.size = sizeof options;
    options.threads = 1;
    mha_context* context = nullptr;
    ASSERT_EQ(mha_context_create(&options, &context), MHA_OK);
    mha_call call = {};
    call.size = sizeof call;
    call.weights = weights;
    alignas(64) uint8_t workspace[1024];
    call.workspace = workspace;
    call.workspace_size = sizeof workspace;
    ASSERT_EQ(mha_run(&kernel_, context, &call), MHA_OK) << mha_last_message();
    mha_context_destroy(context);
    mha_weights_destroy(weights);
  }

  // The bits of row r, column c of what was packed; rows and columns that pad it too.
  uint32_t bits(int64_t r, int64_t c) const {
    const int64_t pair = static_cast<int64_t>(pair_), width = dtype_ == MHA_I8 ? 1 : 2;
    const int64_t index =
        (r / kPanel * (columns_ / pair) + c / pair) * kPanel * pair + r % kPanel * pair + c % pair;
    uint32_t bits = 0;
    memcpy(&bits, &seen.at(0).bytes.at(static_cast<size_t>(index * width)),
           static_cast<size_t>(width));
    return bits;
  }
  float scale(int64_t r) const {
    float value;
    memcpy(&value, &seen.at(1).bytes.at(static_cast<size_t>(r) * 4), 4);
    return value;
  }

 private:
  const mha_dtype dtype_;
  const uint32_t pair_;
  const int64_t columns_;
  mha_pack_part part_;
  mha_pack_info packs_[2];
  mha_weight_info info_;
  mha_operand operands_[2];
  mha_stage stage_ = {};
  mha_variant variant_ = {};
  mha_kernel kernel_ = {};
};

// What a pattern of 16 bits stands for: a sign, `exponent_bits` bits, and a fraction.
double value_of(uint32_t bits, int exponent_bits) {
  const int fraction_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const double fraction = bits & ((1u << fraction_bits) - 1);
  const double sign = bits & 0x8000u ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) return fraction == 0 ? sign * kInfinity : kNan;
  return exponent == 0 ? sign * std::ldexp(fraction, 1 - bias - fraction_bits)
                       : sign * std::ldexp(std::ldexp(1, fraction_bits) + fraction,
                                           exponent - bias - fraction_bits);
}

// The pattern nearest to the value, of two the even one; infinity is where the next power of two
// would be.
uint32_t nearest(float value, int exponent_bits) {
  const uint32_t infinity = ((1u << exponent_bits) - 1) << (15 - exponent_bits);
  const uint32_t sign = std::signbit(value) ? 0x8000u : 0;
  const double size = std::fabs(static_cast<double>(value));
  uint32_t best = 0;
  double least = kInfinity;
  for (uint32_t bits = 0; bits <= infinity; ++bits) {
    const double there =
        bits == infinity ? std::ldexp(1, 1 << (exponent_bits - 1)) : value_of(bits, exponent_bits);
    const double away = std::fabs(there - size);
    if (away < least || (away == least && bits % 2 == 0)) {
      least = away;
      best = bits;
    }
  }
  return sign | best;
}

std::vector<float> hard_numbers(int exponent_bits) {
  const int fraction_bits = 15 - exponent_bits;
  const float unit = std::ldexp(1.0F, -fraction_bits);  // from 1 to the next
  const float largest = static_cast<float>(
      value_of((((1u << exponent_bits) - 1) << fraction_bits) - 1, exponent_bits));
  const float smallest = static_cast<float>(value_of(1, exponent_bits));
  std::vector<float> numbers = {
      0.0F, -0.0F, 1.0F, 1 + unit / 2, 1 + 3 * unit / 2, 1 + unit / 2 + 0x1p-23F, -1 - unit / 2,
      largest, std::nextafter(largest, kInfinity), largest * (1 + unit / 8), -largest, smallest,
      smallest / 2, smallest * 1.5F, smallest * 2.5F, -smallest * 0.75F,
      // The largest below the first normal number, halfway to it, and just under that.
      static_cast<float>(value_of(1u << fraction_bits, exponent_bits)) - smallest / 2,
      static_cast<float>(value_of(1u << fraction_bits, exponent_bits)) * 0.99999F, 65504.0F,
      65519.0F, 65520.0F, 65521.0F, 3.3e38F, 3.4e38F};
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  while (numbers.size() < kRows * kColumns) numbers.push_back(normal(random));
  numbers.resize(kRows * kColumns);
  return numbers;
}

void expect_nearest(mha_dtype dtype, uint32_t pair, int64_t columns, int exponent_bits) {
  const std::vector<float> w = hard_numbers(exponent_bits);
  Packed packed(dtype, pair, columns, 3);
  ASSERT_NO_FATAL_FAILURE(packed.pack(w));
  for (int64_t r = 0; r < kPackedRows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      if (r >= kRows || c >= kColumns) {
        EXPECT_EQ(packed.bits(r, c), 0u) << r << ", " << c;
        continue;
      }
      const float value = w[static_cast<size_t>(r * kColumns + c)];
      EXPECT_EQ(packed.bits(r, c), nearest(value, exponent_bits)) << value;
    }
  }
}

TEST(PackTypes, Bfloat16IsTheNearest) { expect_nearest(MHA_BF16, 1, 7, 8); }
TEST(PackTypes, Bfloat16InPairs) { expect_nearest(MHA_BF16, 2, 8, 8); }
TEST(PackTypes, HalfIsTheNearest) { expect_nearest(MHA_F16, 1, 7, 5); }

TEST(PackTypes, NotFiniteStaysSo) {
  const uint32_t patterns[] = {0x7F800000u, 0xFF800000u, 0x7FC00000u, 0x7F800001u, 0xFFFFFFFFu};
  std::vector<float> w(kRows * kColumns, 1.0F);
  memcpy(w.data(), patterns, sizeof patterns);
  for (const int exponent_bits : {8, 5}) {
    Packed packed(exponent_bits == 8 ? MHA_BF16 : MHA_F16, 1, kColumns, 3);
    ASSERT_NO_FATAL_FAILURE(packed.pack(w));
    EXPECT_EQ(value_of(packed.bits(0, 0), exponent_bits), kInfinity);
    EXPECT_EQ(value_of(packed.bits(0, 1), exponent_bits), -kInfinity);
    for (int c = 2; c < 5; ++c) EXPECT_TRUE(std::isnan(value_of(packed.bits(0, c), exponent_bits)));
    EXPECT_EQ(packed.bits(0, 4) & 0x8000u, 0x8000u);
  }
}

TEST(PackTypes, Int8IsSymmetricPerRow) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> w(kRows * kColumns);
  for (float& value : w) value = normal(random);
  float* row = &w[0];  // a power of two as scale: quotients that end in a half
  for (int c = 0; c < 7; ++c) row[c] = static_cast<float>(c) + 0.5F;
  row[3] = -127.0F;
  for (int c = 0; c < 7; ++c) w[static_cast<size_t>(2 * kColumns + c)] = 0;
  Packed packed(MHA_I8, 1, kColumns, 3);
  ASSERT_NO_FATAL_FAILURE(packed.pack(w));
  EXPECT_EQ(packed.scale(0), 1.0F);
  const int expected[] = {0, 2, 2, -127, 4, 6, 6};  // 0.5, 1.5, 2.5, -127, 4.5, 5.5, 6.5
  for (int c = 0; c < 7; ++c) EXPECT_EQ(static_cast<int8_t>(packed.bits(0, c)), expected[c]);
  for (int64_t r = 1; r < kPackedRows; ++r) {
    float largest = 0;
    for (int64_t c = 0; c < kColumns && r < kRows; ++c) {
      largest = std::max(largest, std::fabs(w[static_cast<size_t>(r * kColumns + c)]));
    }
    EXPECT_EQ(packed.scale(r), largest / 127.0F) << r;
    for (int64_t c = 0; c < kColumns; ++c) {
      const int got = static_cast<int8_t>(packed.bits(r, c));
      if (largest == 0) {
        EXPECT_EQ(got, 0);
        continue;
      }
      const double steps = w[static_cast<size_t>(r * kColumns + c)] / (largest / 127.0);
      EXPECT_LE(std::fabs(got - steps), 0.5001) << r << ", " << c;
    }
  }
}

TEST(PackTypes, Int8OfRowsThatHaveNoScale) {
  std::vector<float> w(kRows * kColumns, 0.5F);
  w[1] = kInfinity;
  w[kColumns + 2] = kNan;
  // Below float's smallest, and so near to it that the scale is rounded by much.
  for (int64_t c = 0; c < kColumns; ++c) w[static_cast<size_t>(2 * kColumns + c)] = 1e-44F;
  for (int64_t c = 0; c < kColumns; ++c) w[static_cast<size_t>(3 * kColumns + c)] = 2.6e-43F;
  Packed packed(MHA_I8, 1, kColumns, 3);
  ASSERT_NO_FATAL_FAILURE(packed.pack(w));
  for (int64_t c = 0; c < kColumns; ++c) {
    for (int64_t r = 0; r < 3; ++r) EXPECT_EQ(packed.bits(r, c), 0u);
    EXPECT_EQ(static_cast<int8_t>(packed.bits(3, c)), 127);
    EXPECT_EQ(static_cast<int8_t>(packed.bits(4, c)), 127);
  }
  EXPECT_TRUE(std::isnan(packed.scale(0)));
  EXPECT_TRUE(std::isnan(packed.scale(1)));
  EXPECT_EQ(packed.scale(2), 0.0F);
  EXPECT_GT(packed.scale(3), 0.0F);
}

TEST(PackTypes, StagesSeePairsAsWordsOrAsADimension) {
  const std::vector<float> w(kRows * kColumns, 1.0F);
  Packed words(MHA_BF16, 2, 8, 3);
  ASSERT_NO_FATAL_FAILURE(words.pack(w));
  EXPECT_TRUE(seen[0].type == halide_type_t(halide_type_uint, 32));
  EXPECT_EQ(seen[0].dimensions, (std::vector<std::pair<int, int>>{{4, 1}, {4, 4}, {2, 16}}));
  const std::vector<uint8_t> bytes = seen[0].bytes;
  Packed pairs(MHA_BF16, 2, 8, 4);
  ASSERT_NO_FATAL_FAILURE(pairs.pack(w));
  EXPECT_TRUE(seen[0].type == halide_type_t(halide_type_bfloat, 16));
  EXPECT_EQ(seen[0].dimensions,
            (std::vector<std::pair<int, int>>{{2, 1}, {4, 2}, {4, 8}, {2, 32}}));
  EXPECT_EQ(seen[0].bytes, bytes);
  Packed halves(MHA_F16, 1, 7, 3);
  ASSERT_NO_FATAL_FAILURE(halves.pack(w));
  EXPECT_TRUE(seen[0].type == halide_type_t(halide_type_float, 16));
  Packed small(MHA_I8, 1, 7, 3);
  ASSERT_NO_FATAL_FAILURE(small.pack(w));
  EXPECT_TRUE(seen[0].type == halide_type_t(halide_type_int, 8));
}

}  // namespace
}  // namespace mha
