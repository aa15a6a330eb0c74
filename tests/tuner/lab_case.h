// A laboratory for one config, and its default schedule as a candidate.
#ifndef MHA_TESTS_TUNER_LAB_CASE_H_
#define MHA_TESTS_TUNER_LAB_CASE_H_

#include <memory>
#include <string>
#include <vector>

#include "generator/ir/lower.h"
#include "generator/spec/parse.h"
#include "schedules/machine.h"
#include "schedules/space.h"
#include "schedules/tuner/process_lab.h"
#include "tools/mha-tune/workload.h"

namespace mha {

struct LabCase {
  Spec spec;
  Plan plan;
  Machine machine;
  Workload workload;
  std::unique_ptr<ProcessLab> lab;

  explicit LabCase(const std::string& config, int threads = 1, LabOptions options = {})
      : machine(host_machine()) {
    const ParseResult parsed = parse_spec_text(config, "test.yaml");
    if (!parsed.spec) throw std::runtime_error(format_diagnostics(parsed.problems, config));
    spec = *parsed.spec;
    plan = *lower(spec).plan;
    workload = make_workload(spec, max_lengths(spec), threads, 1);
    start(threads, options);
  }

  void start(int threads, const LabOptions& options) {
    lab.reset();
    GenerateOptions generate;
    generate.targets = {"host"};
    generate.threads = threads;
    lab = std::make_unique<ProcessLab>(spec, stage_names(plan), generate, workload, options);
  }

  Candidate candidate() const { return {default_schedule(plan, machine, 1), ""}; }
  Built build() const { return lab->build({candidate()}).front(); }
};

}  // namespace mha

#endif  // MHA_TESTS_TUNER_LAB_CASE_H_
