#include "schedules/tuner/race.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "generator/spec/error.h"
#include "tests/tuner/simulated.h"

namespace mha {
namespace {

constexpr SimulatedNoise kSilent{.call = 0, .process = 0, .spikes = 0, .drift = 0, .peak = 0};

// A runner of which a test decides every slice.
class Scripted : public Runner {
 public:
  explicit Scripted(std::function<Slice(int)> script) : script_(std::move(script)) {}
  Slice stages(double) override { return script_(slices++); }
  Slice whole(double) override { return script_(slices++); }
  int slices = 0;

 private:
  std::function<Slice(int)> script_;
};

Slice slice_of(double seconds) { return {.seconds = {seconds}, .calls = 20, .peak_flops = 1e11}; }

RaceResult race_of(const SimulatedNoise& noise, uint64_t seed, double seconds, double against,
                   const RaceOptions& options = {}) {
  SimulatedMachine machine(noise, seed);
  SimulatedRunner candidate(machine, {seconds}), incumbent(machine, {against});
  return race(candidate, incumbent, {0}, options).at(0);
}

TEST(Race, AWinnerIsMeasuredToTheLastRound) {
  const RaceResult result = race_of({}, 1, 0.9e-4, 1e-4);
  EXPECT_EQ(result.verdict, Verdict::kFaster);
  EXPECT_EQ(result.seconds.size(), 20u);
  EXPECT_EQ(result.against_seconds.size(), 20u);
  EXPECT_NEAR(result.log_gain, 0.105, 0.05);
  EXPECT_GT(result.half_width, 0);
  EXPECT_FALSE(result.noisy);
}

TEST(Race, LosersCostFewRounds) {
  size_t rounds = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const RaceResult result = race_of({}, seed, 1.1e-4, 1e-4);
    EXPECT_EQ(result.verdict, Verdict::kSlower) << "seed " << seed;
    rounds += result.seconds.size();
  }
  EXPECT_LT(rounds, 50u * 7);
  const RaceResult hopeless = race_of({}, 1, 2e-4, 1e-4);
  EXPECT_EQ(hopeless.verdict, Verdict::kSlower);
  EXPECT_EQ(hopeless.seconds.size(), 2u);
}

TEST(Race, StagesAreDecidedTogetherAndEachByItself) {
  SimulatedMachine machine({.process = 0.001}, 5);
  SimulatedRunner candidate(machine, {1e-4, 3e-4, 1e-5, 5e-5});
  SimulatedRunner incumbent(machine, {1e-4, 2.5e-4, 2e-5, 5e-5});
  const auto results = race(candidate, incumbent, {2, 1}, {});
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].verdict, Verdict::kFaster);
  EXPECT_NEAR(results[0].log_gain, std::log(2), 0.01);
  EXPECT_EQ(results[1].verdict, Verdict::kSlower);
  EXPECT_NEAR(results[1].log_gain, -std::log(1.2), 0.01);
  EXPECT_LT(results[1].seconds.size(), results[0].seconds.size());
  EXPECT_LE(machine.slices, 2 * 26);  // one race's worth, for both
  EXPECT_TRUE(race(candidate, incumbent, {}, {}).empty());
}

// Of candidates that are the incumbent, within one pair of processes.
TEST(Race, VerdictsAreWrongNoMoreOftenThanTheConfidenceSays) {
  const SimulatedNoise noises[] = {
      {.quiet_seconds = 0.05, .loud_seconds = 0.02},
      {.quiet_seconds = 0.05, .loud_seconds = 0.02, .loud_is_seen = false},
      {.call = 0.05, .spikes = 0.05},
      {.drift = 0.1}};
  for (const SimulatedNoise& each : noises) {
    SimulatedNoise noise = each;
    noise.process = 0;
    int faster = 0, slower = 0;
    for (uint64_t seed = 0; seed < 1000; ++seed) {
      const RaceResult result = race_of(noise, seed, 2e-4, 2e-4, {.indifferent = 0});
      faster += result.verdict == Verdict::kFaster;
      slower += result.verdict == Verdict::kSlower;
    }
    // 0.5 % of 1,000 each, and three times the root of it.
    EXPECT_LE(faster, 12);
    EXPECT_LE(slower, 12);
  }
}

TEST(Race, WhoComesSecondIsNotPunished) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const RaceResult result = race_of({.process = 0, .second_place = 0.03}, seed, 2e-4, 2e-4);
    EXPECT_EQ(result.verdict, Verdict::kUndecided);
    EXPECT_NEAR(result.log_gain, 0, 0.01);
  }
}

TEST(Race, DisturbedRoundsAreRepeated) {
  // Two of the candidate's slices come while the machine is at two thirds, one is interrupted, and
  // one is slow for no reason that shows.
  Scripted candidate([](int i) {
    Slice slice = slice_of(1e-4 * (1 + 0.001 * (i % 3)));
    if (i == 5 || i == 8) {
      slice.seconds[0] *= 1.5;
      slice.peak_flops /= 1.5;
    } else if (i == 11) {
      slice.switches = 6;
    } else if (i == 14) {
      slice.seconds[0] *= 1.3;
    }
    return slice;
  });
  Scripted incumbent([](int) { return slice_of(1.1e-4); });
  const RaceResult result = race(candidate, incumbent, {0}, {}).at(0);
  EXPECT_EQ(result.verdict, Verdict::kFaster);
  EXPECT_EQ(result.disturbed, 4);
  EXPECT_EQ(result.seconds.size(), 20u);
  EXPECT_EQ(candidate.slices, 25);  // with the warm-up
  for (const double seconds : result.seconds) {
    EXPECT_LT(seconds, 1.01e-4);
  }
  EXPECT_FALSE(result.noisy);
}

TEST(Race, ARoundWhoseSlicesSawDifferentMachinesDoesNotCount) {
  Scripted candidate([](int i) {
    Slice slice = slice_of(1e-4);
    slice.peak_flops = i == 3 ? 1.09e11 : 1e11;
    return slice;
  });
  Scripted incumbent([](int) { return slice_of(1e-4 * 1.1); });
  EXPECT_EQ(race(candidate, incumbent, {0}, {}).at(0).disturbed, 1);
}

TEST(Race, EndsWhereTheMachineNeverGetsQuiet) {
  for (const bool slower : {false, true}) {
    Scripted candidate([&](int i) {
      Slice slice = slice_of(slower ? 1.5e-4 : 1e-4 * (1 + 0.05 * (i % 4)));
      slice.switches = 20;
      return slice;
    });
    Scripted incumbent([](int i) { return slice_of(1e-4 * (1 + 0.05 * (i % 5))); });
    const RaceResult result = race(candidate, incumbent, {0}, {}).at(0);
    EXPECT_TRUE(result.noisy);
    EXPECT_EQ(result.disturbed, 40);
    EXPECT_EQ(result.seconds.size(), 40u);
    EXPECT_EQ(result.verdict, slower ? Verdict::kSlower : Verdict::kUndecided);
  }
}

TEST(Race, TimesWithoutVarianceAreCompared) {
  EXPECT_EQ(race_of(kSilent, 1, 1e-4, 1e-4).verdict, Verdict::kUndecided);
  EXPECT_EQ(race_of(kSilent, 1, 0.99e-4, 1e-4).verdict, Verdict::kFaster);
  EXPECT_EQ(race_of(kSilent, 1, 1.01e-4, 1e-4).verdict, Verdict::kSlower);
  EXPECT_EQ(race_of(kSilent, 1, 1e-4, 1e-4).seconds.size(), 4u);  // there is nothing to gain
  Scripted candidate([](int) { return slice_of(0); });
  Scripted incumbent([](int) { return slice_of(0); });
  EXPECT_EQ(race(candidate, incumbent, {0}, {}).at(0).verdict, Verdict::kUndecided);
}

TEST(Race, CallsMayTakeLongerThanSlices) {
  EXPECT_EQ(race_of({.process = 0}, 1, 0.05, 0.1).verdict, Verdict::kFaster);
  EXPECT_EQ(race_of({.process = 0}, 1, 0.1, 0.05).verdict, Verdict::kSlower);
}

TEST(Race, FailuresSayWhose) {
  SimulatedMachine machine({}, 1);
  SimulatedRunner good(machine, {1e-4}), bad(machine, {1e-4});
  bad.fail_at(100, Outcome::kCrash);
  try {
    race(bad, good, {0}, {});
    FAIL();
  } catch (const RunnerFailure& failure) {
    EXPECT_EQ(failure.outcome(), Outcome::kCrash);
  }
  try {
    race(good, bad, {0}, {});
    FAIL();
  } catch (const RunnerFailure&) {
    FAIL() << "the incumbent's fault is not the candidate's";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "what the candidate is compared with failed: crash: simulated");
  }
}

TEST(Race, BugsAreNamed) {
  SimulatedMachine machine({}, 1);
  SimulatedRunner one(machine, {1e-4}), two(machine, {1e-4, 1e-4});
  EXPECT_THROW(race(one, two, {0}, {}), InternalError);
  EXPECT_THROW(race(one, one, {1}, {}), InternalError);
  EXPECT_THROW(race(one, one, {0}, {.min_rounds = 1}), InternalError);
  Scripted never([](int) { return slice_of(std::nan("")); });
  EXPECT_THROW(race(never, one, {0}, {}), InternalError);
}

}  // namespace
}  // namespace mha
