// What a search measures, and what is kept of it.
#ifndef MHA_SCHEDULES_TUNER_TRIAL_H_
#define MHA_SCHEDULES_TUNER_TRIAL_H_

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "schedules/schedule.h"

namespace mha {

// What a search is about. Trials are comparable within one subject and never across two.
struct Subject {
  std::string spec;       // plan_key()
  std::string lengths;    // of the calls that are timed: "B=1 Lq=512 Lk=512"
  std::string target;     // that code is generated for: "zen4"
  std::string machine;    // Fingerprint::text() of the machine that measures
  int threads = 1;        // of the calls
  std::string generator;  // generator_version()
  std::string space;      // space_signature()
  auto operator<=>(const Subject&) const = default;
};

// How a trial ended: measured, or rejected for one of these causes.
enum class Outcome {
  kMeasured,
  kPruned,       // the static model is sure that it loses; never built
  kSpill,        // its hot loop spills registers
  kBuild,        // it does not generate, compile or link
  kWrong,        // further from the float64 reference than the bound allows
  kOutOfBounds,  // it touched a guard page or a canary
  kCrash,        // it ended by any other signal, or with a status of its own
  kHang,         // it took longer than its limit
  kMemory,       // it asked for more memory than its limit
};
const char* outcome_name(Outcome outcome);  // "measured", "pruned", "spill", ...
// The other way round. Throws std::out_of_range.
Outcome outcome_of(const std::string& name);

// A schedule to be tried: of every stage of a plan, one of which may be arranged by one of Halide's
// own autoschedulers instead ("mullapudi2016", "adams2019").
struct Candidate {
  Schedule schedule;
  std::string autoscheduler;  // of the stage attention; empty: none
};

// "query_block=64 key_block=128 ...": a stage's parameters in the order of stage_space().
std::string candidate_text(const StageSchedule& stage);

// One stage's candidate, measured once. Rows of the database; never changed once written.
struct Trial {
  std::string stage;      // "attention", "project_out", ...
  std::string candidate;  // candidate_text(), or "autoscheduler=NAME"
  Outcome outcome = Outcome::kMeasured;
  std::string detail;  // of a rejection: one line on what happened
  // The race (measured trials only): seconds of a call of this stage in each round that counted,
  // beside those of the incumbent in the same round.
  std::string against;  // the incumbent's candidate_text()
  std::vector<double> seconds, against_seconds;
  int disturbed = 0;      // rounds that did not count
  double log_gain = 0;    // log(against / this): more than 0 is faster; the middle of its interval
  double half_width = 0;  // of that interval
  double score = 0;       // log gain over the analytic default: the incumbent's score + log_gain
  std::string strategy;   // who proposed it
  uint64_t seed = 0;
  int64_t index = 0;  // the how manieth proposal for this stage it was, from 0
  std::string time;   // UTC, "2026-01-31T12:00:00Z"
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_TRIAL_H_
