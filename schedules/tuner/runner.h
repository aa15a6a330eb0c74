// Candidates that can be timed. The real ones are processes (process_lab.h); tests simulate them.
#ifndef MHA_SCHEDULES_TUNER_RUNNER_H_
#define MHA_SCHEDULES_TUNER_RUNNER_H_

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "schedules/tuner/trial.h"

namespace mha {

// What a few milliseconds of calls took.
struct Slice {
  // Of one call, the median over the slice: each stage by itself, in the order of the kernel's
  // stages and in its place among the others; or one element, the whole call.
  std::vector<double> seconds;
  int64_t calls = 0;
  double peak_flops = 0;  // a second: a short sample of the FMA peak just before; 0: not taken
  int64_t switches = 0;   // how often the system took the CPU away during the slice
};

// A candidate failed while it ran. The runner is of no further use.
class RunnerFailure : public std::runtime_error {
 public:
  RunnerFailure(Outcome outcome, const std::string& detail)
      : std::runtime_error(detail), outcome_(outcome) {}
  Outcome outcome() const { return outcome_; }

 private:
  Outcome outcome_;
};

// A candidate that is loaded, has passed its checks, and waits.
class Runner {
 public:
  virtual ~Runner() = default;
  // Calls for about `seconds` (at least once). Throws RunnerFailure.
  virtual Slice stages(double seconds) = 0;
  virtual Slice whole(double seconds) = 0;
};

// A candidate on disk, or why there is none.
struct Built {
  Outcome outcome = Outcome::kMeasured;  // kMeasured: `program` can be started
  std::string detail;
  std::string program;
};

// Makes and starts the candidates of one subject.
class Lab {
 public:
  virtual ~Lab() = default;
  // Generates, compiles and links, on all CPUs: nothing may be timed meanwhile. In the order of the
  // candidates.
  virtual std::vector<Built> build(const std::vector<Candidate>& candidates) = 0;
  // Starts a process, checks what it computes against the float64 reference, and leaves it ready to
  // be timed. `slowest_call` in seconds is what a call may take before it counts as hanging. Throws
  // RunnerFailure.
  virtual std::unique_ptr<Runner> start(const Built& built, double slowest_call) = 0;
  // Frees what belongs to a program that is not needed any more.
  virtual void discard(const Built& built) = 0;
  // The names of the kernel's stages, in the order of Slice::seconds.
  virtual std::vector<std::string> stages() const = 0;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_RUNNER_H_
