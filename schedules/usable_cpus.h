// How many CPUs this process may use.
#ifndef MHA_SCHEDULES_USABLE_CPUS_H_
#define MHA_SCHEDULES_USABLE_CPUS_H_

#include <sched.h>

#include <algorithm>

namespace mha {

inline int usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(CPU_COUNT(&set), 1) : 1;
}

}  // namespace mha

#endif  // MHA_SCHEDULES_USABLE_CPUS_H_
