// The JSON Schema (draft-07) of a config, written from the table of keys.
#ifndef MHA_GENERATOR_SPEC_SCHEMA_H_
#define MHA_GENERATOR_SPEC_SCHEMA_H_

#include <string>

namespace mha {

// The text of configs/schema.json.
std::string schema_json();

}  // namespace mha

#endif  // MHA_GENERATOR_SPEC_SCHEMA_H_
