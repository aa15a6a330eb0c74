// From a Spec to the files of a library. This is what mha-gen and mha-run call.
#ifndef MHA_GENERATOR_EMIT_GENERATE_H_
#define MHA_GENERATOR_EMIT_GENERATE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "generator/spec/error.h"
#include "generator/spec/spec.h"
#include "schedules/lengths.h"
#include "schedules/schedule.h"

namespace mha {

struct GenerateOptions {
  std::vector<std::string> targets;  // named targets or "host"; empty: the spec's
  int threads = 0;                   // that the schedule should expect; 0: one
  std::string schedules_dir;         // where records are read; empty: see record_directories()
  std::set<std::string> emit;        // of emit_kinds(): further files
  bool explain_only = false;         // no code generation: `files` stays empty
  // For one target. One of these, and no record is looked for: a schedule for all lengths, or one
  // for each range.
  std::optional<Schedule> schedule;
  std::vector<LengthVariant> variants;
  // One of halide_autoschedulers(), which arranges the stage attention instead of the schedule.
  std::string autoscheduler;
  std::string sanitizer;  // "address", "thread": instrumented code, for tests; empty: none
};

struct Generated {
  std::string name;
  std::string target;  // resolved: never "host"; of several the best first: "zen4, x86-64-v3"
  // Of the schedule: "default", "record" or an autoscheduler; "of each target" where they differ.
  std::string origin;
  std::string manifest;                      // JSON, as in manifest.json
  std::string explanation;                   // the same for people, ends with a newline
  std::map<std::string, std::string> files;  // name -> bytes: libNAME.a, NAME.h, manifest.json, ...
};

// What is wrong with a config, as format_diagnostics() says it: print it as it is.
class ConfigError : public UserError {
 public:
  using UserError::UserError;
};

// Works in a child process for each target, several at a time, because Halide's name counters are
// global and the bytes must not depend on what was generated before: call it while the process has
// one thread. Same spec, records and options give the same bytes. Throws UserError (of it
// ConfigError) for what the spec, a record or an option asks for and cannot have, SystemError when
// the system gave up (no memory, no processes), InternalError on bugs of ours.
Generated generate(const Spec& spec, const GenerateOptions& options);

// What generate() starts from: the plan, and the machine that the options or else the spec name. Of
// several targets it is the best one that runs here, or the best one. Throws as generate() does.
struct Generation {
  Plan plan;
  Machine machine;
  std::string target;  // as the machine was named: "host"
};
Generation resolve(const Spec& spec, const GenerateOptions& options);

// Throws UserError for an option that is wrong by itself, before any work: an unknown target or
// kind of file, a records folder that is not there.
void check_options(const GenerateOptions& options);

// "asm", "llvm", "mlir", "stmt", "stmt_html".
const std::vector<std::string>& emit_kinds();

// Where records are looked for, first to last: `schedules_dir` alone if it is given (UserError when
// it is no folder), else mha-records/ beside the config if there is one, then
// ../share/mha/records/ seen from the program's folder if there is one.
std::vector<std::string> record_directories(const std::string& config,
                                            const std::string& schedules_dir);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_GENERATE_H_
