#include "bench/tune/busy_core.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/peak.h"
#include "generator/spec/error.h"

namespace mha {
namespace {

// Never returns.
void be_busy() {
  cpu_set_t may;
  CPU_ZERO(&may);
  if (sched_getaffinity(0, sizeof may, &may) == 0) {
    int last = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      last = CPU_ISSET(cpu, &may) ? cpu : last;
    }
    CPU_ZERO(&may);
    CPU_SET(last, &may);
    sched_setaffinity(0, sizeof may, &may);
  }
  PeakMeter meter(1, best_peak_isa());
  std::vector<uint64_t> block((64 << 20) / sizeof(uint64_t), 1);
  volatile uint64_t sink = 0;
  while (true) {
    meter.sample_flops();
    uint64_t sum = 0;
    for (const uint64_t word : block) {
      sum += word;
    }
    sink = sink + sum;
  }
}

}  // namespace

BusyCore::BusyCore() {
  const pid_t parent = getpid();
  process_ = fork();
  if (process_ < 0) {
    throw SystemError(std::string("cannot start the load: ") + strerror(errno));
  }
  if (process_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == parent) {
      be_busy();
    }
    _exit(0);
  }
}

BusyCore::~BusyCore() {
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
}

}  // namespace mha
