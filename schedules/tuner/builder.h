// Builds on all CPUs, each in a process of its own that may hang, crash or eat memory.
#ifndef MHA_SCHEDULES_TUNER_BUILDER_H_
#define MHA_SCHEDULES_TUNER_BUILDER_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "schedules/tuner/runner.h"

namespace mha {

struct BuildLimits {
  int jobs = 0;                               // at a time; 0: as many as there are CPUs
  double seconds = 60;                        // of one build
  uint64_t memory_bytes = uint64_t{6} << 30;  // of address space, of each process
};

// work(0) ... work(count - 1), each in a forked process: call it while this process has one thread.
// Their results in order; what fails by a limit or a signal becomes a Built that says so. What
// `work` throws is kBuild.
std::vector<Built> build_in_parallel(size_t count, const BuildLimits& limits,
                                     const std::function<Built(size_t)>& work);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_BUILDER_H_
