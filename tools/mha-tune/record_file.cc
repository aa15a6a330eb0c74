#include "tools/mha-tune/record_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "generator/spec/error.h"
#include "tools/common/files.h"

namespace mha {

namespace fs = std::filesystem;

std::string record_path(const std::string& config, const std::string& schedules,
                        const std::string& target) {
  const fs::path folder =
      schedules.empty() ? fs::path(config).parent_path() / "mha-records" : fs::path(schedules);
  std::error_code ignored;
  const std::string path = (folder / (target + ".yaml")).string();
  if (fs::exists(folder, ignored)) {
    check_output_file(path);
    return path;
  }
  fs::path parent = folder.parent_path();
  if (parent.empty()) parent = ".";
  if (!schedules.empty()) throw UserError("--schedules: '" + schedules + "' is not a folder");
  if (access(parent.c_str(), W_OK) != 0) {
    throw UserError("'" + folder.string() + "' cannot be made: " + std::strerror(errno));
  }
  return path;
}

Exported write_records(const std::string& path, const std::vector<NewRecord>& records,
                       const ExportOptions& options) {
  std::error_code error;
  const std::string existing = fs::exists(path, error) ? read_file(path) : "";
  Exported exported = merge_records(path, existing, records, options);
  if (exported.text == existing) return exported;
  fs::create_directories(fs::path(path).parent_path(), error);
  if (error) throw SystemError("'" + path + "': " + error.message());
  atomic_write_file(path, exported.text);
  return exported;
}

}  // namespace mha
