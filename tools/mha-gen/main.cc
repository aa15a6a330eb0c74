// mha-gen: YAML configs become libraries. All that is decided here is what to call and what to
// print.
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "generator/emit/generate.h"
#include "generator/spec/parse.h"
#include "schedules/tuner/fingerprint.h"
#include "tools/common/cli.h"
#include "tools/common/files.h"

namespace mha {
namespace {

struct Options {
  std::vector<std::string> configs, targets, emit;
  int threads = 1;
  std::string output = "generated";
  std::string schedules;
  bool check = false, explain = false;
};

// By this file a folder is known to be ours, and may be replaced.
constexpr char kMarker[] = "manifest.json";

// All configs, or everything that is wrong with any of them.
std::vector<Spec> load(const std::vector<std::string>& configs) {
  std::vector<Spec> specs;
  std::string problems;
  std::set<std::string> names;
  for (const std::string& config : configs) {
    ParseResult result = parse_spec_file(config);
    if (result.spec && result.problems.empty()) result.problems = unsupported(*result.spec);
    problems += format_diagnostics(result.problems, result.text);
    if (!result.spec || !result.problems.empty()) continue;
    if (!names.insert(result.spec->name).second) {
      const Diagnostic twice{
          result.spec->where("name"),
          "name: another of the configs is called '" + result.spec->name + "' too",
          "the name is the folder of a library and the prefix of its symbols"};
      problems += format_diagnostics({twice}, result.text);
      continue;
    }
    specs.push_back(*std::move(result.spec));
  }
  if (!problems.empty()) throw DiagnosedError(problems);
  return specs;
}

std::string folder_of(const Options& options, const std::string& name) {
  return options.output + "/" + name;
}

// Whether any target's schedule has a certificate, and the machines other than this one that gave
// them.
std::pair<bool, std::set<std::string>> certificates(const nlohmann::ordered_json& manifest) {
  std::pair<bool, std::set<std::string>> found;
  for (const auto& kernel : manifest.value("kernels", nlohmann::ordered_json::array({manifest}))) {
    const auto& schedule = kernel.at("schedule");
    if (!schedule.contains("certificate")) continue;
    found.first = true;
    const std::string machine = schedule["certificate"]["machine"];
    if (machine != fingerprint().text()) found.second.insert(machine);
  }
  return found;
}

int run(const Options& options, Console& console) {
  using nlohmann::ordered_json;
  if (options.output.empty()) throw UserError("--output: the folder's name is empty");
  const std::vector<Spec> specs = load(options.configs);

  GenerateOptions generate_options;
  generate_options.targets = options.targets;
  generate_options.threads = options.threads;
  generate_options.schedules_dir = options.schedules;
  generate_options.emit = {options.emit.begin(), options.emit.end()};
  generate_options.explain_only = options.explain || options.check;
  check_options(generate_options);

  ordered_json report = ordered_json::array();
  if (options.check) {
    for (const Spec& spec : specs) {
      generate(spec, generate_options);  // all that parsing cannot see
      report.push_back({{"config", spec.file}, {"name", spec.name}, {"valid", true}});
      if (!console.json()) console.print(spec.file + ": valid\n");
    }
    if (console.json()) console.print_json({{"configs", report}});
    return kExitDone;
  }

  if (!options.explain) {
    for (const Spec& spec : specs) check_output_directory(folder_of(options, spec.name), kMarker);
  }
  // Everything is made before anything is written.
  std::vector<Generated> libraries;
  for (const Spec& spec : specs) {
    if (!options.explain) console.note("generating " + spec.name + " from " + spec.file);
    libraries.push_back(generate(spec, generate_options));
  }
  for (const Generated& library : libraries) {
    ordered_json entry = {{"name", library.name}};
    if (options.explain) {
      if (!console.json()) console.print(library.explanation);
    } else {
      const std::string folder = folder_of(options, library.name);
      publish_directory(folder, kMarker, library.files);
      if (!console.json() && !console.quiet()) {
        console.print(folder + ": " + library.target + ", schedule: " + library.origin + "\n");
      }
      entry["folder"] = folder;
      entry["files"] = ordered_json::array();
      for (const auto& [name, bytes] : library.files) entry["files"].push_back(name);
    }
    const ordered_json manifest = ordered_json::parse(library.manifest);
    const auto [certified, elsewhere] = certificates(manifest);
    for (const std::string& machine : elsewhere) {
      if (options.explain) break;
      console.note(library.name + ": its schedule was certified on another machine: " + machine);
    }
    if (certified) entry["certified_here"] = elsewhere.empty();
    entry["target"] = library.target;
    entry["manifest"] = manifest;
    report.push_back(entry);
  }
  if (console.json()) console.print_json({{"libraries", report}});
  return kExitDone;
}

}  // namespace
}  // namespace mha

int main(int argc, char** argv) {
  mha::Options options;
  return mha::run_main(
      {"mha-gen", "Generates attention libraries from YAML configs."}, argc, argv,
      [&](CLI::App& app) {
        app.add_option("--config", options.configs, "A YAML file that describes one library")
            ->required()
            ->type_name("FILE");
        app.add_option(
               "--target", options.targets,
               "A machine to generate for: host, x86-64-v2, -v3, -v4, zen4, zen5, sapphirerapids; "
               "several in one library if given again (default: `targets` of the config)")
            ->allow_extra_args(false)
            ->type_name("TARGET");
        app.add_option("--threads", options.threads,
                       "The thread count that the schedule should expect")
            ->check(CLI::Range(1, 1024))
            ->capture_default_str();
        app.add_option("--output", options.output, "Libraries are written to DIR/NAME")
            ->type_name("DIR")
            ->capture_default_str();
        app.add_option("--schedules", options.schedules,
                       "A folder of tuned records (default: mha-records beside the config)")
            ->type_name("DIR");
        app.add_option("--emit", options.emit, "Further files: asm, llvm, mlir, stmt, stmt_html")
            ->delimiter(',')
            ->allow_extra_args(false)
            ->type_name("KIND");
        app.add_flag("--check", options.check,
                     "Say whether the configs can be generated; write nothing");
        app.add_flag("--explain", options.explain,
                     "Print what would be generated and why; write nothing");
      },
      [&](mha::Console& console) {
        try {
          return mha::run(options, console);
        } catch (const mha::ConfigError& error) {
          throw mha::DiagnosedError(error.what());
        }
      });
}
