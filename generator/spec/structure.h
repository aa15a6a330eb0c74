// Checks a config against the table of keys: names, kinds of values, bounds. What a JSON Schema can
// say too.
#ifndef MHA_GENERATOR_SPEC_STRUCTURE_H_
#define MHA_GENERATOR_SPEC_STRUCTURE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "generator/spec/keys.h"
#include "generator/spec/parse.h"
#include "generator/spec/yaml.h"

namespace mha {

// Adds every problem and marks the keys that have one (or have one below them) as bad.
void check_structure(YamlNode* config, std::vector<Diagnostic>* problems);

// Values of scalars. Without a value, *why says what is wrong with the text.
std::optional<int64_t> read_int(const YamlNode& node, std::string* why = nullptr);
std::optional<double> read_number(const YamlNode& node, std::string* why = nullptr);
std::optional<bool> read_bool(const YamlNode& node);

// The alternative that a value is meant to be; null: none fits its kind.
const ValueRule* pick_rule(const YamlNode& node, const std::vector<ValueRule>& values);

}  // namespace mha

#endif  // MHA_GENERATOR_SPEC_STRUCTURE_H_
