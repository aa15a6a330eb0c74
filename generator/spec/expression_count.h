// How many keys a mask rule without tables shows to a query, without asking for each of them.
#ifndef MHA_GENERATOR_SPEC_EXPRESSION_COUNT_H_
#define MHA_GENERATOR_SPEC_EXPRESSION_COUNT_H_

#include <cstdint>

#include "generator/spec/expression.h"

namespace mha {

// What the names of a rule stand for in one row of pairs; q includes the offset.
struct RuleRow {
  int64_t b = 0, h = 0, q = 0, q_len = 0, k_len = 0, heads = 0, d_head = 0;
};

bool reads_tables(const Expression& rule);
bool reads_variable(const Expression& rule, const char* name);

// The keys of [first, end) that the rule shows: ranges of keys are judged as a whole by interval
// arithmetic, and halved where that settles nothing. *steps counts what was looked at. Real numbers
// are rounded to float32 after each operation, as everywhere.
int64_t keys_shown(const Expression& rule, const RuleRow& row, int64_t first, int64_t end,
                   int64_t* steps);

}  // namespace mha

#endif  // MHA_GENERATOR_SPEC_EXPRESSION_COUNT_H_
