#include "schedules/tuner/incumbent.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "generator/spec/error.h"

namespace mha {
namespace {

constexpr int kFailures = 3;  // in a row, after which the search gives up

}  // namespace

void Incumbent::replace(const Schedule& schedule, double limit) {
  const double began = clock_.now();
  const Built built = lab_.build({Candidate{schedule, ""}}).at(0);
  build_seconds_ = std::max(build_seconds_, clock_.now() - began);
  std::unique_ptr<Runner> runner;
  try {
    if (built.outcome != Outcome::kMeasured) throw RunnerFailure(built.outcome, built.detail);
    runner = start(built, limit);
  } catch (const RunnerFailure&) {
    lab_.discard(built);
    throw;
  }
  if (runner_) lab_.discard(built_);
  runner_ = std::move(runner);
  built_ = built;
  schedule_ = schedule;
}

std::vector<RaceResult> Incumbent::race(const Built& candidate, const std::vector<int>& stages,
                                        const RaceOptions& options, double limit) {
  for (int failures = 0;; ++failures) {
    const std::unique_ptr<Runner> runner = start(candidate, limit);
    try {
      return mha::race(*runner, *runner_, stages, options);
    } catch (const RunnerFailure&) {
      throw;
    } catch (const UserError&) {
      throw;
    } catch (const SystemError&) {
      throw;
    } catch (const std::runtime_error& error) {
      // It ended by a memory killer or a user, for it ran well before.
      if (failures + 1 == kFailures) {
        throw SystemError(std::string("the best schedule so far keeps failing: ") + error.what());
      }
      runner_ = start(built_, limit);
    }
  }
}

std::unique_ptr<Runner> Incumbent::start(const Built& built, double limit) {
  const double began = clock_.now();
  std::unique_ptr<Runner> runner = lab_.start(built, limit);
  start_seconds_ = std::max(0.7 * start_seconds_, clock_.now() - began);
  return runner;
}

}  // namespace mha
