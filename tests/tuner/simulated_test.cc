#include "tests/tuner/simulated.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mha {
namespace {

TEST(Simulated, TheSameSeedGivesTheSameTimes) {
  std::vector<double> times[2];
  for (std::vector<double>& run : times) {
    SimulatedMachine machine({}, 3);
    SimulatedRunner runner(machine, {0.0002, 0.0001});
    for (int i = 0; i < 5; ++i) {
      const Slice slice = runner.stages(0.003);
      run.insert(run.end(), slice.seconds.begin(), slice.seconds.end());
    }
  }
  EXPECT_EQ(times[0], times[1]);
  ASSERT_EQ(times[0].size(), 10u);
  EXPECT_NEAR(times[0][0], 0.0002, 0.00002);
  EXPECT_NEAR(times[0][1], 0.0001, 0.00001);
}

TEST(Simulated, ASliceIsAsLongAsItsCallsAndHasOneAtLeast) {
  SimulatedNoise quiet{.call = 0, .process = 0, .spikes = 0, .drift = 0};
  SimulatedMachine machine(quiet, 1);
  SimulatedRunner runner(machine, {0.25, 0.5});
  const Slice slice = runner.whole(0.001);
  EXPECT_EQ(slice.calls, 1);
  ASSERT_EQ(slice.seconds.size(), 1u);
  EXPECT_NEAR(slice.seconds[0], 0.75, 1e-9);
  EXPECT_EQ(runner.stages(2).calls, 3);
}

TEST(Simulated, LoudTimesShowInTheCallsAndInThePeak) {
  SimulatedNoise noise{.call = 0,
                       .process = 0,
                       .spikes = 0,
                       .drift = 0,
                       .quiet_seconds = 0.1,
                       .loud_seconds = 0.1,
                       .loud_factor = 2,
                       .peak = 0};
  SimulatedMachine machine(noise, 1);
  SimulatedRunner runner(machine, {0.001});
  int loud = 0, seen = 0;
  for (int i = 0; i < 200; ++i) {
    const Slice slice = runner.whole(0.003);
    loud += slice.seconds[0] > 0.0015;
    seen += slice.peak_flops < 0.75e11;
  }
  EXPECT_GT(loud, 40);
  EXPECT_LT(loud, 160);
  EXPECT_NEAR(seen, loud, 15);
}

TEST(Simulated, FailsAtItsCall) {
  SimulatedMachine machine({}, 1);
  SimulatedRunner runner(machine, {0.001});
  runner.fail_at(2, Outcome::kHang);
  EXPECT_EQ(runner.whole(0).calls, 1);
  EXPECT_EQ(runner.whole(0).calls, 1);
  try {
    runner.whole(0);
    FAIL();
  } catch (const RunnerFailure& failure) {
    EXPECT_EQ(failure.outcome(), Outcome::kHang);
  }
}

}  // namespace
}  // namespace mha
