#include <filesystem>
#include <system_error>

#include "generator/emit/generate.h"

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
  // Beside the program alone: what lies elsewhere on the machine must not decide what is generated.
  const fs::path shipped = program.parent_path().parent_path() / "share" / "mha" / "records";
  if (!program.empty() && fs::is_directory(shipped, ignored)) {
    directories.push_back(shipped.string());
  }
  return directories;
}

}  // namespace mha
