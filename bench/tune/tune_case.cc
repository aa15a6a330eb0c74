#include "bench/tune/tune_case.h"

#include "generator/emit/generate.h"
#include "generator/ir/lower.h"
#include "generator/spec/parse.h"
#include "schedules/space.h"
#include "tools/common/cli.h"
#include "tools/mha-tune/workload.h"

namespace mha {
namespace {

constexpr char kSmall[] =
    "version: 1\nname: small\nop: attention\nheads: 4\nd_head: 64\nquery_length: 128\n";

}  // namespace

TuneCase::TuneCase(const std::string& config, int threads)
    : machine(host_machine()), threads(threads) {
  ParseResult parsed = config.empty() ? parse_spec_text(kSmall, "small") : parse_spec_file(config);
  if (parsed.spec && parsed.problems.empty()) {
    parsed.problems = unsupported(*parsed.spec);
  }
  if (!parsed.spec || !parsed.problems.empty()) {
    throw DiagnosedError(format_diagnostics(parsed.problems, parsed.text));
  }
  spec = *parsed.spec;
  plan = *lower(spec).plan;
  workload = make_workload(spec, max_lengths(spec), threads, 1);
}

std::unique_ptr<ProcessLab> TuneCase::lab(const LabOptions& options) const {
  GenerateOptions generate;
  generate.targets = {"host"};
  generate.threads = threads;
  return std::make_unique<ProcessLab>(spec, stage_names(plan), generate, workload, options);
}

Candidate TuneCase::analytic() const { return {default_schedule(plan, machine, threads), ""}; }

}  // namespace mha
