#include "tools/mha-tune/stored.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "generator/emit/version.h"
#include "schedules/machine.h"
#include "schedules/space.h"
#include "schedules/tuner/export.h"
#include "schedules/tuner/fingerprint.h"
#include "schedules/tuner/search.h"
#include "tools/common/cli.h"
#include "tools/common/files.h"
#include "tools/mha-tune/progress.h"
#include "tools/mha-tune/record_file.h"
#include "tools/mha-tune/tune.h"

namespace mha {

int list_subjects(const Database& database, Console& console) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Subject& subject : database.subjects()) {
    const std::vector<Trial> trials = database.trials(subject);
    std::map<std::string, int64_t> outcomes;
    for (const Trial& trial : trials) ++outcomes[outcome_name(trial.outcome)];
    const std::optional<CertifiedSchedule> best = database.best(subject);
    rows.push_back({{"spec", subject.spec},
                    {"lengths", subject.lengths},
                    {"target", subject.target},
                    {"machine", subject.machine},
                    {"threads", subject.threads},
                    {"generator", subject.generator},
                    {"space", subject.space},
                    {"trials", trials.size()},
                    {"outcomes", outcomes},
                    {"gain", nullptr}});
    if (best) rows.back()["gain"] = std::exp(best->certificate.log_gain);
    if (console.json()) continue;
    std::string text = subject.spec + "\n  " + subject.lengths + ", " + subject.target + " on " +
                       subject.machine + ", threads " + std::to_string(subject.threads) + ", " +
                       subject.generator + ", space " + subject.space + "\n  " +
                       std::to_string(trials.size()) + " trials";
    for (const auto& [name, count] : outcomes) text += ", " + std::to_string(count) + " " + name;
    text += best ? "; certified: " + gain_text(best->certificate.log_gain) + " than the default\n"
                 : "; nothing certified\n";
    console.print(text);
  }
  if (console.json()) console.print_json({{"subjects", rows}});
  return kExitDone;
}

int merge_databases(const TuneOptions& options, Database& database, Console& console) {
  for (const std::string& other : options.others) check_input_file(other);
  for (const std::string& other : options.others) database.merge(other);
  if (console.json()) {
    console.print_json({{"database", options.database}, {"merged", options.others}});
  } else if (!console.quiet()) {
    console.print(options.database + ": has all rows of " + std::to_string(options.others.size()) +
                  " other files\n");
  }
  return kExitDone;
}

int export_records(const TuneOptions& options, const Database& database, Console& console) {
  if (options.schedules.empty()) throw UserError("--schedules: say which folder to export to");
  const bool host = options.target.empty() || options.target == "host";
  const std::string target = host ? host_machine().target : options.target;
  if (!named_machine(target)) throw UserError("--target: unknown target '" + target + "'");
  ExportOptions to{target, options.machine, false};
  if (to.machine.empty()) to.machine = fingerprint().text();
  const std::vector<NewRecord> records =
      certified_records(database, target, to.machine, generator_version(), space_signature());
  const std::string path = record_path("", options.schedules, target);
  Exported exported;
  if (!records.empty()) exported = write_records(path, records, to);
  for (const std::string& kept : exported.kept) console.note(kept);
  if (console.json()) {
    console.print_json({{"file", path},
                        {"target", target},
                        {"machine", to.machine},
                        {"records", records.size()},
                        {"added", exported.added},
                        {"replaced", exported.replaced},
                        {"kept", exported.kept}});
  } else if (!console.quiet()) {
    console.print(path + ": " + std::to_string(exported.added) + " records added, " +
                  std::to_string(exported.replaced) + " replaced\n");
  }
  return kExitDone;
}

int replay_search(const TuneOptions& options, const Database& database, Console& console) {
  nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
  for (const TuneJob& job : tune_jobs(options)) {
    const Plan& plan = job.generation.plan;
    const Machine& machine = job.generation.machine;
    // The subject on this machine, or on the only other one that measured it.
    Subject subject = subject_of(job, options, fingerprint().text());
    if (database.trials(subject).empty()) {
      for (const Subject& other : database.subjects()) {
        Subject elsewhere = subject;
        elsewhere.machine = other.machine;
        if (other == elsewhere) subject = elsewhere;
      }
    }
    const std::vector<Trial> stored = database.trials(subject);
    if (stored.empty()) throw UserError(job.spec.file + ": no trials of it are stored");
    std::vector<Schedule> seeds = seeds_of(subject, database);
    Schedule analytic = default_schedule(plan, machine, options.threads);
    if (plan.query_length.min < plan.query_length.max) {
      // The search at the longest calls, as tune_ranges() starts it.
      const std::vector<LengthVariant> variants = default_variants(plan, machine, options.threads);
      for (const LengthVariant& variant : variants) seeds.push_back(variant.schedule);
      analytic = variants.back().schedule;
    }
    nlohmann::ordered_json stages = nlohmann::ordered_json::array();
    for (const StageSchedule& stage : analytic.stages) {
      const StageProblem problem = stage_problem(plan, machine, options.threads, stage, seeds);
      const ReplayResult result = replay(problem, options.strategy, options.seed, options.trials,
                                         TunerOptions().batch, stored);
      stages.push_back({{"stage", stage.stage},
                        {"winner", candidate_text(result.winner)},
                        {"gain", std::exp(result.score)},
                        {"trials", result.trials},
                        {"skipped", result.skipped}});
      if (console.json()) continue;
      console.print(job.spec.name + ", " + stage.stage + ": " + std::to_string(result.trials) +
                    " trials, " + std::to_string(result.skipped) + " not stored; " +
                    (result.winner == stage
                         ? "the default stays"
                         : gain_text(result.score) + ": " + candidate_text(result.winner)) +
                    "\n");
    }
    kernels.push_back({{"name", job.spec.name}, {"target", machine.target}, {"stages", stages}});
  }
  if (console.json()) console.print_json({{"kernels", kernels}});
  return kExitDone;
}

}  // namespace mha
