// The tuner's memory: an SQLite file of trials and certificates. Rows are only ever added, each in
// a transaction of its own that is on disk before append() returns, so that a process may be killed
// at any moment and many may share a file.
#ifndef MHA_SCHEDULES_TUNER_DATABASE_H_
#define MHA_SCHEDULES_TUNER_DATABASE_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "schedules/tuner/race.h"
#include "schedules/tuner/trial.h"

namespace mha {

// A certified schedule of a whole kernel.
struct CertifiedSchedule {
  Schedule schedule;
  Certificate certificate;
};

class Database {
 public:
  // Opens the file, or makes it. UserError where that is no database of ours or cannot be written,
  // SystemError where the system fails (a full disk, I/O errors).
  explicit Database(const std::string& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // True when the row is new, false when another process had already measured that candidate.
  bool append(const Subject& subject, const Trial& trial);
  bool append(const Subject& subject, const CertifiedSchedule& winner);

  // Of this subject alone, in the order in which they were written.
  std::vector<Trial> trials(const Subject& subject) const;
  std::optional<Trial> find(const Subject& subject, const std::string& stage,
                            const std::string& candidate) const;
  // The one with the largest lower end of its interval.
  std::optional<CertifiedSchedule> best(const Subject& subject) const;
  std::vector<Subject> subjects() const;  // sorted

  // Adds the rows of another file that are not here yet. Commutative, associative, idempotent as to
  // the set of rows.
  void merge(const std::string& path);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_DATABASE_H_
