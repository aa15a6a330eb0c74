#include "tools/mha-tune/tune.h"

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

#include "generator/emit/version.h"
#include "generator/spec/parse.h"
#include "schedules/lengths.h"
#include "schedules/record.h"
#include "schedules/space.h"
#include "schedules/tuner/fingerprint.h"
#include "schedules/tuner/process_lab.h"
#include "tools/common/cli.h"
#include "tools/mha-tune/entry.h"
#include "tools/mha-tune/progress.h"
#include "tools/mha-tune/range.h"
#include "tools/mha-tune/record_file.h"
#include "tools/mha-tune/workload.h"
#include "tools/reference/tensors.h"

namespace mha {
namespace {

constexpr size_t kSeeds = 3;

bool automatic(const TuneOptions& options) {
  const auto& names = autoscheduler_names();
  return std::find(names.begin(), names.end(), options.strategy) != names.end();
}

std::set<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  std::set<std::string> words;
  for (std::string word; stream >> word;) words.insert(word);
  return words;
}

}  // namespace

std::vector<TuneJob> tune_jobs(const TuneOptions& options) {
  std::vector<TuneJob> jobs;
  std::string problems;
  const uint64_t here = fingerprint().cpu_features;
  for (const std::string& config : options.configs) {
    ParseResult parsed = parse_spec_file(config);
    if (parsed.spec && parsed.problems.empty()) parsed.problems = unsupported(*parsed.spec);
    problems += format_diagnostics(parsed.problems, parsed.text);
    if (!parsed.spec || !parsed.problems.empty()) continue;
    TuneJob job;
    job.spec = *parsed.spec;
    if (!options.target.empty()) job.generate.targets = {options.target};
    job.generate.threads = options.threads;
    job.generation = resolve(job.spec, job.generate);
    job.generate.targets = {job.generation.target};  // of several one is tuned
    const Machine& machine = job.generation.machine;
    if (options.remote.empty() && (machine.cpu_features & ~here) != 0) {
      throw UserError(machine.target +
                      " code does not run here: name a command that runs it with --remote, or "
                      "another target with --target");
    }
    job.record = record_path(config, options.schedules, machine.target);
    jobs.push_back(std::move(job));
  }
  if (!problems.empty()) throw DiagnosedError(problems);
  return jobs;
}

Subject subject_of(const TuneJob& job, const TuneOptions& options, const std::string& machine) {
  return {plan_key(job.generation.plan),
          lengths_text(job.spec, max_lengths(job.spec), options.seed),
          job.generation.machine.target,
          machine,
          options.threads,
          generator_version(),
          space_signature()};
}

std::vector<Schedule> seeds_of(const Subject& subject, const Database& database) {
  std::string before = "9";
  for (const Trial& trial : database.trials(subject)) before = std::min(before, trial.time);
  const std::set<std::string> words = words_of(subject.spec);
  std::vector<std::pair<int, Schedule>> seeds;
  for (const Subject& other : database.subjects()) {
    if (other.target != subject.target || other.machine != subject.machine ||
        other.threads != subject.threads || other.space != subject.space || other == subject) {
      continue;
    }
    for (const CertifiedSchedule& one : database.certificates(other)) {
      if (!one.certificate.faster || one.certificate.time >= before) continue;
      int alike = 0;
      for (const std::string& word : words_of(other.spec)) {
        alike += static_cast<int>(words.count(word));
      }
      seeds.emplace_back(alike, one.schedule);
    }
  }
  std::stable_sort(seeds.begin(), seeds.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Schedule> best;
  for (size_t i = 0; i < std::min(seeds.size(), kSeeds); ++i) best.push_back(seeds[i].second);
  return best;
}

nlohmann::ordered_json tune_one(const TuneJob& job, const TuneOptions& options, Database& database,
                                Console& console, std::vector<ReportInput>* reports) {
  const Range& range = job.spec.query_length;
  if (range.min < range.max && !automatic(options)) {
    return tune_range(job, options, database, console, reports);
  }
  const TunerClock clock = system_clock();
  const double began = clock.now();
  const Plan& plan = job.generation.plan;
  const Machine& machine = job.generation.machine;
  const std::string what = job_text(job, options);
  console.note(what + ": computing the reference");
  LabOptions lab_options;
  lab_options.remote = options.remote;
  ProcessLab lab(job.spec, stage_names(plan), job.generate,
                 make_workload(job.spec, max_lengths(job.spec), options.threads, options.seed),
                 lab_options);
  const Subject subject = subject_of(job, options, lab.machine());
  const TunerProblem problem{plan, machine, subject, seeds_of(subject, database)};

  const TunerOptions tuner = tuner_options(options, clock.now() - began);
  TunerResult result;
  {
    ProgressLine line(console, what);
    result = tune(problem, lab, database, tuner, line, clock);
  }

  const double seconds = clock.now() - began;
  nlohmann::ordered_json json =
      entry_head(job, options, subject, result.progress, seconds, result.scores);
  json["certificate"] = nullptr;
  if (result.certificate) json["certificate"] = certificate_json(*result.certificate);
  json["schedule"] = schedule_json(result.schedule);
  add_ending(json, result.note, result.stopped);

  std::string winner;
  if (result.certified) {
    const Certificate& certificate = result.certified->certificate;
    const std::vector<LengthVariant> variants =
        for_longest(record_schedule(subject, *result.certified, subject.machine), plan, machine,
                    options.threads);
    write_winner(job, subject,
                 variants.size() == 1
                     ? record_text(subject.spec, variants.front().schedule, options.threads)
                     : record_text(subject.spec, variants, options.threads),
                 console, json);
    winner = "  " + console.paint("32", gain_text(certificate.log_gain)) +
             " than the default (at least " + gain_text(certificate.low) + ", " +
             std::to_string(certificate.pair_log_gains.size()) +
             " pairs of processes): " + job.record + "\n";
  }
  print_summary(job, options, result.progress, seconds, winner, result.note, result.stopped,
                console);
  if (reports != nullptr) {
    reports->push_back(report_input(job, options, subject, database, result));
  }
  return json;
}

}  // namespace mha
