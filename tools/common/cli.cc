#include "tools/common/cli.h"

#include <new>
#include <sstream>
#include <string_view>

#include "mha/mha.h"

namespace mha {
namespace {

std::string version() {
  return std::to_string(MHA_VERSION_MAJOR) + "." + std::to_string(MHA_VERSION_MINOR) + "." +
         std::to_string(MHA_VERSION_PATCH);
}

std::string shell_word(std::string_view word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+./,:@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string_view::npos) {
    return std::string(word);
  }
  std::string quoted = "'";
  for (char c : word) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

// The text that CLI11 would print, and whether it stands for success (--help, --version).
int finish_parse(const CLI::App& app, const CLI::ParseError& error, Console& console) {
  std::ostringstream out;
  std::ostringstream err;
  if (app.exit(error, out, err) == 0) {
    console.print(out.str());
    return kExitDone;
  }
  console.error(std::string(error.what()) + "\nTry '" + console.tool() + " --help'.");
  return kExitUserError;
}

}  // namespace

std::string shell_quoted(int argc, char** argv) {
  std::string line;
  for (int i = 0; i < argc; ++i) {
    if (i > 0) line += ' ';
    line += shell_word(argv[i]);
  }
  return line;
}

std::string report_request(const std::string& command_line) {
  return "This is a bug in mha " + version() +
         ", not in what you gave it. Please report it with the config and this command line:\n  " +
         command_line;
}

int run_main(const ToolInfo& tool, int argc, char** argv,
             const std::function<void(CLI::App&)>& declare,
             const std::function<int(Console&)>& body) {
  Console console(tool.name);
  try {
    CLI::App app(tool.summary, tool.name);
    bool json = false;
    bool quiet = false;
    declare(app);
    app.add_flag("--json", json, "One JSON object on standard output and nothing else");
    app.add_flag("--quiet", quiet, "No messages but errors and warnings");
    app.set_version_flag("--version", tool.name + " " + version());
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      return finish_parse(app, error, console);
    }
    console.set_json(json);
    console.set_quiet(quiet);
    return body(console);
  } catch (const DiagnosedError& error) {
    console.report(error.what());
    return kExitUserError;
  } catch (const UserError& error) {
    console.error(error.what());
    return kExitUserError;
  } catch (const SystemError& error) {
    console.error(error.what());
    return kExitFailure;
  } catch (const std::bad_alloc&) {
    console.error("out of memory");
    return kExitFailure;
  } catch (const std::exception& error) {
    console.error(std::string("internal: ") + error.what() + "\n" +
                  report_request(shell_quoted(argc, argv)));
    return kExitFailure;
  }
}

}  // namespace mha
