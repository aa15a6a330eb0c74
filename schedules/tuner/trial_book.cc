#include "schedules/tuner/trial_book.h"

#include <utility>

#include "schedules/tuner/search.h"
#include "schedules/tuner/statistics.h"

namespace mha {

std::optional<Trial> TrialBook::remembered(const std::string& stage, const std::string& text) {
  std::optional<Trial> trial = database_.find(subject_, stage, text);
  if (trial) {
    ++progress_.remembered;
    count(*trial);
  }
  return trial;
}

Trial TrialBook::store(const std::string& stage, const std::string& text, int64_t index,
                       Trial trial) {
  trial.stage = stage;
  trial.candidate = text;
  trial.strategy = options_.strategy;
  trial.index = index;
  trial = stored(std::move(trial));
  count(trial);
  return trial;
}

std::optional<Trial> TrialBook::remembered_final(const std::string& stage,
                                                 const std::string& text) const {
  return database_.find(subject_, final_name(stage), text);
}

Trial TrialBook::store_final(const std::string& stage, const std::string& text, int64_t index,
                             Trial trial) {
  trial.stage = final_name(stage);
  trial.candidate = text;
  trial.strategy = "final";
  trial.index = index;
  return stored(std::move(trial));
}

Trial TrialBook::stored(Trial trial) {
  trial.seed = options_.seed;
  trial.time = clock_.time();
  if (database_.append(subject_, trial)) return trial;
  // Another process was faster: its answer is the one that counts.
  return database_.find(subject_, trial.stage, trial.candidate).value_or(trial);
}

void TrialBook::remember_default(const Schedule& schedule) {
  for (const StageSchedule& stage : schedule.stages) {
    const auto trial = database_.find(subject_, stage.stage, candidate_text(stage));
    if (trial && !trial->seconds.empty()) seconds_[stage.stage] = median(trial->seconds);
  }
}

void TrialBook::store_default(const StageSchedule& stage, const std::vector<double>& seconds) {
  seconds_[stage.stage] = median(seconds);
  Trial trial;
  trial.stage = stage.stage;
  trial.candidate = trial.against = candidate_text(stage);
  trial.seconds = trial.against_seconds = seconds;
  trial.strategy = "default";
  trial.time = clock_.time();
  database_.append(subject_, trial);
}

double TrialBook::whole_seconds() const {
  double sum = 0;
  for (const auto& [stage, seconds] : seconds_) sum += seconds;
  return sum;
}

void TrialBook::count(const Trial& trial) {
  ++progress_.trials;
  if (trial.outcome != Outcome::kMeasured) ++progress_.rejected[trial.outcome];
  events_.measured(trial);
}

}  // namespace mha
