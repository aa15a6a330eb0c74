// The tuner's memory: an SQLite file of trials and certificates. Rows are only ever added, each in
// a transaction of its own that is on disk before append() returns, so that a process may be killed
// at any moment and many may share a file.
//
// A row is identified by its content, all of it, so that merging two files is the union of two
// sets. Two files may hold different measurements of one candidate: both rows are kept, and all
// who ask are shown the earlier one (of equal times, the one with the smaller identity). Doubles
// come back as they were, but that -0 may come back as 0.
#ifndef MHA_SCHEDULES_TUNER_DATABASE_H_
#define MHA_SCHEDULES_TUNER_DATABASE_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "schedules/lengths.h"
#include "schedules/tuner/race.h"
#include "schedules/tuner/trial.h"

namespace mha {

// A certified schedule of a whole kernel.
struct CertifiedSchedule {
  Schedule schedule;
  Certificate certificate;
};

// What a range of lengths got: the subject is that of the longest calls.
struct CertifiedVariants {
  std::vector<LengthVariant> variants;
  std::string lengths;      // of the calls that the certificate is about
  Certificate certificate;  // of all that were asked for, the one that promises least
};

class Database {
 public:
  // Opens the file, or makes it. UserError where that is no database of ours or cannot be written,
  // SystemError where the system fails (a full disk, I/O errors), here and in all that follows. A
  // failed call leaves the file as it was. `vfs` names one of SQLite's file systems, for tests.
  explicit Database(const std::string& path, const char* vfs = nullptr);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // True when the row is new, false when another process had already measured that candidate (then
  // nothing is written).
  bool append(const Subject& subject, const Trial& trial);
  // False when this very certificate is there already.
  bool append(const Subject& subject, const CertifiedSchedule& certified);

  // False when they are there already.
  bool append(const Subject& subject, const CertifiedVariants& certified);

  // Of this subject alone, in the order in which they were written; each candidate once.
  std::vector<Trial> trials(const Subject& subject) const;
  std::optional<Trial> find(const Subject& subject, const std::string& stage,
                            const std::string& candidate) const;
  // Of those that are faster, the one with the largest lower end of its interval.
  std::optional<CertifiedSchedule> best(const Subject& subject) const;
  // All of them, also those that were found not to be faster, in the order in which they were
  // written: a question that was answered is not asked again until the answer pleases.
  std::vector<CertifiedSchedule> certificates(const Subject& subject) const;
  // What a range of lengths got at last, by the time of the certificate.
  std::optional<CertifiedVariants> variants(const Subject& subject) const;
  std::vector<Subject> subjects() const;  // sorted

  // Adds the rows of another file that are not here yet, all of them or (when it throws) none.
  // Commutative, associative, idempotent as to the set of rows.
  void merge(const std::string& path);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_DATABASE_H_
