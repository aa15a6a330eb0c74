// From a checked tree to a Spec: defaults, and the rules that tie several keys together.
#ifndef MHA_GENERATOR_SPEC_READER_H_
#define MHA_GENERATOR_SPEC_READER_H_

#include <optional>
#include <string_view>
#include <vector>

#include "generator/spec/parse.h"
#include "generator/spec/yaml.h"

namespace mha {

// `config` has been through check_structure(), which marked its bad keys: they are passed over
// here, and so is each rule that needs one of them. The result means something only when there are
// no problems at all.
Spec read_spec(const YamlNode& config, std::string_view text, const std::string& file,
               std::vector<Diagnostic>* problems);

// Adds a problem for every tensor of the spec (and of what a block computes on its way) that has
// 2^31 elements or more. All sizes of the spec must be known.
void check_tensor_sizes(const Spec& spec, std::vector<Diagnostic>* problems);

}  // namespace mha

#endif  // MHA_GENERATOR_SPEC_READER_H_
