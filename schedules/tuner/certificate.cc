#include <algorithm>
#include <stdexcept>
#include <string>

#include "generator/spec/error.h"
#include "schedules/tuner/race.h"
#include "schedules/tuner/rounds.h"
#include "schedules/tuner/statistics.h"

namespace mha {
namespace {

std::unique_ptr<Runner> start_incumbent(const Start& start) {
  try {
    return start();
  } catch (const RunnerFailure& failure) {
    throw std::runtime_error(std::string("the default does not start: ") +
                             outcome_name(failure.outcome()) + ": " + failure.what());
  }
}

// What one pair of processes says.
void add_pair(Runner& candidate, Runner& incumbent, const CertificateOptions& options,
              Certificate& certificate) {
  const int pair = static_cast<int>(certificate.pair_log_gains.size());
  Rounds rounds(candidate, incumbent, Rounds::Of::kWhole, options.slice_seconds,
                pair * options.rounds);
  std::vector<int> counted;
  while (static_cast<int>(counted.size()) < options.rounds && rounds.size() < 2 * options.rounds) {
    rounds.run();
    counted = rounds.counted(0);
  }
  certificate.disturbed += rounds.size() - static_cast<int>(counted.size());
  if (2 * static_cast<int>(counted.size()) < options.rounds) {
    counted = rounds.all();  // it never gets quiet: the median of many rounds instead of a few
  }
  std::vector<double> gains, seconds, default_seconds;
  for (const int round : counted) {
    gains.push_back(rounds.log_gain(round, 0));
    seconds.push_back(rounds.seconds(round, 0));
    default_seconds.push_back(rounds.against(round, 0));
  }
  certificate.pair_log_gains.push_back(median(gains));
  certificate.seconds.push_back(median(seconds));
  certificate.default_seconds.push_back(median(default_seconds));
}

}  // namespace

Certificate certify(const Start& start_candidate, const Start& start_default,
                    const CertificateOptions& options) {
  if (options.min_pairs < 2 || options.max_pairs < options.min_pairs || options.rounds < 1) {
    throw InternalError("a certificate of so few samples");
  }
  Certificate certificate;
  certificate.margin = options.margin;
  certificate.error = options.error;
  const std::vector<int> looks = look_schedule(options.min_pairs, options.max_pairs);
  const double tail = options.error / static_cast<double>(looks.size());
  for (const int look : looks) {
    for (int pair = static_cast<int>(certificate.pair_log_gains.size()); pair < look; ++pair) {
      // Who starts first alternates, because it may decide about memory.
      std::unique_ptr<Runner> incumbent;
      if (pair % 2 != 0) {
        incumbent = start_incumbent(start_default);
      }
      const std::unique_ptr<Runner> candidate = start_candidate();
      if (!incumbent) {
        incumbent = start_incumbent(start_default);
      }
      add_pair(*candidate, *incumbent, options, certificate);
    }
    const Interval interval = trimmed_interval(certificate.pair_log_gains, tail);
    certificate.low = interval.low();
    certificate.log_gain = interval.middle;
    certificate.high = interval.high();
    certificate.faster = interval.low() > options.margin;
    // To stop for want of hope makes no false win.
    if (certificate.faster || interval.middle <= options.margin) {
      break;
    }
  }
  return certificate;
}

}  // namespace mha
