// What a cache holds, in front of the rows that a call brings.
#ifndef MHA_TOOLS_REFERENCE_CACHED_H_
#define MHA_TOOLS_REFERENCE_CACHED_H_

#include "generator/spec/spec.h"
#include "tools/reference/heads.h"
#include "tools/reference/tensors.h"

namespace mha {

// [B, heads, P + L, width]: of each sequence its own past out of past_key or past_value, then its
// rows of `fresh` [B, heads, L, width], then zeros. Throws UserError for a length or a page that is
// out of range.
template <typename T>
Heads<T> behind_cache(const Spec& spec, const CallLengths& lengths, const Arrays& inputs,
                      const char* past, const Heads<T>& fresh);

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_CACHED_H_
