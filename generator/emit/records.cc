#include <filesystem>
#include <system_error>

#include "generator/emit/generate.h"

// Where the source tree has its records; a fallback for tools that run from their build folder.
#ifndef MHA_SOURCE_RECORDS
#define MHA_SOURCE_RECORDS ""
#endif

namespace mha {
namespace fs = std::filesystem;

std::vector<std::string> record_directories(const std::string& config,
                                            const std::string& schedules_dir) {
  std::error_code ignored;
  if (!schedules_dir.empty()) {
    if (!fs::is_directory(schedules_dir, ignored)) {
      throw UserError("the records folder '" + schedules_dir + "' is not a folder");
    }
    return {schedules_dir};
  }
  std::vector<std::string> directories;
  const fs::path beside = fs::path(config).parent_path() / "mha-records";
  if (fs::is_directory(beside, ignored)) directories.push_back(beside.string());
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  const fs::path installed = program.parent_path().parent_path() / "share" / "mha" / "records";
  if (!program.empty() && fs::is_directory(installed, ignored)) {
    directories.push_back(installed.string());
  } else if (fs::is_directory(MHA_SOURCE_RECORDS, ignored)) {
    directories.push_back(MHA_SOURCE_RECORDS);
  }
  return directories;
}

}  // namespace mha
