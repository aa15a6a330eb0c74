#include "tests/numeric/random_call.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <string>

namespace mha {

void check_random_call(const TestKernel& kernel, int which, uint64_t seed, Random& random,
                       Tally* tally,
                       const std::function<void(const RandomCall&, const Outputs&)>& more) {
  const auto drawn = random_call(kernel.spec(), which, seed + static_cast<uint64_t>(which), random);
  if (!drawn) return;
  const CallLengths& lengths = drawn->lengths;
  SCOPED_TRACE("B=" + std::to_string(lengths.batch) + " Lq=" + std::to_string(lengths.query) +
               " Lk=" + std::to_string(lengths.key) + " T=" + std::to_string(lengths.total));
  const Outputs outputs = run_kernel(kernel, lengths, drawn->inputs, {});
  EXPECT_EQ(check_against_reference(kernel, lengths, drawn->inputs, outputs, true, tally), "");
  more(*drawn, outputs);
}

void expect_same_bits(const Outputs& outputs, const Outputs& others, const char* when) {
  for (const auto& [name, values] : outputs) {
    EXPECT_TRUE(same_bits(values, others.at(name))) << name << " differs " << when;
  }
}

// An RMS of a few elements says little: a plain computation may have been lucky with them.
void expect_as_exact_as_plain(const Tally& tally) {
  constexpr int64_t kEnough = 1000;
  for (const auto& [name, squares] : tally.kernel_squares) {
    // Of numbers that both compute exactly there is none.
    const double plain = tally.plain_squares.at(name);
    const double ratio = squares == 0 ? 0 : std::sqrt(squares / plain);
    const int64_t count = tally.rounded.at(name);
    std::printf("%s: RMS error %.2f of plain f32's, %lld elements\n", name.c_str(), ratio,
                static_cast<long long>(count));
    if (count < kEnough) continue;
    EXPECT_LE(ratio, 2) << name << " is less exact than a plain f32 computation";
  }
}

}  // namespace mha
