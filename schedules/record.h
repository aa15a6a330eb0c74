// Tuned records: schedules that were found by measurement, kept in a file for each target.
//
//   version: 1
//   target: zen5
//   records:
//     - key: "attention layout=bshd B=1 Lq=512 ..."
//       threads: 1
//       stages:
//         attention: {query_block: 64, key_block: 128, ...}
//       certificate:                # of those that mha-tune wrote
//         gain: 1.05
//         ...
//
// For a range of lengths, in place of `stages`, a list of up to kMaxVariants (lengths.h); with
// `stages` and a certificate for such a plan, shorter calls than were timed keep what for_longest()
// leaves them:
//
//       variants:
//         - {to: 64, stages: {attention: {query_block: 16, ...}}}
//         - {to: 512, stages: {attention: {query_block: 64, ...}}}
//
// A record serves the plans that have its key, and one thread count. find_record() (schedule.h)
// reads DIRECTORY/TARGET.yaml.
#ifndef MHA_SCHEDULES_RECORD_H_
#define MHA_SCHEDULES_RECORD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "schedules/lengths.h"
#include "schedules/schedule.h"

namespace mha {

// Everything in the plan that the generated code depends on, but its name: one line of printable
// ASCII without quotes or backslashes. Plans with equal keys are arranged alike.
std::string plan_key(const Plan& plan);

// The head of a file of records, up to and with the line `records:`.
std::string records_head(const std::string& target);

// One entry of `records`, indented to stand below records_head(); ends with a newline. With the
// certificate, if the schedule has one.
std::string record_text(const Plan& plan, const Schedule& schedule, int threads);
// The same for the plans of this key.
std::string record_text(const std::string& key, const Schedule& schedule, int threads);
// The same with a schedule for each range of lengths; the certificate is that of the first. As
// `variants`, also where there is only one.
std::string record_text(const std::string& key, const std::vector<LengthVariant>& variants,
                        int threads);

// Where a record stands in a file: these bytes, whole lines, with the comments above it.
struct RecordPlace {
  std::string key;
  int64_t threads = 0;
  std::string machine;  // of its certificate; empty: it has none, somebody wrote it by hand
  size_t begin = 0, end = 0;
};

// All records of `text`, the file `path` of this target, in its order. UserError where it is none,
// or where records share lines.
std::vector<RecordPlace> record_places(const std::string& path, const std::string& text,
                                       const std::string& target);

}  // namespace mha

#endif  // MHA_SCHEDULES_RECORD_H_
