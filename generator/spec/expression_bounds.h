// Between which whole numbers the nodes of a rule lie, by interval arithmetic.
#ifndef MHA_GENERATOR_SPEC_EXPRESSION_BOUNDS_H_
#define MHA_GENERATOR_SPEC_EXPRESSION_BOUNDS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "generator/spec/expression.h"

namespace mha {

// Inclusive; held to 2^62 on either side, beyond which nothing is told apart.
struct WholeRange {
  static constexpr int64_t kMost = int64_t{1} << 62;
  int64_t low = -kMost, high = kMost;
  bool fits(int bits) const {
    return low >= -(int64_t{1} << (bits - 1)) && high < (int64_t{1} << (bits - 1));
  }
  bool operator==(const WholeRange&) const = default;
};

// Of each variable of whole numbers.
using VariableRanges = std::map<std::string, WholeRange>;

// For every node of type kInt what it may be; of other nodes everything. What a table of whole
// numbers holds is any number of 32 bits.
std::vector<WholeRange> whole_ranges(const Expression& expression, const VariableRanges& variables);

}  // namespace mha

#endif  // MHA_GENERATOR_SPEC_EXPRESSION_BOUNDS_H_
