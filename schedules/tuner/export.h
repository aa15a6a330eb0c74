// From the database to files of records.
#ifndef MHA_SCHEDULES_TUNER_EXPORT_H_
#define MHA_SCHEDULES_TUNER_EXPORT_H_

#include <string>
#include <vector>

#include "schedules/tuner/database.h"

namespace mha {

// A record that is to stand in a file.
struct NewRecord {
  std::string key;  // plan_key()
  int threads = 1;
  std::string text;  // record_text()
};

// The schedule with its certificate as a record has it. UserError when it is not faster or was
// measured on another machine than `machine`, whose name the message tells.
Schedule record_schedule(const Subject& subject, const CertifiedSchedule& certified,
                         const std::string& machine);
// Its record, for all lengths of its plans.
NewRecord new_record(const Subject& subject, const CertifiedSchedule& certified,
                     const std::string& machine);

// What a range of lengths got; each variant with the one certificate.
NewRecord new_record(const Subject& longest, const CertifiedVariants& certified,
                     const std::string& machine);

struct ExportOptions {
  std::string target;   // the file is TARGET.yaml
  std::string machine;  // whose records these are
  // Certified records of other machines in the file give way too; otherwise they are kept.
  bool over_others = false;
};

struct Exported {
  std::string text;  // of the whole file
  int added = 0, replaced = 0;
  std::vector<std::string> kept;  // one line for each new record that gave way, and why
};

// `existing` is the text of the file `path`, empty where there is none. Records of the same key and
// thread count are replaced; all others stay as they are, with their comments, and so do those that
// somebody wrote by hand (without a certificate). Sorted by key, then threads: the same records
// give the same text. UserError where the file holds no records of this target.
Exported merge_records(const std::string& path, const std::string& existing,
                       const std::vector<NewRecord>& records, const ExportOptions& options);

// The best certified schedules in the database of this target, machine, generator and space, one a
// key and thread count (of several lengths, the longest); of plans for a range of lengths what was
// chosen last. UserError, with the names of the machines that there are, when this one has none but
// others do.
std::vector<NewRecord> certified_records(const Database& database, const std::string& target,
                                         const std::string& machine, const std::string& generator,
                                         const std::string& space);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_EXPORT_H_
