// Two candidates against each other, in interleaved rounds.
#ifndef MHA_SCHEDULES_TUNER_RACE_H_
#define MHA_SCHEDULES_TUNER_RACE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "schedules/tuner/runner.h"

namespace mha {

struct RaceOptions {
  double slice_seconds = 0.003;  // of each of the two in a round
  int min_rounds = 4, max_rounds = 20;
  double confidence = 0.99;  // of the interval that decides
  double hopeless = 0.65;    // log loss at which a candidate is dropped after two rounds
  // A candidate that gains no more than this, by its interval, is dropped too.
  double indifferent = 0.002;
};

enum class Verdict { kFaster, kSlower, kUndecided };

// One stage's race.
struct RaceResult {
  Verdict verdict = Verdict::kUndecided;
  std::vector<double> seconds, against_seconds;  // rounds that counted
  int disturbed = 0;
  double log_gain = 0, half_width = 0;
  // The machine never got quiet. Where fewer than min_rounds rounds were, all of them are above;
  // other load hits both alike, so that it makes the interval wide rather than wrong.
  bool noisy = false;
};

// Races the stages with these indices. Losers are dropped at the first look that excludes a gain;
// others go on to max_rounds, so that what may become the incumbent is known well. The permitted
// error is shared out among the looks. Rounds that other load disturbed are repeated, up to as many
// again. The interval is about these two processes alone. Throws RunnerFailure when the candidate
// fails, std::runtime_error when the incumbent does.
std::vector<RaceResult> race(Runner& candidate, Runner& incumbent, const std::vector<int>& stages,
                             const RaceOptions& options);

struct CertificateOptions {
  double margin = 0.005;  // log gain that must be exceeded
  double error = 0.005;   // one-sided: how often "faster" may be said of what is not
  int min_pairs = 5, max_pairs = 24;
  int rounds = 12;  // of one pair of processes
  double slice_seconds = 0.002;
};

// The answer to "is it faster than the analytic default?", from samples of its own.
struct Certificate {
  bool faster = false;  // low > margin
  double margin = 0, error = 0;
  double low = 0, log_gain = 0, high = 0;  // interval of the log gain over the default
  // One a pair of fresh processes: the median over its rounds. Processes differ by where their
  // memory lies, which no number of rounds within one would show.
  std::vector<double> pair_log_gains;
  std::vector<double> seconds, default_seconds;  // one a pair: medians of whole calls
  int disturbed = 0;                             // rounds that were repeated
  std::string machine, generator, space, time;   // filled in by the tuner
};

// Pairs of fresh processes, until the interval of their mean exceeds the margin at one of a few
// looks that share the error, or the mean itself does not. Throws RunnerFailure when the candidate
// fails, std::runtime_error when the default does.
using Start = std::function<std::unique_ptr<Runner>()>;
Certificate certify(const Start& start_candidate, const Start& start_default,
                    const CertificateOptions& options);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_RACE_H_
