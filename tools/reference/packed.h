// A packed batch as what it is: sequences, one after the other, each a batch of its own.
#ifndef MHA_TOOLS_REFERENCE_PACKED_H_
#define MHA_TOOLS_REFERENCE_PACKED_H_

#include <functional>

#include "tools/reference/reference.h"

namespace mha {

// Cuts the inputs of a packed call into its sequences, has each computed as an unpacked batch of
// one, and lays the results end to end.
using ReferenceFunction =
    std::function<Reference(const Spec& spec, const CallLengths& lengths, const Arrays& inputs)>;
Reference packed_reference(const Spec& spec, const CallLengths& lengths, const Arrays& inputs,
                           const ReferenceFunction& unpacked);

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_PACKED_H_
