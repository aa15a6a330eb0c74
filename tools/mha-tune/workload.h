// The call that a tuning run times: random operands, and the float64 reference that each candidate
// is held against.
#ifndef MHA_TOOLS_MHA_TUNE_WORKLOAD_H_
#define MHA_TOOLS_MHA_TUNE_WORKLOAD_H_

#include <cstdint>
#include <string>

#include "generator/spec/spec.h"
#include "schedules/tuner/workload.h"
#include "tools/reference/tensors.h"

namespace mha {

// A call with these lengths, such as max_lengths(), on so many threads. Computes the reference: at
// once, on all CPUs, and for threads that are gone when it returns.
Workload make_workload(const Spec& spec, const CallLengths& lengths, int threads, uint64_t seed);

// "B=1 Lq=512 Lk=512", of a packed batch with " T=1024": what Subject::lengths says of it.
std::string lengths_text(const Spec& spec, const CallLengths& lengths, uint64_t seed);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_TUNE_WORKLOAD_H_
