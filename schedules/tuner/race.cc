#include "schedules/tuner/race.h"

#include <algorithm>

#include "generator/spec/error.h"
#include "schedules/tuner/rounds.h"
#include "schedules/tuner/statistics.h"

namespace mha {
namespace {

// One stage while the rounds go on.
class StageRace {
 public:
  StageRace(int stage, const RaceOptions& options)
      : stage_(stage),
        options_(options),
        looks_(look_schedule(options.min_rounds, options.max_rounds)) {}

  bool over() const { return over_; }
  const RaceResult& result() const { return result_; }

  void after_round(const Rounds& rounds) {
    if (over_) {
      return;
    }
    const std::vector<int> counted = rounds.counted(stage_);
    const int count = static_cast<int>(counted.size());
    if (count >= 2 && std::all_of(counted.begin(), counted.end(), [&](int round) {
          return rounds.log_gain(round, stage_) < -options_.hopeless;
        })) {
      end(rounds, counted);
      result_.verdict = Verdict::kSlower;
    } else if (count >= looks_[next_]) {
      while (next_ < looks_.size() && count >= looks_[next_]) {
        ++next_;
      }
      const Interval interval = interval_of(rounds, counted);
      if (interval.high() < options_.indifferent || next_ == looks_.size()) {
        end(rounds, counted);
      }
    }
  }

  // No more rounds: the last look.
  void give_up(const Rounds& rounds) {
    if (over_) {
      return;
    }
    const std::vector<int> counted = rounds.counted(stage_);
    const bool enough = static_cast<int>(counted.size()) >= options_.min_rounds;
    end(rounds, enough ? counted : rounds.all());
    result_.noisy = true;
  }

 private:
  Interval interval_of(const Rounds& rounds, const std::vector<int>& counted) const {
    std::vector<double> gains;
    for (const int round : counted) {
      gains.push_back(rounds.log_gain(round, stage_));
    }
    return trimmed_interval(gains,
                            (1 - options_.confidence) / 2 / static_cast<double>(looks_.size()));
  }

  void end(const Rounds& rounds, const std::vector<int>& counted) {
    const Interval interval = interval_of(rounds, counted);
    result_.log_gain = interval.middle;
    result_.half_width = interval.half_width;
    if (interval.low() > 0) {
      result_.verdict = Verdict::kFaster;
    } else if (interval.high() < 0) {
      result_.verdict = Verdict::kSlower;
    }
    for (const int round : counted) {
      result_.seconds.push_back(rounds.seconds(round, stage_));
      result_.against_seconds.push_back(rounds.against(round, stage_));
    }
    result_.disturbed = rounds.size() - static_cast<int>(rounds.counted(stage_).size());
    over_ = true;
  }

  int stage_;
  RaceOptions options_;
  std::vector<int> looks_;
  size_t next_ = 0;
  bool over_ = false;
  RaceResult result_;
};

}  // namespace

std::vector<RaceResult> race(Runner& candidate, Runner& incumbent, const std::vector<int>& stages,
                             const RaceOptions& options) {
  if (options.min_rounds < 2 || options.max_rounds < options.min_rounds) {
    throw InternalError("a race of so few rounds");
  }
  std::vector<StageRace> races;
  for (const int stage : stages) {
    races.emplace_back(stage, options);
  }
  const auto open = [&] {
    return std::any_of(races.begin(), races.end(), [](const StageRace& r) { return !r.over(); });
  };
  if (open()) {
    Rounds rounds(candidate, incumbent, Rounds::Of::kStages, options.slice_seconds);
    for (const int stage : stages) {
      if (stage < 0 || stage >= rounds.columns()) {
        throw InternalError("a race of a stage that is not there");
      }
    }
    while (open() && rounds.size() < 2 * options.max_rounds) {
      rounds.run();
      for (StageRace& stage : races) {
        stage.after_round(rounds);
      }
    }
    for (StageRace& stage : races) {
      stage.give_up(rounds);
    }
  }
  std::vector<RaceResult> results;
  for (const StageRace& stage : races) {
    results.push_back(stage.result());
  }
  return results;
}

}  // namespace mha
