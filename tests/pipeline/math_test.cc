// The forms of 2^x against double, at every number of the ranges that a polynomial sees and at many
// of the others.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "generator/pipeline/stages.h"

namespace mha {
namespace {

constexpr int kAtOnce = 1 << 20;

// 2^x of the floats whose bits are first, first + step, ...: all x <= 0.
class Forms : public testing::TestWithParam<ExpForm> {
 protected:
  Forms() {
    Halide::Var i("i");
    Halide::Expr bits = first_ + i * step_;
    power_(i) = exp2_nonpositive(Halide::reinterpret<float>(bits), GetParam());
    power_.vectorize(i, 16);
    power_.compile_jit();
  }
  std::vector<float> powers(uint32_t first, uint32_t step, int count) {
    first_.set(first);
    step_.set(step);
    std::vector<float> got(static_cast<size_t>((count + 15) / 16 * 16));
    Halide::Buffer<float> buffer(got.data(), static_cast<int>(got.size()));
    power_.realize(buffer);
    got.resize(static_cast<size_t>(count));
    return got;
  }
  float power(float x) { return powers(std::bit_cast<uint32_t>(x), 0, 1)[0]; }

  // The largest relative error over the bits from one float to another, both below 0; where the
  // truth is no normal number the error is measured in FLT_MIN.
  double worst(float from, float to, uint32_t step) {
    const uint32_t begin = std::bit_cast<uint32_t>(from), end = std::bit_cast<uint32_t>(to);
    double worst = 0;
    for (uint64_t at = begin; at <= end; at += uint64_t{kAtOnce} * step) {
      const auto count = static_cast<int>(std::min<uint64_t>((end - at) / step + 1, kAtOnce));
      const std::vector<float> got = powers(static_cast<uint32_t>(at), step, count);
      for (int i = 0; i < count; ++i) {
        const auto bits = static_cast<uint32_t>(at + uint64_t{step} * static_cast<uint64_t>(i));
        const double truth = std::exp2(static_cast<double>(std::bit_cast<float>(bits)));
        const double unit = std::max(truth, double{std::numeric_limits<float>::min()});
        worst = std::max(worst, std::abs(got[static_cast<size_t>(i)] - truth) / unit);
      }
    }
    return worst;
  }

  Halide::Param<uint32_t> first_, step_;
  Halide::Func power_{"power"};
};

TEST_P(Forms, RelativeError) {
  const double bound = GetParam() == ExpForm::kDegree4 ? 3e-6 : 2e-7;
  // Every fraction there is: whole and half numbers lie at the ends and in the middle.
  EXPECT_LT(worst(-0.25f, -0.5f, 1), bound);
  EXPECT_LT(worst(-0.5f, -1.0f, 1), bound);
  EXPECT_LT(worst(-0.0f, -126.0f, 997), bound);
  // Degree 4 is what it is called: the tests would see one that is less exact.
  EXPECT_GT(worst(-0.5f, -1.0f, 7), bound / 2);
}

// Small numbers may be taken for 0, and what is hidden adds nothing.
TEST_P(Forms, Ends) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(power(-0.0f), 1);
  EXPECT_LE(worst(-126.0f, -127.5f, 1), 1);
  for (float x : {-127.5f, -128.0f, -255.5f, -256.0f, -1e4f, -1e9f, -1e38f}) EXPECT_EQ(power(x), 0);
  EXPECT_EQ(power(-infinity), 0);
  EXPECT_EQ(power(std::numeric_limits<float>::lowest()), 0);
  EXPECT_TRUE(std::isnan(power(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(power(-std::numeric_limits<float>::quiet_NaN())));
}

INSTANTIATE_TEST_SUITE_P(Exp2, Forms,
                         testing::Values(ExpForm::kCompared, ExpForm::kClamped, ExpForm::kDegree4));

}  // namespace
}  // namespace mha
