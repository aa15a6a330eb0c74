// Random specs, generated, called and held against the reference. MHA_TEST_SEED=N with
// --gtest_filter repeats one; MHA_TEST_SPECS=N draws N of them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "generator/spec/error.h"
#include "tests/numeric/harness.h"
#include "tests/numeric/random_config.h"

namespace mha {
namespace {

constexpr uint64_t kDefaultSeed = 20240607;
constexpr int kDefaultSpecs = 60;
// Tests among which the specs are shared, so that processes can run side by side.
constexpr int kShards = 6;

int spec_count() {
  const char* text = std::getenv("MHA_TEST_SPECS");
  return text != nullptr ? std::max(std::atoi(text), kShards) : kDefaultSpecs;
}

void expect_same_bits(const Outputs& outputs, const Outputs& others, const char* when) {
  for (const auto& [name, values] : outputs) {
    EXPECT_TRUE(same_bits(values, others.at(name))) << name << " differs " << when;
  }
}

// Every call of a spec within its bound, and the same bits however it is called.
void check_calls(const std::string& yaml, uint64_t seed, Random& random, Tally* tally) {
  const TestKernel kernel(yaml);
  const Spec& spec = kernel.spec();
  const bool ranges = !spec.batch.fixed() || !spec.query_length.fixed() ||
                      (spec.key_length_given && !spec.key_length.fixed());
  for (int which = 0; which < (ranges ? 3 : 1); ++which) {
    const auto drawn = random_call(spec, which, seed + static_cast<uint64_t>(which), random);
    if (!drawn) continue;
    const CallLengths& lengths = drawn->lengths;
    SCOPED_TRACE("B=" + std::to_string(lengths.batch) + " Lq=" + std::to_string(lengths.query) +
                 " Lk=" + std::to_string(lengths.key) + " T=" + std::to_string(lengths.total));
    const Outputs outputs = run_kernel(kernel, lengths, drawn->inputs, {});
    EXPECT_EQ(check_against_reference(kernel, lengths, drawn->inputs, outputs, true, tally), "");
    expect_same_bits(outputs, run_kernel(kernel, lengths, drawn->inputs, {}), "when run twice");
    expect_same_bits(outputs, run_kernel(kernel, lengths, drawn->inputs, {.threads = 2}),
                     "on two threads");
    expect_same_bits(outputs,
                     run_kernel(kernel, lengths, drawn->inputs, {.threads = 2, .strided = true}),
                     "when strided");
    const bool alone = lengths.batch > 1 && spec.batch.min == 1 && sequences_are_alike(spec);
    for (int64_t b = 0; alone && b < lengths.batch; ++b) {
      const RandomCall one = only_sequence(spec, *drawn, b);
      if (spec.packed && one.lengths.total == 0) continue;
      const Outputs alone = run_kernel(kernel, one.lengths, one.inputs, {});
      expect_same_bits(outputs_of_sequence(spec, *drawn, outputs, b), alone,
                       "with the rest of the batch");
    }
  }
}

void check_spec(uint64_t seed, Tally* tally) {
  Random random(seed, "spec");
  const std::string yaml = random_config(random);
  SCOPED_TRACE("repeat with: MHA_TEST_SEED=" + std::to_string(seed) +
               " numeric_test --gtest_filter=Random.OneSpec\n" + yaml);
  try {
    check_calls(yaml, seed, random, tally);
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
}

// An RMS of a few elements says little: a plain computation may have been lucky with them.
void expect_as_exact_as_plain(const Tally& tally) {
  constexpr int64_t kEnough = 1000;
  for (const auto& [name, squares] : tally.kernel_squares) {
    const double ratio = std::sqrt(squares / tally.plain_squares.at(name));
    const int64_t count = tally.rounded.at(name);
    std::printf("%s: RMS error %.2f of plain f32's, %lld elements\n", name.c_str(), ratio,
                static_cast<long long>(count));
    if (count < kEnough) continue;
    EXPECT_LE(ratio, 2) << name << " is less exact than a plain f32 computation";
  }
}

class Specs : public testing::TestWithParam<int> {};

TEST_P(Specs, AreWithinTheirBounds) {
  const uint64_t seed = test_seed(kDefaultSeed);
  const int count = spec_count();
  std::printf("seed %llu (MHA_TEST_SEED=N to change it), a share of %d specs\n",
              static_cast<unsigned long long>(seed), count);
  Tally tally;
  for (int i = GetParam(); i < count; i += kShards) {
    check_spec(seed + static_cast<uint64_t>(i), &tally);
  }
  // A comparison of zeros with zeros finds nothing.
  EXPECT_GT(tally.compared, 10000);
  EXPECT_LT(tally.zeros * 3, tally.compared);
  std::printf("compared %lld, zero %lld\n", static_cast<long long>(tally.compared),
              static_cast<long long>(tally.zeros));
  expect_as_exact_as_plain(tally);
}

INSTANTIATE_TEST_SUITE_P(Random, Specs, testing::Range(0, kShards));

TEST(Random, OneSpec) {
  Tally tally;
  check_spec(test_seed(kDefaultSeed), &tally);
  expect_as_exact_as_plain(tally);
}

}  // namespace
}  // namespace mha
