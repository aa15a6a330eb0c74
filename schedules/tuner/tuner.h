// The tuner: proposals in, a schedule out that is certified to be faster than the default, or the
// default. Nothing is measured that the database knows, and nothing measured is lost.
#ifndef MHA_SCHEDULES_TUNER_TUNER_H_
#define MHA_SCHEDULES_TUNER_TUNER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "schedules/tuner/database.h"
#include "schedules/tuner/race.h"
#include "schedules/tuner/runner.h"
#include "schedules/tuner/strategy.h"
#include "schedules/tuner/trial.h"
#include "schedules/tuner/tuner_clock.h"

namespace mha {

struct TunerProblem {
  const Plan& plan;
  const Machine& machine;
  Subject subject;
  std::vector<Schedule> seeds;  // of records of neighbouring shapes, best first
  // By stage, as StageProblem has it. With any, stages that are not named are not searched.
  std::map<std::string, std::vector<std::pair<std::string, std::vector<int64_t>>>> subspaces = {};
  // The default, where it is not default_schedule(): that of calls of some lengths.
  std::optional<Schedule> start = std::nullopt;
};

struct TunerOptions {
  std::string strategy = "evolution";  // of strategy_names(), or an autoscheduler of Halide's
  uint64_t seed = 0;
  double budget_seconds = 0;  // all in all; 0: no limit
  int64_t trials = 0;         // of each stage; 0: no limit
  int batch = 6;              // candidates that are built together
  double first_limit = 60;    // seconds that a call of the default may take
  // A survey of the space rather than a search: nothing is left out by the model, all is raced
  // against the default, and nothing certified.
  bool survey = false;
  bool certify = true;  // false: the best is left to the caller to certify
  RaceOptions race;
  // Of the few best at the end, whose winner is certified.
  RaceOptions final_race = {.min_rounds = 12, .max_rounds = 32};
  CertificateOptions certificate;
};

struct Progress {
  enum class Phase { kStarting, kBuilding, kRacing, kComparing, kCertifying };
  Phase phase = Phase::kStarting;
  std::string part;        // of more than one search: "64 queries (3 of 5)"
  double log_gain = 0;     // of the best so far over the default, the whole call, roughly
  double seconds = 0;      // of a call of the default; 0: not known
  int64_t trials = 0;      // that have an answer, of all stages
  int64_t remembered = 0;  // of them read from the database
  std::map<Outcome, int64_t> rejected;
  double elapsed_seconds = 0;
  std::optional<double> seconds_left;  // of the budget
};

// What the tuner tells while it works. All are called from its thread.
class TunerEvents {
 public:
  virtual ~TunerEvents() = default;
  virtual void progress(const Progress&) {}
  virtual void measured(const Trial&) {}  // and stored, or read from the database
  virtual bool stop() { return false; }   // asked between measurements
};

struct TunerResult {
  Schedule schedule;  // the certified winner, or the default
  std::optional<CertifiedSchedule> certified;
  Schedule best;                           // of the search, certified or not
  std::optional<Certificate> certificate;  // of `best`, when it was asked for
  Progress progress;
  std::map<std::string, double> scores;  // log gain of each stage's best
  bool stopped = false;                  // by TunerEvents::stop()
  std::string note;                      // why there is no winner
};

// "mullapudi2016", "adams2019": they arrange the stage attention; one candidate each.
const std::vector<std::string>& autoscheduler_names();

// Throws SystemError when even the default cannot be measured, and what the lab and the database
// throw.
TunerResult tune(const TunerProblem& problem, Lab& lab, Database& database,
                 const TunerOptions& options, TunerEvents& events,
                 const TunerClock& clock = system_clock());

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_TUNER_H_
