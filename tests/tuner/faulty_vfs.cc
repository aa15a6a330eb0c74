#include "tests/tuner/faulty_vfs.h"

#include <sqlite3.h>

#include <cstring>

namespace mha {
namespace {

struct File {
  sqlite3_file base;
  sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

sqlite3_file* real(sqlite3_file* file) { return reinterpret_cast<File*>(file)->real(); }
sqlite3_vfs* system_vfs() {
  static sqlite3_vfs* const vfs = sqlite3_vfs_find(nullptr);
  return vfs;
}

// 0, or what this operation is to fail with; `io` where it cannot be for lack of space.
int fault(int io, bool may_be_full) {
  Faults& f = faults();
  const int number = f.count++;
  const bool fails = f.after >= 0 && (f.forever ? number >= f.after : number == f.after);
  if (!fails) return SQLITE_OK;
  return f.code == SQLITE_FULL && may_be_full ? SQLITE_FULL : io;
}

int close_file(sqlite3_file* f) { return real(f)->pMethods->xClose(real(f)); }
int read_file(sqlite3_file* f, void* to, int size, sqlite3_int64 at) {
  return real(f)->pMethods->xRead(real(f), to, size, at);
}
int write_file(sqlite3_file* f, const void* from, int size, sqlite3_int64 at) {
  if (const int code = fault(SQLITE_IOERR_WRITE, true)) {
    // Half of it arrives, as on a disk that fills up.
    real(f)->pMethods->xWrite(real(f), from, size / 2, at);
    return code;
  }
  return real(f)->pMethods->xWrite(real(f), from, size, at);
}
int truncate_file(sqlite3_file* f, sqlite3_int64 size) {
  if (const int code = fault(SQLITE_IOERR_TRUNCATE, false)) return code;
  return real(f)->pMethods->xTruncate(real(f), size);
}
int sync_file(sqlite3_file* f, int flags) {
  if (const int code = fault(SQLITE_IOERR_FSYNC, false)) return code;
  return faults().sync ? real(f)->pMethods->xSync(real(f), flags) : SQLITE_OK;
}
int file_size(sqlite3_file* f, sqlite3_int64* size) {
  return real(f)->pMethods->xFileSize(real(f), size);
}
int lock_file(sqlite3_file* f, int level) { return real(f)->pMethods->xLock(real(f), level); }
int unlock_file(sqlite3_file* f, int level) { return real(f)->pMethods->xUnlock(real(f), level); }
int check_lock(sqlite3_file* f, int* result) {
  return real(f)->pMethods->xCheckReservedLock(real(f), result);
}
int control(sqlite3_file* f, int what, void* with) {
  return real(f)->pMethods->xFileControl(real(f), what, with);
}
int sector_size(sqlite3_file* f) { return real(f)->pMethods->xSectorSize(real(f)); }
int traits(sqlite3_file* f) { return real(f)->pMethods->xDeviceCharacteristics(real(f)); }

const sqlite3_io_methods kMethods = {1,         close_file,  read_file, write_file,  truncate_file,
                                     sync_file, file_size,   lock_file, unlock_file, check_lock,
                                     control,   sector_size, traits,    nullptr,     nullptr,
                                     nullptr,   nullptr,     nullptr,   nullptr};

int open_file(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out) {
  file->pMethods = nullptr;
  const bool made = (flags & SQLITE_OPEN_MAIN_JOURNAL) != 0 && (flags & SQLITE_OPEN_CREATE) != 0;
  if (made) {
    if (fault(SQLITE_CANTOPEN, false) != SQLITE_OK) return SQLITE_CANTOPEN;
  }
  const int code = system_vfs()->xOpen(system_vfs(), name, real(file), flags, out);
  if (code == SQLITE_OK) file->pMethods = &kMethods;
  return code;
}

int delete_file(sqlite3_vfs*, const char* name, int sync) {
  if (const int code = fault(SQLITE_IOERR_DELETE, false)) return code;
  return system_vfs()->xDelete(system_vfs(), name, faults().sync ? sync : 0);
}

}  // namespace

Faults& faults() {
  static Faults faults;
  return faults;
}

const char* faulty_vfs() {
  static constexpr char kName[] = "mha-faulty";
  static sqlite3_vfs vfs = [] {
    sqlite3_vfs made = *system_vfs();
    made.zName = kName;
    made.szOsFile = static_cast<int>(sizeof(File)) + system_vfs()->szOsFile;
    made.pNext = nullptr;
    made.xOpen = open_file;
    made.xDelete = delete_file;
    return made;
  }();
  if (sqlite3_vfs_find(kName) == nullptr) sqlite3_vfs_register(&vfs, 0);
  return kName;
}

}  // namespace mha
