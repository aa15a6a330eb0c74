// What every tool shares: its command line, its exit codes, and how failures become messages.
//
//   int main(int argc, char** argv) {
//     Options options;
//     return mha::run_main(
//         {"mha-gen", "Generates attention libraries from YAML configs."}, argc, argv,
//         [&](CLI::App& app) { app.add_option("--config", options.configs, "...")->required(); },
//         [&](mha::Console& console) { return generate(options, console); });
//   }
#ifndef MHA_TOOLS_COMMON_CLI_H_
#define MHA_TOOLS_COMMON_CLI_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "generator/spec/error.h"
#include "tools/common/console.h"

namespace mha {

enum ExitCode {
  kExitDone = 0,
  kExitFailure = 1,    // disk full, I/O, a failed check, a bug of ours
  kExitUserError = 2,  // arguments, a config, an input file, a path that cannot be written
};

struct ToolInfo {
  std::string name;
  std::string summary;  // one sentence
};

// A UserError whose message is complete, as format_diagnostics() makes it: printed as it is.
class DiagnosedError : public UserError {
 public:
  using UserError::UserError;
};

// Parses the arguments (with --help, --version, --json and --quiet added), runs `body` and maps
// what it throws: UserError and bad arguments to 2, SystemError and bad_alloc to 1, any other
// exception to 1 with a request for a report that carries the command line. Returns the exit code.
int run_main(const ToolInfo& tool, int argc, char** argv,
             const std::function<void(CLI::App&)>& declare,
             const std::function<int(Console&)>& body);

// The arguments as a shell would take them again.
std::string shell_quoted(int argc, char** argv);

// What a bug report needs, below the message of an internal error.
std::string report_request(const std::string& command_line);

}  // namespace mha

#endif  // MHA_TOOLS_COMMON_CLI_H_
