// mha-tune: searches schedules by measuring them, and writes those that are surely faster than the
// default as records that mha-gen reads.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "schedules/tuner/database.h"
#include "schedules/tuner/strategy.h"
#include "schedules/tuner/tuner.h"
#include "tools/common/cli.h"
#include "tools/common/files.h"
#include "tools/mha-tune/options.h"
#include "tools/mha-tune/progress.h"
#include "tools/mha-tune/stored.h"
#include "tools/mha-tune/tune.h"

namespace mha {
namespace {

void check(const TuneOptions& options) {
  if (options.configs.empty() && (options.command.empty() || options.command == "replay")) {
    throw UserError("--config is required");
  }
  std::vector<std::string> strategies = strategy_names();
  if (options.command.empty()) {
    strategies.insert(strategies.end(), autoscheduler_names().begin(), autoscheduler_names().end());
  }
  if (std::find(strategies.begin(), strategies.end(), options.strategy) == strategies.end()) {
    std::string known;
    for (const std::string& name : strategies) known += (known.empty() ? "" : ", ") + name;
    throw UserError("--strategy: unknown strategy '" + options.strategy + "'; known are " + known);
  }
  if (!options.budget.empty()) {
    parse_budget(options.budget);
    if (options.trials > 0) throw UserError("--budget and --trials: give one of the two");
  }
  if (!options.report.empty()) check_output_file(options.report);
}

// The folder of the default database is made; one that is named must be there.
void make_folder(TuneOptions& options) {
  if (!options.database.empty()) return;
  options.database = default_database();
  const auto folder = std::filesystem::path(options.database).parent_path();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw UserError("'" + folder.string() + "': " + error.message());
}

int run(TuneOptions options, Console& console) {
  check(options);
  std::vector<TuneJob> jobs;
  if (options.command.empty()) jobs = tune_jobs(options);
  make_folder(options);
  Database database(options.database);
  if (options.command == "list") return list_subjects(database, console);
  if (options.command == "merge") return merge_databases(options, database, console);
  if (options.command == "export") return export_records(options, database, console);
  if (options.command == "replay") return replay_search(options, database, console);

  catch_signals();
  nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
  std::vector<ReportInput> searches;
  bool stopped = false;
  for (const TuneJob& job : jobs) {
    stopped = stopped || signalled();
    if (stopped) break;
    kernels.push_back(
        tune_one(job, options, database, console, options.report.empty() ? nullptr : &searches));
    stopped = kernels.back()["stopped"];
  }
  if (!options.report.empty()) atomic_write_file(options.report, report_html(searches));
  if (console.json()) {
    console.print_json({{"database", options.database}, {"kernels", kernels}});
  }
  if (!stopped) return kExitDone;
  console.error("stopped by a signal; run the same command again to go on");
  return kExitFailure;
}

}  // namespace
}  // namespace mha

int main(int argc, char** argv) {
  mha::TuneOptions options;
  return mha::run_main(
      {"mha-tune", "Searches faster schedules by measuring them, and keeps what it learns."}, argc,
      argv,
      [&](CLI::App& app) {
        app.add_option("--config", options.configs,
                       "A YAML config to tune; several are tuned in turn")
            ->type_name("FILE");
        app.add_option("--target", options.target,
                       "The machine to generate for (default: `targets` of the config, else host)")
            ->type_name("TARGET");
        app.add_option("--threads", options.threads, "Threads of the calls that are timed")
            ->check(CLI::Range(1, 1024))
            ->capture_default_str();
        app.add_option("--budget", options.budget,
                       "Time for each config: 20s, 10m, 2h (default: 5m)")
            ->type_name("TIME");
        app.add_option("--trials", options.trials, "Candidates of each stage, instead of a time")
            ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
            ->type_name("N");
        app.add_option("--max-variants", options.max_variants,
                       "Schedules of a kernel for a range of query lengths")
            ->check(CLI::Range(1, static_cast<int>(mha::kMaxVariants)))
            ->capture_default_str();
        app.add_option("--database", options.database,
                       "What was measured is kept here (default: ~/.local/share/mha/tuning.db)")
            ->type_name("FILE");
        app.add_option(
               "--schedules", options.schedules,
               "The folder that records are written to (default: mha-records beside the config)")
            ->type_name("DIR");
        app.add_option("--strategy", options.strategy,
                       "evolution, random, exhaustive, or Halide's mullapudi2016, adams2019")
            ->type_name("NAME")
            ->capture_default_str();
        app.add_option("--seed", options.seed, "Of the search and of the tensors (default 0)")
            ->type_name("N");
        app.add_option("--remote", options.remote,
                       "A command that runs the program given to it elsewhere, such as qemu-x86_64")
            ->type_name("CMD");
        app.add_option("--report", options.report, "Write what was found as an HTML page")
            ->type_name("FILE.html");
        app.require_subcommand(0, 1);
        auto command = [&](const char* name, const char* what) {
          CLI::App* sub = app.add_subcommand(name, what)->fallthrough();
          sub->callback([&options, name] { options.command = name; });
          return sub;
        };
        command("list", "Say what the database holds");
        command("merge", "Add the rows of other databases")
            ->add_option("FILE", options.others, "Databases to read")
            ->required();
        command("export", "Write certified schedules into --schedules as records")
            ->add_option("--machine", options.machine,
                         "The machine that measured them, as `list` names it (default: this one)")
            ->type_name("TEXT");
        command("replay", "Run a strategy on stored trials: no machine is needed");
      },
      [&](mha::Console& console) {
        try {
          return mha::run(options, console);
        } catch (const mha::ConfigError& error) {
          throw mha::DiagnosedError(error.what());
        }
      });
}
