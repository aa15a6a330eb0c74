// YAML as plain data: a tree of nodes that know where they stand. yaml-cpp reads the bytes; what it
// would let pass (duplicate keys, aliases, tags, several documents, endless nesting, control
// characters) is refused here.
#ifndef MHA_GENERATOR_SPEC_YAML_H_
#define MHA_GENERATOR_SPEC_YAML_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "generator/spec/parse.h"
#include "generator/spec/spec.h"

namespace mha {

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };
  // A key of a map. `bad` is set by the checks that know what the value should be.
  struct Key {
    std::string name;
    SourceLocation where;
    bool bad = false;
  };

  Kind kind = Kind::kNull;
  SourceLocation where;
  size_t offset = 0;            // of `where` in the text
  bool bad = false;             // refused already: its key must not be blamed again
  std::string text;             // kScalar
  bool quoted = false;          // kScalar: "12" is a text, 12 a number
  std::vector<YamlNode> items;  // of a list; of a map: the values, in the order of `keys`
  std::vector<Key> keys;        // kMap

  // Index of a key, -1 when the map has none of this name.
  int find(std::string_view name) const;
};

// Reads the one map that a config is. Without a value, at least one problem was added; there may be
// problems beside a value too (a duplicate key keeps its first value).
std::optional<YamlNode> read_yaml(std::string_view text, const std::string& file,
                                  std::vector<Diagnostic>* problems);

}  // namespace mha

#endif  // MHA_GENERATOR_SPEC_YAML_H_
