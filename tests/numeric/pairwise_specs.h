// The keys of the spec language as factors of a covering array, and the config of a row of it.
#ifndef MHA_TESTS_NUMERIC_PAIRWISE_SPECS_H_
#define MHA_TESTS_NUMERIC_PAIRWISE_SPECS_H_

#include <string>
#include <vector>

#include "tests/numeric/covering.h"

namespace mha {

struct SpecFactor {
  std::string name;
  std::vector<std::string> values;  // in words; the first is the plain one
};
const std::vector<SpecFactor>& spec_factors();

// The config of a row; what has no effect in it (the weights of op attention) is left out.
std::string spec_text(const CoveringRow& row);
CoveringRow effective_row(const CoveringRow& row);
// "dtype=bf16 sink=yes" of a tuple.
std::string tuple_text(const CoveringTuple& tuple);

// Of all rows that mean something, and, where `built`, that this version builds.
CoveringProblem spec_problem(int strength, bool built);

}  // namespace mha

#endif  // MHA_TESTS_NUMERIC_PAIRWISE_SPECS_H_
