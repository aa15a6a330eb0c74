// A block's weights, as the reference takes them.
#ifndef MHA_TOOLS_MHA_RUN_WEIGHTS_H_
#define MHA_TOOLS_MHA_RUN_WEIGHTS_H_

#include <string>

#include "generator/spec/spec.h"
#include "tools/mha-run/host_tensor.h"

namespace mha {

// The weights as the reference takes them, from a file (or an index of shards) with the names of
// weights_from.
HostTensors read_weights(const Spec& spec, const std::string& path, int layer);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_WEIGHTS_H_
