// The trials of one search: looked up before anything is measured, stored and counted as they come.
#ifndef MHA_SCHEDULES_TUNER_TRIAL_BOOK_H_
#define MHA_SCHEDULES_TUNER_TRIAL_BOOK_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "schedules/tuner/database.h"
#include "schedules/tuner/tuner.h"

namespace mha {

class TrialBook {
 public:
  TrialBook(Database& database, const Subject& subject, const TunerOptions& options,
            TunerEvents& events, const TunerClock& clock)
      : database_(database), subject_(subject), options_(options), events_(events), clock_(clock) {}

  // The stored answer, which counts as remembered.
  std::optional<Trial> remembered(const std::string& stage, const std::string& text);
  // Stores an answer and returns the one that counts, which is another process's where that was
  // faster. Those of autoschedulers are no schedule: `text` is what the database calls them.
  Trial store(const std::string& stage, const std::string& text, int64_t index, Trial trial);
  // The same of a final; these do not count as trials.
  std::optional<Trial> remembered_final(const std::string& stage, const std::string& text) const;
  Trial store_final(const std::string& stage, const std::string& text, int64_t index, Trial trial);

  // The stages of the default in seconds: the zero of all scores. Stored as trials too.
  void remember_default(const Schedule& schedule);
  void store_default(const StageSchedule& stage, const std::vector<double>& seconds);
  const std::map<std::string, double>& default_seconds() const { return seconds_; }
  double whole_seconds() const;

  // `trials`, `remembered` and `rejected` are kept here.
  Progress& progress() { return progress_; }
  const Progress& progress() const { return progress_; }

 private:
  Trial stored(Trial trial);
  void count(const Trial& trial);

  Database& database_;
  const Subject& subject_;
  const TunerOptions& options_;
  TunerEvents& events_;
  const TunerClock& clock_;
  std::map<std::string, double> seconds_;
  Progress progress_;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_TRIAL_BOOK_H_
