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

// Multiply-adds that a whole reference may cost: a few seconds of two cores.
inline constexpr double kWholeReference = 1.5e10;

// The largest call of so many queries.
CallLengths lengths_at(const Spec& spec, int64_t query_length);

// A call with these lengths, such as max_lengths(), on so many threads. Computes the reference, on
// all CPUs, with threads that are gone when it returns. Where it costs more than `most`
// multiply-adds and can_sample_rows(), it is that of about a hundred rows in up to eight sequences:
// the first and last sixteen and some between, of each all heads and columns. Of the other rows it
// is asked that every number is there and finite.
Workload make_workload(const Spec& spec, const CallLengths& lengths, int threads, uint64_t seed,
                       double most = kWholeReference);

// "B=1 Lq=512 Lk=512", of a packed batch with " T=1024": what Subject::lengths says of it.
std::string lengths_text(const Spec& spec, const CallLengths& lengths, uint64_t seed);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_TUNE_WORKLOAD_H_
