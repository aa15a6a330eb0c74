#include "tools/mha-tune/entry.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "bench/peak.h"
#include "tools/mha-run/bench.h"
#include "tools/mha-run/inputs.h"
#include "tools/mha-run/random.h"
#include "tools/mha-run/work.h"
#include "tools/mha-tune/progress.h"
#include "tools/mha-tune/record_file.h"
#include "tools/mha-tune/workload.h"

namespace mha {

std::string job_text(const TuneJob& job, const TuneOptions& options) {
  return job.spec.name + ", " + job.generation.machine.target + ", " +
         std::to_string(options.threads) + (options.threads == 1 ? " thread" : " threads");
}

nlohmann::ordered_json certificate_json(const Certificate& certificate) {
  return {{"faster", certificate.faster},
          {"gain", std::exp(certificate.log_gain)},
          {"low", std::exp(certificate.low)},
          {"high", std::exp(certificate.high)},
          {"pairs", certificate.pair_log_gains.size()},
          {"margin", certificate.margin},
          {"error", certificate.error}};
}

nlohmann::ordered_json schedule_json(const Schedule& schedule) {
  nlohmann::ordered_json stages;
  for (const StageSchedule& stage : schedule.stages) {
    nlohmann::ordered_json params;
    for (const auto& [name, value] : stage.params) params[name] = value;
    stages[stage.stage] = params;
  }
  return {{"origin", schedule.origin}, {"stages", stages}};
}

nlohmann::ordered_json entry_head(const TuneJob& job, const TuneOptions& options,
                                  const Subject& subject, const Progress& progress, double seconds,
                                  const std::map<std::string, double>& scores) {
  nlohmann::ordered_json entry = {{"name", job.spec.name},
                                  {"config", job.spec.file},
                                  {"target", job.generation.machine.target},
                                  {"threads", options.threads},
                                  {"machine", subject.machine},
                                  {"lengths", subject.lengths},
                                  {"strategy", options.strategy},
                                  {"seed", options.seed},
                                  {"seconds", seconds},
                                  {"trials", progress.trials},
                                  {"remembered", progress.remembered}};
  entry["rejected"] = nlohmann::ordered_json::object();
  for (const auto& [outcome, count] : progress.rejected) {
    entry["rejected"][outcome_name(outcome)] = count;
  }
  entry["stage_gains"] = nlohmann::ordered_json::object();
  for (const auto& [stage, score] : scores) entry["stage_gains"][stage] = std::exp(score);
  return entry;
}

void add_ending(nlohmann::ordered_json& entry, const std::string& note, bool stopped) {
  entry["note"] = note;
  entry["record"] = nullptr;
  entry["stopped"] = stopped;
}

void write_winner(const TuneJob& job, const Subject& subject, const std::string& record,
                  Console& console, nlohmann::ordered_json& entry) {
  const Exported exported = write_records(job.record, {{subject.spec, subject.threads, record}},
                                          {subject.target, subject.machine, true});
  for (const std::string& kept : exported.kept) console.note(kept);
  if (exported.kept.empty()) entry["record"] = job.record;
}

void print_summary(const TuneJob& job, const TuneOptions& options, const Progress& progress,
                   double seconds, const std::string& winner, const std::string& note, bool stopped,
                   Console& console) {
  if (console.json() || console.quiet()) return;
  std::string summary = job_text(job, options) + ": " + progress_text(progress) + " in " +
                        duration_text(seconds) + "\n" + winner;
  if (winner.empty()) {
    summary += "  the default stays";
    if (!note.empty()) summary += ": " + note;
    summary += "\n";
  }
  if (stopped) {
    summary += "  stopped early: the same command goes on from here, nothing is measured twice\n";
  }
  console.print(summary);
}

ReportInput report_input(const TuneJob& job, const TuneOptions& options, const Subject& subject,
                         const Database& database, const TunerResult& result,
                         int64_t query_length) {
  const Plan& plan = job.generation.plan;
  // The call that was measured: what mask tensors and tables hide in it is no work.
  const CallLengths lengths = random_lengths(
      job.spec, query_length > 0 ? lengths_at(job.spec, query_length) : max_lengths(job.spec),
      options.seed);
  const Work work =
      work_of(job.spec, lengths, random_input_tensors(job.spec, lengths, options.seed));
  ReportInput input;
  input.name = job.spec.name;
  input.subject = subject;
  for (Trial& trial : database.trials(subject)) {
    // Not those of whole calls, which compare lengths.
    if (trial.stage != "call") input.trials.push_back(std::move(trial));
  }
  if (result.certified) {
    input.certified = result.certified;
  } else if (result.certificate) {
    input.certified = CertifiedSchedule{result.best, *result.certificate};
  }
  input.flops = static_cast<double>(work.flops);
  input.bytes = static_cast<double>(work.bytes);
  if (!options.remote.empty()) return input;  // that machine's peaks are not known
  PeakMeter meter(options.threads, isa_of_target(job.generation.machine.target, plan.dtype));
  for (int i = 0; i < 5; ++i) {
    meter.sample_flops();
    meter.sample_read();
  }
  input.peak_flops = meter.flops_per_second();
  input.read_bytes = meter.read_bytes_per_second();
  return input;
}

TunerOptions tuner_options(const TuneOptions& options, double spent) {
  constexpr double kDefaultBudget = 300;
  TunerOptions tuner;
  tuner.strategy = options.strategy;
  tuner.seed = options.seed;
  tuner.trials = options.trials;
  if (!options.budget.empty()) tuner.budget_seconds = parse_budget(options.budget);
  if (options.budget.empty() && options.trials == 0) tuner.budget_seconds = kDefaultBudget;
  if (tuner.budget_seconds > 0) tuner.budget_seconds = std::max(tuner.budget_seconds - spent, 0.1);
  return tuner;
}

}  // namespace mha
