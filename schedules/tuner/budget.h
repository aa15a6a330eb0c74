// What is left of the time of a search, and what the finals and the certificate need of it.
#ifndef MHA_SCHEDULES_TUNER_BUDGET_H_
#define MHA_SCHEDULES_TUNER_BUDGET_H_

#include "schedules/tuner/incumbent.h"
#include "schedules/tuner/race.h"
#include "schedules/tuner/trial_book.h"
#include "schedules/tuner/tuner.h"

namespace mha {

// Seconds after which a call counts as hanging, where the best so far takes `best_seconds` (0: not
// known).
double call_limit(double best_seconds, const TunerOptions& options);

// All in seconds. Begins when it is made.
class Budget {
 public:
  Budget(const TunerOptions& options, const TunerClock& clock, const Incumbent& incumbent,
         const TrialBook& trials)
      : options_(options),
        clock_(clock),
        incumbent_(incumbent),
        trials_(trials),
        began_(clock.now()) {}

  double elapsed() const { return clock_.now() - began_; }
  double left() const { return options_.budget_seconds - elapsed(); }
  // What may be used now: the rest is for the finals, unless `finals` have begun, and for the
  // certificate. Not below 0.
  double free(bool finals) const;
  bool spent(bool finals) const;  // never where there is no limit

  // As many pairs as fit into its share.
  CertificateOptions certificate() const;

 private:
  double pair_seconds() const;   // of the certificate
  double final_seconds() const;  // of one candidate of the finals
  double reserve(bool finals) const;

  const TunerOptions& options_;
  const TunerClock& clock_;
  const Incumbent& incumbent_;
  const TrialBook& trials_;
  double began_;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_BUDGET_H_
