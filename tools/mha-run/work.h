// How much one call has to do, from its spec and its own lengths.
#ifndef MHA_TOOLS_MHA_RUN_WORK_H_
#define MHA_TOOLS_MHA_RUN_WORK_H_

#include <cstdint>

#include "generator/spec/spec.h"
#include "tools/mha-run/host_tensor.h"

namespace mha {

struct Work {
  // Two per multiply-add of the products, over the visible pairs of queries and keys only; softmax
  // is not counted.
  int64_t flops = 0;
  // Every input, weight and output once.
  int64_t bytes = 0;
};

Work work_of(const Spec& spec, const CallLengths& lengths, const HostTensors& inputs);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_WORK_H_
