// Tuning for a range of lengths: a search at each of a few lengths, the table of what their winners
// take at all the others, the variants chosen from it, and a certificate for each length at which
// they are not the default's.
#ifndef MHA_SCHEDULES_TUNER_RANGES_H_
#define MHA_SCHEDULES_TUNER_RANGES_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "schedules/tuner/tuner.h"
#include "schedules/tuner/variants.h"

namespace mha {

struct RangesProblem {
  const Plan& plan;
  const Machine& machine;
  // Where calls of so many queries are timed. The labs run the same programs: what one of them has
  // built, all can start.
  std::function<std::unique_ptr<Lab>(int64_t query_length)> lab;
  std::function<Subject(int64_t query_length)> subject;  // what trials there are about
  std::vector<Schedule> seeds;
};

struct RangesOptions {
  TunerOptions tuner;            // its budget and trials are those of all lengths together
  size_t samples = 5;            // lengths
  size_t most = kTunedVariants;  // variants
  int rounds = 15;               // of the table; in each every candidate has a slice
  double slack = 0.01;           // of RangeOptions: losses that are noise
  double share = 0.7;            // of the budget that the searches get at most
};

struct RangesResult {
  // Certified, or the analytic default.
  std::vector<LengthVariant> variants;
  bool certified = false;
  std::map<int64_t, TunerResult> searches;  // by length
  Progress progress;                        // of all of them
  LengthTable table;
  ChosenRanges chosen;
  // By length: all questions that were asked, and the answers that count, which are those of the
  // lengths at which `variants` are not the default's.
  std::map<int64_t, Certificate> asked, certificates;
  bool stopped = false;
  std::string note;  // why the default stays, or which lengths keep it
};

// Wherever the variants are not the default's, fresh samples say that they are faster by the
// margin; the error is shared among the lengths. A length at which they do not keeps the default.
// Throws what tune() throws.
RangesResult tune_ranges(const RangesProblem& problem, Database& database,
                         const RangesOptions& options, TunerEvents& events,
                         const TunerClock& clock = system_clock());

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_RANGES_H_
