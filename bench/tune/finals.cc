#include "bench/tune/finals.h"

#include <algorithm>
#include <utility>

#include "schedules/tuner/incumbent.h"

namespace mha {
namespace {

constexpr size_t kBest = 24;
constexpr int kRounds = 24;

// The stage as the trial's text has it.
StageSchedule schedule_of(const StageSchedule& like, const std::string& candidate) {
  StageSchedule schedule = like;
  for (auto& [name, value] : schedule.params) {
    const size_t at = (" " + candidate).find(" " + name + "=");
    value = std::stoll(candidate.substr(at + name.size() + 1));
  }
  return schedule;
}

}  // namespace

Subject finals_subject(const Subject& subject) {
  Subject finals = subject;
  finals.lengths += " finals";
  return finals;
}

void run_finals(const std::string& stage, const Schedule& analytic, const Subject& subject,
                Lab& lab, Database& database, TunerEvents& events) {
  const Subject finals = finals_subject(subject);
  std::vector<Trial> best;
  for (Trial& trial : database.trials(subject)) {
    if (trial.stage == stage && trial.outcome == Outcome::kMeasured &&
        trial.strategy != "default") {
      best.push_back(std::move(trial));
    }
  }
  std::stable_sort(best.begin(), best.end(),
                   [](const Trial& a, const Trial& b) { return a.score > b.score; });
  if (best.size() > kBest) best.resize(kBest);
  std::erase_if(best, [&](const Trial& trial) {
    return database.find(finals, stage, trial.candidate).has_value();
  });
  if (best.empty() || events.stop()) return;

  const TunerClock clock = system_clock();
  const TunerOptions defaults;
  RaceOptions race;
  race.min_rounds = kRounds / 2;
  race.max_rounds = kRounds;
  race.indifferent = -1;  // none is dropped: their order matters
  std::vector<Candidate> candidates;
  for (const Trial& trial : best) {
    candidates.push_back({analytic, ""});
    for (StageSchedule& one : candidates.back().schedule.stages) {
      if (one.stage == stage) one = schedule_of(one, trial.candidate);
    }
  }
  const std::vector<Built> built = lab.build(candidates);
  Incumbent incumbent(lab, clock);
  incumbent.replace(analytic, defaults.first_limit);
  const std::vector<std::string> stages = lab.stages();
  const int index =
      static_cast<int>(std::find(stages.begin(), stages.end(), stage) - stages.begin());
  for (size_t i = 0; i < best.size() && !events.stop(); ++i) {
    Trial trial;
    trial.stage = stage;
    trial.candidate = best[i].candidate;
    trial.against = candidate_text(analytic.stage(stage));
    trial.strategy = "final";
    trial.index = static_cast<int64_t>(i);
    trial.time = clock.time();
    trial.outcome = built[i].outcome;
    trial.detail = built[i].detail;
    try {
      if (built[i].outcome == Outcome::kMeasured) {
        const RaceResult result =
            incumbent.race(built[i], {index}, race, defaults.first_limit).at(0);
        trial.seconds = result.seconds;
        trial.against_seconds = result.against_seconds;
        trial.disturbed = result.disturbed;
        trial.score = trial.log_gain = result.log_gain;
        trial.half_width = result.half_width;
      }
    } catch (const RunnerFailure& failure) {
      trial.outcome = failure.outcome();
      trial.detail = failure.what();
    }
    if (events.stop()) break;  // who ends it by a key may have ended the candidate with it
    database.append(finals, trial);
  }
  for (const Built& one : built) lab.discard(one);
}

}  // namespace mha
