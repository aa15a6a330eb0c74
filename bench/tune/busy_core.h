// Other load on the machine, while this lives.
#ifndef MHA_BENCH_TUNE_BUSY_CORE_H_
#define MHA_BENCH_TUNE_BUSY_CORE_H_

#include <sys/types.h>

namespace mha {

// A process bound to the last of the CPUs that this process may use, which computes and reads
// memory without a pause, in turns of some milliseconds. Not a thread: the laboratory forks. Ends
// with its parent. Throws SystemError.
class BusyCore {
 public:
  BusyCore();
  ~BusyCore();
  BusyCore(const BusyCore&) = delete;
  BusyCore& operator=(const BusyCore&) = delete;

 private:
  pid_t process_ = -1;
};

}  // namespace mha

#endif  // MHA_BENCH_TUNE_BUSY_CORE_H_
