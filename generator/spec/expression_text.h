// Rules as text: their canonical form, and where their parts stand in a config.
#ifndef MHA_GENERATOR_SPEC_EXPRESSION_TEXT_H_
#define MHA_GENERATOR_SPEC_EXPRESSION_TEXT_H_

#include <string>

#include "generator/spec/expression.h"

namespace mha {

// The expression with every bracket, for people and for comparing: no spaces at its ends, no
// quotes.
std::string expression_text(const Expression& expression);

// The name under which Spec::locations has what stands at `offset` in the text of a rule (`key` is
// "score_rule" or "mask.rule").
inline std::string rule_place(const std::string& key, size_t offset) {
  return key + "@" + std::to_string(offset);
}

}  // namespace mha

#endif  // MHA_GENERATOR_SPEC_EXPRESSION_TEXT_H_
