// Keys that a rule shows, counted by ranges, against each asked for by itself.
#include "generator/spec/expression_count.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

namespace mha {
namespace {

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

struct CountCase {
  const char* rule;
  std::function<bool(int64_t q, int64_t k)> shows;
};

TEST(ExpressionCount, AgreesWithEachKey) {
  const CountCase cases[] = {
      {"k <= q and (q - k < 20 or k < 4)",
       [](int64_t q, int64_t k) { return k <= q && (q - k < 20 || k < 4); }},
      {"not (k == q or k > q + 3) if q % 2 == 0 else k != 7",
       [](int64_t q, int64_t k) { return q % 2 == 0 ? k != q && k <= q + 3 : k != 7; }},
      {"(q + 2 * k) % 5 != 2", [](int64_t q, int64_t k) { return (q + 2 * k) % 5 != 2; }},
      {"(k - q) // 7 == -2", [](int64_t q, int64_t k) { return floor_div(k - q, 7) == -2; }},
      {"(q - k) % -6 < -2",
       [](int64_t q, int64_t k) { return q - k - (-6) * floor_div(q - k, -6) < -2; }},
      {"k % (h - 2) == 0 and q // (h - 2) == 0 and abs(k - 30) > 4",
       [](int64_t, int64_t k) { return std::abs(k - 30) > 4; }},
      {"min(k, q, 9) == 9 or max(k * -2, -q) >= -3",
       [](int64_t q, int64_t k) {
         return std::min({k, q, int64_t{9}}) == 9 || -2 * k >= -3 || q <= 3;
       }},
      {"(k - 20) * (k - 40) < 0 or k * k == q",
       [](int64_t q, int64_t k) { return (k > 20 && k < 40) || k * k == q; }},
      {"sqrt(k - 10) < 4", [](int64_t, int64_t k) { return k >= 10 && k < 26; }},
      {"log(k) / 2 >= 1 and tanh(k / 100) < 0.4 and floor(k / 2) != 12",
       [](int64_t, int64_t k) {
         const auto f = [](double x) { return static_cast<double>(static_cast<float>(x)); };
         return f(std::log(f(k)) / 2) >= 1 &&
                f(std::tanh(f(k / 100.0))) < static_cast<float>(0.4) && k / 2 != 12;
       }},
      {"k / 4 // 1.5 == 3 or k / 2 % 7 < 0.6",
       [](int64_t, int64_t k) {
         return std::floor(static_cast<float>(k / 4.0 / 1.5)) == 3 ||
                static_cast<float>(k / 2.0 - 7 * std::floor(static_cast<float>(k / 14.0))) < 0.6F;
       }},
      {"h == 2 and b == 1 and q_len + k_len + heads + d_head == 31 and exp(k) > 5",
       [](int64_t, int64_t k) { return k > 1; }},
  };
  for (const CountCase& at : cases) {
    ExpressionError error;
    const auto rule = parse_expression(at.rule, {}, &error);
    ASSERT_TRUE(rule) << at.rule << ": " << error.message;
    for (int64_t q = 0; q < 60; ++q) {
      const RuleRow row{1, 2, q, 10, 9, 8, 4};
      int64_t want = 0, steps = 0;
      for (int64_t k = 0; k < 57; ++k) want += at.shows(q, k);
      EXPECT_EQ(keys_shown(*rule, row, 0, 57, &steps), want) << at.rule << " at q = " << q;
      want = 0;
      for (int64_t k = 5; k < 31; ++k) want += at.shows(q, k);
      EXPECT_EQ(keys_shown(*rule, row, 5, 31, &steps), want) << at.rule << " at q = " << q;
    }
  }
}

TEST(ExpressionCount, LooksAtRangesWhereThatSettlesIt) {
  ExpressionError error;
  const auto rule = parse_expression("k <= q and (q - k < 256 or k < 4)", {}, &error);
  ASSERT_TRUE(rule);
  int64_t steps = 0;
  EXPECT_EQ(keys_shown(*rule, {0, 0, 5000, 1, 1, 1, 1}, 0, 8192, &steps), 256 + 4);
  EXPECT_LT(steps, 150);
  EXPECT_FALSE(reads_tables(*rule));
  EXPECT_TRUE(reads_variable(*rule, "q"));
  EXPECT_FALSE(reads_variable(*rule, "h"));
}

}  // namespace
}  // namespace mha
