// Covering arrays: few rows of values such that any two (or three) factors meet in all their values
// somewhere. Faults of combinations nearly always need two or three values, not all of them (Kuhn,
// Wallace, Gallo: Software Fault Interactions and Implications for Software Testing, 2004).
#ifndef MHA_TESTS_NUMERIC_COVERING_H_
#define MHA_TESTS_NUMERIC_COVERING_H_

#include <cstdint>
#include <functional>
#include <set>
#include <vector>

namespace mha {

// One value of each factor, from 0; 0 is the plain one.
using CoveringRow = std::vector<int>;
// Values of some factors, (factor, value), by factor.
using CoveringTuple = std::vector<std::pair<int, int>>;

struct CoveringProblem {
  std::vector<int> sizes;  // values of each factor
  int strength = 2;        // factors of a tuple
  // What the row says once values without an effect are plain: only these count as covered.
  std::function<CoveringRow(const CoveringRow&)> effective;
  std::function<bool(const CoveringRow&)> valid;
  // Rows that a tuple is tried in, beside the plain one, before it is given up as impossible.
  std::vector<CoveringRow> bases;
};

struct Covering {
  std::vector<CoveringRow> rows;
  std::set<CoveringTuple> covered;
  std::vector<CoveringTuple> impossible;  // in no base
};

// The same rows on every machine: each begins with a tuple that is still missing, and then takes
// factor by factor the value that covers most of what is missing (Cohen, Dalal, Fredman, Patton:
// The AETG System, 1997).
Covering covering(const CoveringProblem& problem);

}  // namespace mha

#endif  // MHA_TESTS_NUMERIC_COVERING_H_
