// bf16, f16 and int8 in the oracle.
#include <bit>
#include <cmath>

#include "tests/numeric/reference_tools.h"
#include "tools/reference/precision.h"

namespace mha {
namespace {

TEST(Precision, EveryHalfIsItself) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float bf16 = float_of_bf16(half), f16 = float_of_f16(half);
    if (std::isnan(bf16)) {
      EXPECT_TRUE(std::isnan(float_of_bf16(bf16_of_float(bf16))));
    } else {
      ASSERT_EQ(bf16_of_float(bf16), half);
    }
    if (std::isnan(f16)) {
      EXPECT_TRUE(std::isnan(float_of_f16(f16_of_float(f16))));
    } else {
      ASSERT_EQ(f16_of_float(f16), half);
      // What the compiler makes of the same bits.
      ASSERT_EQ(f16, static_cast<float>(std::bit_cast<_Float16>(half)));
    }
  }
}

TEST(Precision, RoundsToNearestAndTiesToEven) {
  EXPECT_EQ(round_to(Dtype::kBF16, 1 + 0x1p-8F), 1);
  EXPECT_EQ(round_to(Dtype::kBF16, 1 + 0x3p-8F), 1 + 0x4p-8F);
  EXPECT_EQ(round_to(Dtype::kBF16, 1 + 0x1.01p-8F), 1 + 0x2p-8F);
  EXPECT_EQ(round_to(Dtype::kBF16, 0x1.ffp127F), INFINITY);
  EXPECT_EQ(round_to(Dtype::kF16, 65519.9F), 65504);
  EXPECT_EQ(round_to(Dtype::kF16, -65520.0F), -INFINITY);
  EXPECT_EQ(round_to(Dtype::kF16, 0x1p-25F), 0);
  EXPECT_EQ(round_to(Dtype::kF16, 0x1.8p-25F), 0x1p-24F);
  EXPECT_EQ(round_to(Dtype::kF32, 0.1F), 0.1F);
  Random random(3, "halves");
  for (int n = 0; n < 100000; ++n) {
    const auto value = static_cast<float>(std::exp(4 * random.normal()) * random.normal());
    ASSERT_EQ(round_to(Dtype::kF16, value), static_cast<float>(static_cast<_Float16>(value)));
    for (Dtype dtype : {Dtype::kBF16, Dtype::kF16}) {
      if (std::isinf(round_to(dtype, value))) continue;
      ASSERT_LE(std::abs(round_to(dtype, value) - value), rounding_error(dtype, std::abs(value)));
    }
  }
}

TEST(Precision, Int8RowsByHand) {
  const Array weight{{3, 3}, {127, -63.5, 1.5, 0, 0, 0, -2.54F, 1.27F, 0.01F}};
  const Array got = stored_weight(weight, Dtype::kInt8);
  const std::vector<double> first = {127, -64, 2, 0, 0, 0};  // ties to even
  for (size_t n = 0; n < 6; ++n) EXPECT_EQ(got.values[n], first[n]);
  const double scale = 2.54F / 127.0F;
  EXPECT_EQ(got.values[6], -127 * scale);
  EXPECT_NEAR(got.values[7], 1.27, scale);
  EXPECT_TRUE(got.values[8] == 0 || got.values[8] == scale);
  EXPECT_EQ(stored_weight(weight, Dtype::kBF16).values[6], round_to(Dtype::kBF16, -2.54F));
}

TEST(Precision, BoundsHoldForAPlainComputation) {
  const std::string attention =
      "op: attention\nheads: 4\nkv_heads: 2\nd_head: 32\nbatch: 2\nquery_length: 17\n"
      "key_length: 33\noutputs: [output, weights, lse, scores]\n";
  const std::string block =
      "d_model: 48\nheads: 4\nkv_heads: 2\nbatch: 2\nquery_length: 17\n"
      "projection_bias: {q: true, v: true, out: true}\noutputs: [output, lse]\n";
  for (const std::string& shape : {attention, block}) {
    for (const char* keys :
         {"dtype: bf16\n", "dtype: f16\n", "dtype: bf16\nqk_norm: {}\nrope: {style: half}\n",
          "dtype: f16\nrope: {style: interleaved}\nsoftcap: 5\n"}) {
      for (const char* weights : {"", "weights: int8\n", "weights: f32\n", "weights: f16\n"}) {
        if (shape == attention && *weights != '\0') continue;
        const Spec spec = parsed(shape + keys + weights);
        const CallLengths lengths{2, 17, shape == attention ? 33 : 17};
        const Arrays inputs = random_arrays(spec, lengths, 12);
        SCOPED_TRACE(shape + keys + weights);
        expect_bounds_hold(spec, lengths, inputs);
        // A key lost, and weights of another precision.
        Spec wrong = spec;
        wrong.mask.window = Window{-1, shape == attention ? 14 : 9};
        expect_bounds_fail(spec, lengths, inputs, wrong, inputs);
      }
    }
  }
}

TEST(Precision, AnOutputIsRoundedOnce) {
  // One key: the output is its value, in every dtype to the bit.
  for (const char* dtype : {"bf16", "f16"}) {
    const Spec spec = parsed(std::string("op: attention\nheads: 2\nd_head: 8\nquery_length: 3\n"
                                         "key_length: 1\ndtype: ") +
                             dtype + "\n");
    const Arrays inputs = random_arrays(spec, {1, 3, 1}, 2);
    const Array got = plain_f32(spec, {1, 3, 1}, inputs).at("output");
    for (size_t n = 0; n < 48; ++n) EXPECT_EQ(got.values[n], inputs.at("value").values[n % 16]);
    EXPECT_EQ(floats(got)[0], round_to(spec.dtype, floats(got)[0]));
  }
}

TEST(Precision, StoredWeightsAreWhatTheBlockMultipliesWith) {
  Spec spec = parsed("d_model: 24\nheads: 2\nquery_length: 5\n");
  const CallLengths lengths{1, 5, 5};
  const Arrays given = random_arrays(spec, lengths, 2);
  for (Dtype dtype : {Dtype::kBF16, Dtype::kF16, Dtype::kInt8}) {
    Arrays stored = given;
    for (const char* name : {"w_q", "w_k", "w_v", "w_o"}) {
      stored[name] = stored_weight(given.at(name), dtype);
    }
    spec.weights = Dtype::kF32;
    const Array want = reference(spec, lengths, stored).outputs.at("output");
    const Array full = reference(spec, lengths, given).outputs.at("output");
    spec.weights = dtype;
    const Array got = reference(spec, lengths, given).outputs.at("output");
    double moved = 0;
    for (size_t n = 0; n < got.values.size(); ++n) {
      EXPECT_NEAR(got.values[n], want.values[n], 1e-6);  // the first rounds int8's to float32
      moved = std::max(moved, std::abs(got.values[n] - full.values[n]));
    }
    EXPECT_GT(moved, 1e-5);
  }
}

}  // namespace
}  // namespace mha
