// The real laboratory: candidates as programs, here or wherever a command runs them.
#ifndef MHA_SCHEDULES_TUNER_PROCESS_LAB_H_
#define MHA_SCHEDULES_TUNER_PROCESS_LAB_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "generator/emit/generate.h"
#include "generator/spec/spec.h"
#include "schedules/tuner/builder.h"
#include "schedules/tuner/link.h"
#include "schedules/tuner/probe_runner.h"
#include "schedules/tuner/runner.h"
#include "schedules/tuner/workload.h"

namespace mha {

struct LabOptions {
  std::string folder;  // where programs are made; empty: $TMPDIR, else /tmp
  // A command before the program and its arguments, split at spaces: "ssh host". Empty: run here.
  std::string remote;
  BuildLimits build;
  // Seconds that a machine with other things to do may add to any time limit; 0: 2, or 15 with
  // `remote`.
  double slack = 0;
  uint64_t run_memory_bytes = 0;       // of a measured program; 0: several times its operands
  std::vector<std::string> link_with;  // further arguments of the linker, for tests
};

// Call it from a process with one thread: builds fork.
class ProcessLab : public Lab {
 public:
  // `stages` are the plan's stage_names(); what else a kernel has runs for the attention stage and
  // counts as part of it. `generate` says for which target and thread count; the schedule comes
  // with each candidate. Starts a program once, to know the machine. Throws SystemError when it
  // cannot be linked or started.
  ProcessLab(const Spec& spec, std::vector<std::string> stages, const GenerateOptions& generate,
             Workload workload, const LabOptions& options);
  ~ProcessLab() override;

  std::vector<Built> build(const std::vector<Candidate>& candidates) override;
  std::unique_ptr<Runner> start(const Built& built, double slowest_call) override;
  void discard(const Built& built) override;
  std::vector<std::string> stages() const override { return stages_; }

  // Fingerprint::text() of the machine that measures.
  const std::string& machine() const { return machine_; }

 private:
  Built build_one(const Candidate& candidate, const std::string& path) const;
  std::unique_ptr<ProbeRunner> launch(const std::string& program) const;

  Spec spec_;
  std::vector<std::string> stages_;
  GenerateOptions generate_;
  Workload workload_;
  LabOptions options_;
  std::string folder_;
  std::optional<Linker> linker_;
  std::string machine_;
  int64_t built_ = 0;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_PROCESS_LAB_H_
