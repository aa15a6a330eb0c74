// Random values of the keys that a config may have beside its shape and masks.
#ifndef MHA_TESTS_NUMERIC_RANDOM_KEYS_H_
#define MHA_TESTS_NUMERIC_RANDOM_KEYS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tools/mha-run/random.h"

namespace mha {

// What the keys depend on.
struct ConfigFacts {
  bool block = false;
  bool packed = false;
  int64_t heads = 1, kv_heads = 1, d_head = 1;
  bool queries_among_keys = false;  // 0 <= q < Lk for every query
  bool may_cache = false;           // the places of queries are not given
  int64_t new_keys = 1;             // that a call brings, at most
};

// Lines of a config, and entries of its `mask`, that come and go together.
struct ConfigPart {
  std::vector<std::string> keys;  // dotted, as messages name them
  std::string lines;              // each ends in a newline
  std::string mask;               // "rule: ..."; empty: none
  std::string table;              // an entry of `table`; empty: none
};

std::vector<ConfigPart> random_parts(const ConfigFacts& facts, Random& random);

// The config of `lines`, the mask's entries and those parts that this version builds, alone and
// together. A part is left out where a message of unsupported() names one of its keys.
std::string built_config(const std::string& lines, const std::string& mask,
                         std::vector<ConfigPart> parts);

}  // namespace mha

#endif  // MHA_TESTS_NUMERIC_RANDOM_KEYS_H_
