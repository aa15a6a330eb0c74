// A config to be measured: its plan, its operands and a laboratory for it.
#ifndef MHA_BENCH_TUNE_TUNE_CASE_H_
#define MHA_BENCH_TUNE_TUNE_CASE_H_

#include <memory>
#include <string>

#include "generator/ir/plan.h"
#include "generator/spec/spec.h"
#include "schedules/machine.h"
#include "schedules/tuner/process_lab.h"
#include "schedules/tuner/workload.h"

namespace mha {

struct TuneCase {
  Spec spec;
  Plan plan;
  Machine machine;
  int threads = 1;
  Workload workload;  // a call of the config's largest lengths

  // The config in a file, or the small attention of the benchmarks where `config` is empty. Throws
  // DiagnosedError.
  TuneCase(const std::string& config, int threads);

  std::unique_ptr<ProcessLab> lab(const LabOptions& options) const;
  Candidate analytic() const;  // the default schedule
};

}  // namespace mha

#endif  // MHA_BENCH_TUNE_TUNE_CASE_H_
