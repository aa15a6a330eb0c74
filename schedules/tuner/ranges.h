// Tuning for a range of lengths: a search at each of a few lengths, the table of what their winners
// take at all the others, the variants chosen from it, and a certificate for what comes out.
#ifndef MHA_SCHEDULES_TUNER_RANGES_H_
#define MHA_SCHEDULES_TUNER_RANGES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "schedules/tuner/tuner.h"
#include "schedules/tuner/variants.h"

namespace mha {

struct RangesProblem {
  const Plan& plan;
  const Machine& machine;
  // Where calls of so many queries are timed, and what such trials are about.
  std::function<std::unique_ptr<Lab>(int64_t query_length)> lab;
  std::function<Subject(int64_t query_length)> subject;
  std::vector<Schedule> seeds;
};

struct RangesOptions {
  TunerOptions tuner;    // its budget and trials are those of all searches together
  size_t samples = 5;    // lengths
  int rounds = 15;       // of the table; in each every candidate has a slice at every length
  double slack = 0.01;   // of RangeOptions: losses that are noise
  double slower = 0.01;  // log loss against the default that a length must be shown not to have
  double share = 0.7;    // of the budget that the searches get
};

struct RangesResult {
  // Certified, or the analytic default.
  std::vector<LengthVariant> variants;
  bool certified = false;
  LengthTable table;
  ChosenRanges chosen;
  // One a length of the table at which the choice is not the default's own schedule.
  std::vector<int64_t> certified_lengths;
  std::vector<Certificate> certificates;
  std::string note;  // why the default stays
};

// The variants become the result only if no sampled length is slower than with the default and one
// is faster by the margin; the error is shared among the lengths. Throws what tune() throws.
RangesResult tune_ranges(const RangesProblem& problem, Database& database,
                         const RangesOptions& options, TunerEvents& events,
                         const TunerClock& clock = system_clock());

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_RANGES_H_
