#include "tools/mha-tune/record_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <utility>

#include "generator/spec/error.h"
#include "schedules/record.h"
#include "tools/common/files.h"

namespace mha {
namespace {

namespace fs = std::filesystem;

constexpr char kEntry[] = "  - key: \"";

// What entries are sorted by: key and thread count.
std::pair<std::string, int> place_of(const std::string& entry, const std::string& path) {
  const size_t begin = sizeof kEntry - 1, end = entry.find('"', begin);
  const std::string threads = "\n    threads: ";
  const size_t count = entry.find(threads);
  if (entry.rfind(kEntry, 0) != 0 || end == std::string::npos || count == std::string::npos) {
    throw UserError(path +
                    ": records that were edited by hand are not changed: move the file away");
  }
  return {entry.substr(begin, end - begin), std::atoi(entry.c_str() + count + threads.size())};
}

// The entries below the head; comments among them are kept with the entry before.
std::map<std::pair<std::string, int>, std::string> entries_of(const std::string& path,
                                                              std::string& head) {
  std::map<std::pair<std::string, int>, std::string> entries;
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return entries;
  const std::string text = read_file(path);
  size_t begin = text.find(kEntry);
  head = text.substr(0, begin);
  while (begin < text.size()) {
    size_t end = text.find(std::string("\n") + kEntry, begin);
    end = end == std::string::npos ? text.size() : end + 1;
    std::string entry = text.substr(begin, end - begin);
    if (entry.back() != '\n') entry += '\n';
    const auto place = place_of(entry, path);
    entries[place] = std::move(entry);
    begin = end;
  }
  return entries;
}

}  // namespace

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

void write_record(const std::string& path, const Plan& plan, const Machine& machine,
                  const Schedule& schedule, int threads) {
  std::string head = records_head(machine.target);
  auto entries = entries_of(path, head);
  entries[{plan_key(plan), threads}] =
      record_text(plan_key(plan), for_longest(schedule, plan, machine, threads), threads);
  std::string text = head;
  for (const auto& [place, entry] : entries) text += entry;
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  if (error) throw SystemError("'" + path + "': " + error.message());
  atomic_write_file(path, text);
}

}  // namespace mha
