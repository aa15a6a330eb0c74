// A file system for SQLite that fails when it is told to: the system's own, with a counter before
// every operation that changes something.
#ifndef MHA_TESTS_TUNER_FAULTY_VFS_H_
#define MHA_TESTS_TUNER_FAULTY_VFS_H_

namespace mha {

struct Faults {
  int after = -1;       // so many operations succeed, then one fails; -1: none fails
  bool forever = true;  // and all those that follow it
  int code = 0;         // SQLITE_FULL or SQLITE_IOERR; deleting and syncing never say "full"
  bool sync = true;     // false: nothing is made durable, for tests that write much
  int count = 0;        // operations so far
};

// Of the whole process.
Faults& faults();

// The name to give to Database; registered on the first call.
const char* faulty_vfs();

}  // namespace mha

#endif  // MHA_TESTS_TUNER_FAULTY_VFS_H_
