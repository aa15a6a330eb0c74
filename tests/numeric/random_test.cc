// Random specs, generated, called and held against the reference. MHA_TEST_SEED=N with
// --gtest_filter repeats one; MHA_TEST_SPECS=N draws N of them.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "generator/spec/error.h"
#include "tests/numeric/harness.h"
#include "tests/numeric/random_call.h"
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

// Every call of a spec within its bound, and the same bits however it is called.
void check_calls(const std::string& yaml, uint64_t seed, Random& random, Tally* tally) {
  const TestKernel kernel(yaml);
  const Spec& spec = kernel.spec();
  const auto same = [&](const RandomCall& drawn, const Outputs& outputs) {
    const CallLengths& lengths = drawn.lengths;
    const auto again = [&](const CallOptions& options) {
      return run_kernel(kernel, lengths, drawn.inputs, options);
    };
    expect_same_bits(outputs, again({}), "when run twice");
    expect_same_bits(outputs, again({.threads = 2}), "on two threads");
    expect_same_bits(outputs, again({.threads = 2, .strided = true}), "when strided");
    const bool alone = lengths.batch > 1 && spec.batch.min == 1 && sequences_are_alike(spec);
    for (int64_t b = 0; alone && b < lengths.batch; ++b) {
      const RandomCall one = only_sequence(spec, drawn, b);
      if (spec.packed && one.lengths.total == 0) continue;
      const Outputs alone = run_kernel(kernel, one.lengths, one.inputs, {});
      expect_same_bits(outputs_of_sequence(spec, drawn, outputs, b), alone,
                       "with the rest of the batch");
    }
  };
  const bool ranges = !spec.batch.fixed() || !spec.query_length.fixed() ||
                      (spec.key_length_given && !spec.key_length.fixed());
  for (int which = 0; which < (ranges ? 3 : 1); ++which) {
    check_random_call(kernel, which, seed, random, tally, same);
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
