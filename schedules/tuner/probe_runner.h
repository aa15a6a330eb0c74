// A candidate in a process of its own, told what to do by the protocol of probe/protocol.h.
#ifndef MHA_SCHEDULES_TUNER_PROBE_RUNNER_H_
#define MHA_SCHEDULES_TUNER_PROBE_RUNNER_H_

#include <string>
#include <vector>

#include "schedules/tuner/process.h"
#include "schedules/tuner/runner.h"
#include "schedules/tuner/workload.h"

namespace mha {

// What a measuring program says first.
struct ProbeHello {
  std::string version, machine, kernel;
  std::vector<std::string> stages;
};

struct ProbeLimits {
  uint64_t memory_bytes = 0;  // of address space; 0: none
  // Seconds that a machine with other things to do, and a connection to it, may add to any time.
  double slack = 2;
  bool remote = false;
};

class ProbeRunner : public Runner {
 public:
  // Starts words..., whose last word is the program. Throws SystemError when it does not say hello:
  // no line of a candidate has run by then.
  ProbeRunner(std::vector<std::string> words, const ProbeLimits& limits);

  const ProbeHello& hello() const { return hello_; }
  // Sends the operands, has them checked, and readies the timing. stages() will give the seconds of
  // these; what else the kernel has counts as "attention". Throws RunnerFailure.
  void set_up(const Workload& workload, const std::vector<std::string>& stages,
              double slowest_call);

  Slice stages(double seconds) override;
  Slice whole(double seconds) override;

 private:
  ProbeHello read_hello();
  void send(const Workload& workload);
  // One command with an answer: the words behind "ok".
  std::string ask(const std::string& command, double limit);
  Slice slice(const char* command, double seconds);
  // Does what needs the process, and turns its failures into a RunnerFailure.
  template <typename F>
  auto guarded(F f);
  [[noreturn]] void fail(const std::string& line);
  [[noreturn]] void ended();

  Process process_;
  ProbeLimits limits_;
  double slowest_call_ = 1;
  ProbeHello hello_;
  std::vector<size_t> part_of_;  // of each stage of the kernel: which element of stages()
  size_t parts_ = 0;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_PROBE_RUNNER_H_
