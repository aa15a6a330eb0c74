#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "generator/spec/error.h"
#include "schedules/tuner/race.h"
#include "tests/tuner/simulated.h"

namespace mha {
namespace {

struct NamedNoise {
  std::string name;
  SimulatedNoise noise;
  bool always = false;  // tried in quick runs of the tests too
};

constexpr double kCall = 5e-4;

// Noise as a machine at rest has it, and worse.
std::vector<NamedNoise> noises() {
  return {
      {"quiet", {}, true},
      {"processes differ more", {.process = 0.015}},
      {"calls differ", {.call = 0.05}},
      {"interrupted", {.spikes = 0.1}, true},
      {"the clock wanders", {.drift = 0.1}},
      {"bursts that show", {.quiet_seconds = 0.05, .loud_seconds = 0.03}},
      {"bursts that do not show",
       {.quiet_seconds = 0.05, .loud_seconds = 0.03, .loud_is_seen = false}},
      {"busy most of the time",
       {.quiet_seconds = 0.02, .loud_seconds = 0.2, .loud_factor = 2},
       true},
      {"no peaks", {.quiet_seconds = 0.05, .loud_seconds = 0.03, .peaks_taken = false}},
      {"the second is slower", {.second_place = 0.02}},
  };
}

struct Count {
  int faster = 0;
  double pairs = 0;
};

Count decide(const SimulatedNoise& noise, int decisions, double seconds, double against,
             const CertificateOptions& options = {}) {
  Count count;
  for (int i = 0; i < decisions; ++i) {
    SimulatedMachine machine(noise, static_cast<uint64_t>(i));
    const auto start = [&](double call) {
      return [&machine, call] {
        return std::make_unique<SimulatedRunner>(machine, std::vector<double>{call});
      };
    };
    const Certificate certificate = certify(start(seconds), start(against), options);
    EXPECT_EQ(certificate.faster, certificate.low > certificate.margin);
    count.faster += certificate.faster;
    count.pairs += static_cast<double>(certificate.pair_log_gains.size()) / decisions;
  }
  return count;
}

bool long_tests() { return std::getenv("MHA_TEST_TUNER_LONG") != nullptr; }

// A margin of 0 leaves the whole of the permitted error, 0.5 %: more than 12 of 1,000 come in one
// of 200 such series. With the margin they are fewer.
TEST(Certificate, AScheduleIsNotFasterThanItself) {
  for (const NamedNoise& each : noises()) {
    if (!long_tests() && !each.always) {
      continue;
    }
    const Count bare = decide(each.noise, 1000, kCall, kCall, {.margin = 0});
    EXPECT_LE(bare.faster, 12) << each.name;
    if (long_tests()) {
      const Count count = decide(each.noise, 1000, kCall, kCall);
      EXPECT_LE(count.faster, 10) << each.name;
      EXPECT_LT(count.pairs, 8) << each.name;
    }
  }
}

TEST(Certificate, FivePercentAreSeen) {
  for (const NamedNoise& each : noises()) {
    const Count count = decide(each.noise, 200, kCall, kCall * 1.05);
    EXPECT_GE(count.faster, 190) << each.name;
    EXPECT_LT(count.pairs, 9) << each.name;
    const Count slower = decide(each.noise, 50, kCall * 1.05, kCall);
    EXPECT_EQ(slower.faster, 0) << each.name;
    EXPECT_LT(slower.pairs, 5.5) << each.name;
  }
}

TEST(Certificate, AGainBelowTheMarginIsNone) {
  const SimulatedNoise still{.call = 0, .process = 0, .spikes = 0, .drift = 0, .peak = 0};
  EXPECT_EQ(decide(still, 10, kCall, kCall * 1.004).faster, 0);
  EXPECT_EQ(decide(still, 10, kCall, kCall * 1.006).faster, 10);
}

TEST(Certificate, HoldsItsSamples) {
  SimulatedMachine machine({.quiet_seconds = 0.05, .loud_seconds = 0.008}, 4);
  const auto start = [&](double call) {
    return [&machine, call] {
      return std::make_unique<SimulatedRunner>(machine, std::vector<double>{call / 2, call / 2});
    };
  };
  const Certificate certificate = certify(start(0.8 * kCall), start(kCall), {});
  EXPECT_TRUE(certificate.faster);
  EXPECT_EQ(certificate.margin, 0.005);
  EXPECT_EQ(certificate.error, 0.005);
  EXPECT_EQ(certificate.pair_log_gains.size(), 5u);
  ASSERT_EQ(certificate.seconds.size(), 5u);
  ASSERT_EQ(certificate.default_seconds.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_NEAR(certificate.seconds[i], 0.8 * kCall, 0.05 * kCall);
    EXPECT_NEAR(certificate.default_seconds[i], kCall, 0.06 * kCall);
  }
  EXPECT_LT(certificate.low, certificate.log_gain);
  EXPECT_LT(certificate.log_gain, certificate.high);
  EXPECT_NEAR(certificate.log_gain, -std::log(0.8), 0.05);
  EXPECT_GT(certificate.disturbed, 0);
}

TEST(Certificate, EveryPairIsOfFreshProcessesAndWhoStartsFirstAlternates) {
  SimulatedMachine machine({}, 1);
  std::string order;
  const auto start = [&](char name) {
    return [&machine, &order, name] {
      order += name;
      return std::make_unique<SimulatedRunner>(machine, std::vector<double>{kCall});
    };
  };
  certify(start('c'), start('d'), {.min_pairs = 5, .max_pairs = 5});
  EXPECT_EQ(order, "cddccddccd");
}

TEST(Certificate, FailuresSayWhose) {
  SimulatedMachine machine({}, 1);
  const Start good = [&] {
    return std::make_unique<SimulatedRunner>(machine, std::vector<double>{kCall});
  };
  const Start wrong = []() -> std::unique_ptr<Runner> {
    throw RunnerFailure(Outcome::kWrong, "off by 3");
  };
  const Start hangs = [&] {
    auto runner = std::make_unique<SimulatedRunner>(machine, std::vector<double>{kCall});
    runner->fail_at(30, Outcome::kHang);
    return runner;
  };
  EXPECT_THROW(certify(wrong, good, {}), RunnerFailure);
  EXPECT_THROW(certify(hangs, good, {}), RunnerFailure);
  for (const Start& bad : {wrong, hangs}) {
    try {
      certify(good, bad, {});
      FAIL();
    } catch (const RunnerFailure&) {
      FAIL() << "the default's fault is not the candidate's";
    } catch (const std::runtime_error&) {
    }
  }
  EXPECT_THROW(certify(good, good, {.min_pairs = 1}), InternalError);
}

}  // namespace
}  // namespace mha
