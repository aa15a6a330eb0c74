// The table of all keys of the language: names, kinds of values, bounds, defaults, and a sentence
// on each. The parser checks configs against it, the JSON Schema is written from it.
#ifndef MHA_GENERATOR_SPEC_KEYS_H_
#define MHA_GENERATOR_SPEC_KEYS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mha {

inline constexpr int64_t kMaxSize =
    2147483647;  // of any axis; its product with others has its own rule

enum class ValueKind {
  kInt,
  kNumber,  // finite, and finite as float32
  kBool,
  kWord,        // one of `words`
  kName,        // what the kernel is called
  kTableName,   // only as the name of an entry
  kText,        // any text that is not empty
  kExpression,  // text or a number; its syntax is checked later
  kList,
  kMap,      // with the keys of `keys`
  kEntries,  // a map whose keys the user names: from `words` if there are any, else table names
};

struct KeyRule;

// What one value may be. A key has one or several of these; which one is meant shows in the YAML (a
// map, a list, a scalar), and between maps in their `type`.
struct ValueRule {
  ValueKind kind = ValueKind::kInt;
  int64_t min = 0, max = kMaxSize;  // kInt
  double low = 0;                   // kNumber: at least low, or more than low when `above`
  bool bounded = false, above = false;
  std::vector<std::string> words;  // kWord, kEntries
  std::vector<ValueRule> items;    // kList: of each item; kEntries: of each value
  std::vector<KeyRule> keys;       // kMap
  size_t min_items = 0;            // kList, kMap, kEntries
  size_t max_items = kMaxSize;     // kList
  bool unique = false;             // kList
};

enum class For { kBoth, kBlock, kAttention };

struct KeyRule {
  std::string name;
  std::vector<ValueRule> values;
  std::string help;  // one sentence, and the default if there is one
  bool required = false;
  For op = For::kBoth;  // of a top-level key: the op that has it
  bool required_for_block = false;
};

// The top level of a config.
const ValueRule& config_rule();

// The alternatives in words: "an integer from 1 to 2147483647, or {min, max}".
std::string describe(const std::vector<ValueRule>& values);

// Names that a table entry must not have, since expressions use them already.
const std::vector<std::string>& expression_words();
// Every tensor of every op, inputs and outputs.
const std::vector<std::string>& tensor_names();
const std::vector<std::string>& output_names();  // in canonical order
const std::vector<std::string>& target_names();

bool is_identifier(std::string_view text);
bool is_c_keyword(std::string_view text);
const std::vector<std::string>& c_keywords();  // of C23 and C++23
inline constexpr size_t kMaxNameLength = 48;

}  // namespace mha

#endif  // MHA_GENERATOR_SPEC_KEYS_H_
