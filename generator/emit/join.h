// What the targets of a library say of themselves, as one.
#ifndef MHA_GENERATOR_EMIT_JOIN_H_
#define MHA_GENERATOR_EMIT_JOIN_H_

#include <cstdint>
#include <string>
#include <vector>

namespace mha {

// The manifest of a library from those of its targets, the best first. Of several the best one's
// stands at the top, and `kernels` lists what is each target's own. Throws InternalError where what
// all of them share is not the same in two.
std::string join_manifests(const std::vector<std::string>& manifests, int64_t archive_bytes);

// The same for people.
std::string join_explanations(const std::string& name,
                              const std::vector<std::string>& explanations);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_JOIN_H_
