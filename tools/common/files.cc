#include "tools/common/files.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "generator/spec/error.h"

namespace mha {
namespace {

namespace fs = std::filesystem;

// Whether the user chose a place that cannot work, as against a system that failed while working.
bool is_users_fault(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ETXTBSY:
      return true;
    default:
      return false;
  }
}

[[noreturn]] void fail(const std::string& what, const std::string& path, int error) {
  std::string message = what + " '" + path + "': " + std::strerror(error);
  if (is_users_fault(error)) throw UserError(message);
  throw SystemError(message);
}

std::string parent_of(const std::string& path) {
  std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "no regular file";
}

// What a symbolic link names, all links followed; any other path unchanged.
std::string follow_links(const std::string& path) {
  struct stat link;
  if (lstat(path.c_str(), &link) != 0 || !S_ISLNK(link.st_mode)) return path;
  std::error_code error;
  fs::path real = fs::canonical(path, error);
  if (error) throw UserError("cannot write '" + path + "': a symbolic link that leads nowhere");
  return real.string();
}

void check_folder(const std::string& folder, const std::string& path) {
  struct stat info;
  if (stat(folder.c_str(), &info) != 0) {
    int error = errno;
    if (error == ENOENT) {
      throw UserError("cannot write '" + path + "': there is no folder '" + folder + "'");
    }
    if (error == ENOTDIR) {
      throw UserError("cannot write '" + path + "': a part of its path is a file, not a folder");
    }
    fail("cannot write", path, error);
  }
  if (!S_ISDIR(info.st_mode)) {
    throw UserError("cannot write '" + path + "': '" + folder + "' is not a folder");
  }
  if (access(folder.c_str(), W_OK | X_OK) != 0) fail("cannot write into the folder", folder, errno);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int close() {
    int fd = fd_;
    fd_ = -1;
    return ::close(fd);
  }

 private:
  int fd_;
};

void sync_folder(const std::string& folder) {
  Descriptor fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot sync a folder; the rename itself has been done by then.
  if (fd.get() >= 0) fsync(fd.get());
}

mode_t new_file_mode() {
  mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

}  // namespace

void check_input_file(const std::string& path) {
  // Not blocking, so that a pipe is refused instead of waited for.
  Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const int error = errno;
  struct stat info;
  // A socket, or a device without a driver, cannot even be opened.
  const bool known = fd.get() >= 0 ? fstat(fd.get(), &info) == 0 : stat(path.c_str(), &info) == 0;
  if (known && !S_ISREG(info.st_mode)) {
    throw UserError("cannot read '" + path + "': it is " + kind_of(info.st_mode));
  }
  if (fd.get() < 0) fail("cannot read", path, error);
  if (!known) fail("cannot read", path, errno);
}

void check_output_file(const std::string& path) {
  if (path.empty()) throw UserError("an output path is empty");
  std::string real = follow_links(path);
  struct stat info;
  if (stat(real.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode)) {
      throw UserError("cannot write '" + path + "': it is " + kind_of(info.st_mode));
    }
    if (access(real.c_str(), W_OK) != 0) fail("cannot write", path, errno);
  } else if (errno != ENOENT && errno != ENOTDIR) {
    fail("cannot write", path, errno);
  } else if (real.back() == '/') {
    throw UserError("cannot write '" + path + "': it names a folder");
  }
  check_folder(parent_of(real), path);
}

void atomic_write_file(const std::string& path, std::span<const std::string_view> pieces) {
  check_output_file(path);
  std::string real = follow_links(path);
  std::string folder = parent_of(real);
  std::string temporary = folder + "/.mha-XXXXXX";
  Descriptor fd(mkostemp(temporary.data(), O_CLOEXEC));
  if (fd.get() < 0) fail("cannot write into the folder", folder, errno);

  auto give_up = [&](int error) {
    unlink(temporary.c_str());
    fail("cannot write", path, error);
  };
  struct stat old;
  mode_t mode = stat(real.c_str(), &old) == 0 ? (old.st_mode & 07777) : new_file_mode();
  if (fchmod(fd.get(), mode) != 0) give_up(errno);
  for (std::string_view piece : pieces) {
    while (!piece.empty()) {
      ssize_t n = ::write(fd.get(), piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) give_up(errno);
      piece.remove_prefix(static_cast<size_t>(n));
    }
  }
  if (fsync(fd.get()) != 0 && errno != EINVAL) give_up(errno);
  if (fd.close() != 0) give_up(errno);
  if (rename(temporary.c_str(), real.c_str()) != 0) give_up(errno);
  sync_folder(folder);
}

void atomic_write_file(const std::string& path, std::string_view bytes) {
  atomic_write_file(path, std::span<const std::string_view>(&bytes, 1));
}

void check_output_directory(const std::string& path, const std::string& marker) {
  if (path.empty()) throw UserError("an output path is empty");
  struct stat info;
  if (stat(path.c_str(), &info) == 0) {
    if (!S_ISDIR(info.st_mode)) {
      throw UserError("cannot write the folder '" + path + "': it is " +
                      (S_ISREG(info.st_mode) ? "a file" : kind_of(info.st_mode)));
    }
    std::error_code error;
    bool empty = fs::is_empty(path, error);
    if (error) fail("cannot read the folder", path, error.value());
    if (!empty && !fs::is_regular_file(path + "/" + marker, error)) {
      throw UserError("will not replace the folder '" + path + "': it is not empty and holds no " +
                      marker + ", so mha did not make it");
    }
  } else if (errno != ENOENT && errno != ENOTDIR) {
    fail("cannot write the folder", path, errno);
  }
  std::string parent = parent_of(path);
  while (true) {
    if (stat(parent.c_str(), &info) == 0 || errno == ENOTDIR) break;
    if (errno != ENOENT) fail("cannot write the folder", path, errno);
    // A dangling link stands in the way of making the folder it names.
    if (lstat(parent.c_str(), &info) == 0) break;
    std::string next = parent_of(parent);
    if (next == parent) break;
    parent = next;
  }
  check_folder(parent, path);
}

PendingDirectory::PendingDirectory(const std::string& target, const std::string& marker)
    : target_(target), marker_(marker) {
  while (target_.size() > 1 && target_.back() == '/') target_.pop_back();
  check_output_directory(target_, marker_);
  std::error_code error;
  if (fs::is_symlink(fs::symlink_status(target_, error))) {
    target_ = fs::canonical(target_).string();
  }
  std::string parent = parent_of(target_);
  std::vector<std::string> missing;
  for (std::string p = parent; !fs::exists(p, error); p = parent_of(p)) missing.push_back(p);
  try {
    for (size_t i = missing.size(); i-- > 0;) {
      // Two tools may make the same parent at the same time; the one that did not make it leaves it
      // alone.
      if (mkdir(missing[i].c_str(), 0777) == 0) {
        if (made_parent_.empty()) made_parent_ = missing[i];
      } else if (errno != EEXIST) {
        fail("cannot make the folder", missing[i], errno);
      }
    }
    temporary_ = parent + "/.mha-XXXXXX";
    if (mkdtemp(temporary_.data()) == nullptr) {
      int failure = errno;
      temporary_.clear();
      fail("cannot write into the folder", parent, failure);
    }
    mode_t mask = umask(0);
    umask(mask);
    chmod(temporary_.c_str(), 0777 & ~mask);
  } catch (...) {
    remove_traces();
    throw;
  }
}

PendingDirectory::~PendingDirectory() { remove_traces(); }

void PendingDirectory::remove_traces() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  if (published_ || made_parent_.empty()) return;
  // Only what is still empty: another tool may have begun to use it.
  std::string parent = parent_of(target_);
  while (rmdir(parent.c_str()) == 0 && parent != made_parent_) parent = parent_of(parent);
}

void PendingDirectory::publish() {
  // Every file has to be on the disk before the name that promises it.
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(temporary_, error)) {
    if (!entry.is_regular_file(error)) continue;
    Descriptor fd(open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0 || (fsync(fd.get()) != 0 && errno != EINVAL)) {
      fail("cannot write", entry.path().string(), errno);
    }
  }
  sync_folder(temporary_);
  for (int attempt = 0;; ++attempt) {
    if (renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_NOREPLACE) == 0) {
      temporary_.clear();
      break;
    }
    int no_replace = errno;
    if (no_replace == EEXIST) {
      // It may have appeared since the constructor looked.
      check_output_directory(target_, marker_);
      if (renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) ==
          0) {
        break;  // temporary_ now is the old folder; the destructor removes it
      }
    }
    if (no_replace != EEXIST || errno == EINVAL || errno == ENOSYS) {
      // A file system without these flags: move the old folder away, then the new one in.
      std::string old = temporary_ + ".old";
      bool had_old = rename(target_.c_str(), old.c_str()) == 0;
      if (rename(temporary_.c_str(), target_.c_str()) != 0) {
        int failure = errno;
        if (had_old) rename(old.c_str(), target_.c_str());
        fail("cannot write the folder", target_, failure);
      }
      temporary_ = had_old ? old : "";
      break;
    }
    // Lost a race against a tool that removed or made it: look again, a few times.
    if (errno != ENOENT || attempt == 8) fail("cannot write the folder", target_, errno);
  }
  published_ = true;
  sync_folder(parent_of(target_));
}

void publish_directory(const std::string& target, const std::string& marker,
                       const std::map<std::string, std::string>& files) {
  PendingDirectory pending(target, marker);
  for (const auto& [name, bytes] : files) atomic_write_file(pending.path() + "/" + name, bytes);
  pending.publish();
}

std::string read_file(const std::string& path) {
  Descriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) fail("cannot read", path, errno);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) fail("cannot read", path, errno);
  if (S_ISDIR(info.st_mode)) throw UserError("cannot read '" + path + "': it is a folder");
  std::string bytes;
  if (S_ISREG(info.st_mode)) bytes.reserve(static_cast<size_t>(info.st_size));
  char buffer[1 << 16];
  while (true) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot read", path, errno);
    if (n == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(n));
  }
}

}  // namespace mha
