// Where a schedule of a record comes from, and what was measured when it was chosen.
#ifndef MHA_SCHEDULES_PROVENANCE_H_
#define MHA_SCHEDULES_PROVENANCE_H_

#include <string>
#include <vector>

namespace mha {

// The map `certificate` of a record: the answer to "is it faster than the analytic default?". Gains
// are how many times as fast: 1.05 is 5 % faster.
struct RecordCertificate {
  double gain = 0;
  double low = 0, high = 0;                      // the interval of the gain
  double margin = 0;                             // that `low` is above
  double error = 0;                              // how often `low` may be above the true gain
  std::vector<double> pair_gains;                // one a pair of fresh processes
  std::vector<double> seconds, default_seconds;  // of a call, one a pair
  int disturbed = 0;                             // rounds that other load disturbed, repeated
  std::string lengths;                           // of the call: "B=1 Lq=512 Lk=512"
  std::string machine;    // that measured: Fingerprint::text() (schedules/tuner/fingerprint.h)
  std::string generator;  // "mha-gen 0.1.0"
  std::string space;      // space_signature() of that time
  std::string time;       // UTC, "2026-01-31T12:00:00Z"
  bool operator==(const RecordCertificate&) const = default;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_PROVENANCE_H_
