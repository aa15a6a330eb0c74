// What a call reads, from a file.
#ifndef MHA_TOOLS_MHA_RUN_INPUTS_H_
#define MHA_TOOLS_MHA_RUN_INPUTS_H_

#include "generator/spec/spec.h"
#include "tools/mha-run/host_tensor.h"
#include "tools/mha-run/tensor_file.h"
#include "tools/reference/tensors.h"

namespace mha {

// The tensors of a call from the file: each one there, with the right shape and dtype, and no
// other.
HostTensors read_inputs(const Spec& spec, const CallLengths& lengths, const TensorFile& file);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_INPUTS_H_
