// The labs of all sampled lengths, and how long things take there.
#ifndef MHA_SCHEDULES_TUNER_LENGTH_LABS_H_
#define MHA_SCHEDULES_TUNER_LENGTH_LABS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "schedules/tuner/budget.h"
#include "schedules/tuner/ranges.h"
#include "schedules/tuner/timed_lab.h"

namespace mha {

class LengthLabs {
 public:
  LengthLabs(const RangesProblem& problem, const std::vector<int64_t>& lengths,
             const RangesOptions& options, const TunerClock& clock);

  size_t size() const { return lengths_.size(); }
  int64_t length(size_t l) const { return lengths_[l]; }
  Lab& lab(size_t l) { return *labs_[l]; }
  const Subject& subject(size_t l) const { return subjects_[l]; }
  std::string text(size_t l) const;  // "64 queries (3 of 5)"

  // Of a call of the default, once the search at that length has timed it. The others are guessed
  // from the longest.
  void set_call_seconds(size_t l, double seconds) { call_seconds_[l] = seconds; }
  double call_seconds(size_t l) const;
  double limit(size_t l) const { return call_limit(call_seconds(l), options_.tuner); }

  double build_seconds() const;
  double cell_seconds(size_t l) const;  // of one candidate of the table
  double row_seconds() const;           // of its build and of all its cells
  double pair_seconds(size_t l) const;  // of a certificate
  // For the certificates of all lengths, if each gets so many pairs.
  double certificates_seconds(int pairs) const;

 private:
  double start_seconds(size_t l) const;

  const RangesOptions& options_;
  std::vector<int64_t> lengths_;
  std::vector<std::unique_ptr<TimedLab>> labs_;
  std::vector<Subject> subjects_;
  std::map<size_t, double> call_seconds_;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_LENGTH_LABS_H_
