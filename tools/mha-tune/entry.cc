#include "tools/mha-tune/entry.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "bench/peak.h"
#include "generator/emit/cost.h"
#include "tools/mha-run/bench.h"

namespace mha {

std::string threads_text(int threads) {
  return std::to_string(threads) + (threads == 1 ? " thread" : " threads");
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

ReportInput report_input(const TuneJob& job, const TuneOptions& options, const Subject& subject,
                         const Database& database, const TunerResult& result,
                         int64_t query_length) {
  const Plan& plan = job.generation.plan;
  Lengths lengths = largest_lengths(plan);
  if (query_length > 0) {
    lengths.query = query_length;
    if (plan.self_length) lengths.key = query_length;
  }
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
  input.flops = static_cast<double>(call_flops(plan, lengths));
  input.bytes = static_cast<double>(call_bytes(plan, lengths));
  if (!options.remote.empty()) return input;  // that machine's peaks are not known
  PeakMeter meter(options.threads, isa_of_target(job.generation.machine.target));
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
