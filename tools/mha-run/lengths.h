// The lengths of a run.
#ifndef MHA_TOOLS_MHA_RUN_LENGTHS_H_
#define MHA_TOOLS_MHA_RUN_LENGTHS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "generator/spec/spec.h"
#include "tools/mha-run/tensor_file.h"
#include "tools/reference/tensors.h"

namespace mha {

// The lengths that --size gives: "batch=2,query_length=100,key_length=7", and for a kernel with a
// cache "cached=4096,shared=1024": keys that every sequence has before the call, and how many of
// them all have in common. Those left out are not set. Throws UserError for an unknown key, a bad
// number, or what the spec does not allow.
struct SizeOptions {
  std::optional<int64_t> batch, query, key, cached, shared;
};
SizeOptions parse_sizes(const std::string& text, const Spec& spec);

// Lengths from the input's shapes, else from `sizes`, else the spec's maxima. Throws UserError
// where they disagree or the spec does not allow them.
CallLengths resolve_lengths(const Spec& spec, const TensorFile* input, const SizeOptions& sizes);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_LENGTHS_H_
