// What mha-tune can be told.
#ifndef MHA_TOOLS_MHA_TUNE_OPTIONS_H_
#define MHA_TOOLS_MHA_TUNE_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "schedules/lengths.h"

namespace mha {

struct TuneOptions {
  std::string command;  // "export", "merge", "list", "replay"; empty: tune
  std::vector<std::string> configs;
  std::string target;
  int threads = 1;
  std::string budget;
  int64_t trials = 0;
  int max_variants = static_cast<int>(kTunedVariants);  // of a range of lengths
  std::string database;
  std::string schedules;
  std::string strategy = "evolution";
  uint64_t seed = 0;
  std::string report;
  std::string remote;
  std::string machine;              // export: whose records; empty: this one's
  std::vector<std::string> others;  // merge: databases to read
};

// Seconds of "20s", "10m", "2h", "1.5h". Throws UserError.
double parse_budget(const std::string& text);

// $XDG_DATA_HOME/mha/tuning.db, else ~/.local/share/mha/tuning.db. Throws UserError where there is
// no home.
std::string default_database();

}  // namespace mha

#endif  // MHA_TOOLS_MHA_TUNE_OPTIONS_H_
