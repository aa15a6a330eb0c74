// What a call reads: from a file, or random.
#ifndef MHA_TOOLS_MHA_RUN_INPUTS_H_
#define MHA_TOOLS_MHA_RUN_INPUTS_H_

#include <cstdint>

#include "generator/spec/spec.h"
#include "tools/mha-run/host_tensor.h"
#include "tools/mha-run/tensor_file.h"
#include "tools/reference/tensors.h"

namespace mha {

// The tensors of a call from the file: each one there, with the right shape, dtype and (of index
// tensors) values, and no other. `lengths` are those of resolve_lengths(). Throws UserError.
HostTensors read_inputs(const Spec& spec, const CallLengths& lengths, const TensorFile& file);

// Whether the file gives a packed batch with an axis of 1 before its rows, [1,T,...], as programs
// do that know no packed batches. Outputs are then written in the same way.
bool is_batch_of_one(const Spec& spec, const TensorFile& file);

// random_tensor() for each; the mask is the same for all heads, as models have it. `lengths` are
// those of random_lengths().
HostTensors random_input_tensors(const Spec& spec, const CallLengths& lengths, uint64_t seed);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_INPUTS_H_
