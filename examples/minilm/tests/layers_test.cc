#include "examples/minilm/layers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace mha::minilm {
namespace {

std::vector<float> random_numbers(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// The bound of a sum of K products in f32, in any order.
TEST(Linear, EveryRowCountAndOddInputs) {
  for (size_t inputs : {1, 5, 384}) {
    for (size_t outputs : {16, 48}) {
      for (size_t rows = 1; rows <= 29; ++rows) {
        const auto weight = random_numbers(outputs * inputs, 1);
        const auto bias = random_numbers(outputs, 2);
        const auto x = random_numbers(rows * inputs, 3);
        // One number more than the result: nothing may be written there.
        std::vector<float> y(rows * outputs + 1, -7.0f);
        Linear(weight, bias).apply(x.data(), rows, y.data());
        EXPECT_EQ(y.back(), -7.0f);
        for (size_t i = 0; i < rows; ++i) {
          for (size_t n = 0; n < outputs; ++n) {
            double sum = bias[n], magnitude = std::abs(bias[n]);
            for (size_t k = 0; k < inputs; ++k) {
              const double product = double{x[i * inputs + k]} * double{weight[n * inputs + k]};
              sum += product;
              magnitude += std::abs(product);
            }
            const double bound = 0x1p-24 * static_cast<double>(inputs + 1) * magnitude;
            ASSERT_NEAR(y[i * outputs + n], sum, bound)
                << linear_variant() << " rows " << rows << " inputs " << inputs;
          }
        }
      }
    }
  }
}

TEST(Linear, RefusesShapesThatItWouldReadBeyond) {
  EXPECT_THROW(Linear(random_numbers(15, 1), random_numbers(15, 1)), std::logic_error);
  EXPECT_THROW(Linear(random_numbers(33, 1), random_numbers(16, 1)), std::logic_error);
}

TEST(Gelu, ErfStaysWithinItsBound) {
  double worst = 0;
  for (int i = -60000; i <= 60000; ++i) {
    const float x = static_cast<float>(i) * 1e-4f;
    worst = std::max(worst, std::abs(erf_approximation(x) - std::erf(double{x})));
  }
  EXPECT_LE(worst, 5e-7);
  EXPECT_EQ(erf_approximation(0.0f), 0.0f);
  EXPECT_TRUE(std::isnan(erf_approximation(NAN)));
}

TEST(Gelu, EveryLength) {
  for (size_t count = 0; count < 40; ++count) {
    std::vector<float> x = random_numbers(count, 4);
    const std::vector<float> before = x;
    gelu(x);
    for (size_t i = 0; i < count; ++i) {
      const double v = before[i];
      ASSERT_NEAR(x[i], 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))), 1e-6);
    }
  }
}

TEST(LayerNorm, HoldsWithALargeMean) {
  for (size_t width : {1, 7, 16, 384}) {
    LayerNorm norm{random_numbers(width, 5), random_numbers(width, 6)};
    std::vector<float> x = random_numbers(3 * width, 7);
    for (float& value : x) value += 100.0f;
    const std::vector<float> before = x;
    norm.apply(x.data(), 3);
    for (size_t r = 0; r < 3; ++r) {
      double mean = 0, variance = 0;
      const float* row = before.data() + r * width;
      for (size_t i = 0; i < width; ++i) mean += row[i] / static_cast<double>(width);
      for (size_t i = 0; i < width; ++i) {
        variance += (row[i] - mean) * (row[i] - mean) / static_cast<double>(width);
      }
      // The mean itself is rounded to 100 * 2^-24 or so, against deviations of about 1.
      for (size_t i = 0; i < width; ++i) {
        const double y =
            (row[i] - mean) / std::sqrt(variance + 1e-12) * norm.weight[i] + norm.bias[i];
        ASSERT_NEAR(x[r * width + i], y, 1e-4) << "width " << width;
      }
    }
  }
}

}  // namespace
}  // namespace mha::minilm
