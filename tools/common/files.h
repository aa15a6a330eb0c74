// Files and folders that appear whole or not at all.
//
// Errors: a path that cannot be written (its parent is a file, it is a device, no permission) is
// the user's: UserError, and known before any work if check_output_file() or
// check_output_directory() is called first. A disk that fills up is the system's: SystemError, with
// nothing left behind.
#ifndef MHA_TOOLS_COMMON_FILES_H_
#define MHA_TOOLS_COMMON_FILES_H_

#include <map>
#include <span>
#include <string>
#include <string_view>

namespace mha {

// Throws UserError unless `path` is a regular file that can be opened: not a folder, device or
// pipe, nor a file without permission. SystemError when the system fails at it.
void check_input_file(const std::string& path);

// Throws UserError unless `path` is a regular file in a folder that can be written to, or nothing
// yet in such a folder. Writes nothing.
void check_output_file(const std::string& path);

// Writes the pieces one after the other into a temporary file in the folder of `path`, makes it
// durable and renames it to `path`. A symbolic link is followed: what it names is replaced, not the
// link.
void atomic_write_file(const std::string& path, std::span<const std::string_view> pieces);
void atomic_write_file(const std::string& path, std::string_view bytes);

// Throws UserError unless `path` is missing (and could be made: the nearest existing parent is a
// writable folder), or is an empty folder, or one that holds a file named `marker`: folders of
// another origin are never replaced.
void check_output_directory(const std::string& path, const std::string& marker);

// A folder in the making beside its final place. Fill path(), then publish(); a destructor without
// publish() removes all traces, parents that were made for it included.
class PendingDirectory {
 public:
  // Does what check_output_directory() does, then makes the temporary folder.
  PendingDirectory(const std::string& target, const std::string& marker);
  ~PendingDirectory();
  PendingDirectory(const PendingDirectory&) = delete;
  PendingDirectory& operator=(const PendingDirectory&) = delete;

  const std::string& path() const { return temporary_; }
  // Swaps it into place; an older folder at the target goes away as a whole.
  void publish();

 private:
  void remove_traces();

  std::string target_;
  std::string temporary_;
  std::string made_parent_;  // the outermost parent made here; empty: none
  std::string marker_;
  bool published_ = false;
};

// Makes `target` a folder of these files (name -> bytes), all at once; see check_output_directory()
// for `marker`.
void publish_directory(const std::string& target, const std::string& marker,
                       const std::map<std::string, std::string>& files);

// All bytes of a regular file (or pipe). UserError when it is missing or no file; SystemError when
// reading fails.
std::string read_file(const std::string& path);

}  // namespace mha

#endif  // MHA_TOOLS_COMMON_FILES_H_
