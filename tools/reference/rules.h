// The rules of a spec (score_rule, mask.rule), evaluated beside a bound of what float32 makes of
// them.
#ifndef MHA_TOOLS_REFERENCE_RULES_H_
#define MHA_TOOLS_REFERENCE_RULES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "generator/spec/expression.h"
#include "generator/spec/spec.h"
#include "tools/reference/tensors.h"

namespace mha {

// A number, and how far a kernel's may be from it. A condition is 0 or 1, and its error 1 where a
// kernel may find the other.
struct Estimate {
  double value = 0;
  double error = 0;
};

// What the names of a rule stand for at one pair of a query and a key.
struct RuleScope {
  Estimate s;  // score_rule only
  int64_t b = 0, h = 0, q = 0, k = 0;
  int64_t q_len = 0, k_len = 0;
};

class Rule {
 public:
  // How real numbers are computed: exactly, with errors; or each operation rounded to float32,
  // without.
  enum class Arithmetic { kExact, kFloat32 };

  // `inputs` holds the tables that the rule reads, and is kept by reference.
  Rule(const std::string& text, bool is_score, const Spec& spec, const Arrays& inputs,
       Arithmetic arithmetic);

  // Only the side of an `if`, and the operands of `and` and `or`, that settle the value are
  // computed. Throws UserError for an index beyond its table.
  Estimate operator()(const RuleScope& scope) const;
  // Whether the rule names that variable.
  bool reads(const std::string& variable) const;

 private:
  using Node = Expression::Node;
  Estimate eval(int node, const RuleScope& scope) const;
  Estimate variable(const Node& node, const RuleScope& scope) const;
  Estimate condition(const Node& node, const RuleScope& scope) const;
  Estimate select(const Node& node, const RuleScope& scope) const;
  Estimate table(const Node& node, const RuleScope& scope) const;
  Estimate arithmetic(const Node& node, const RuleScope& scope) const;
  Estimate function(const Node& node, const RuleScope& scope) const;
  // A result as float32 has it, with the roundings of its own operation: `roundings` * eps.
  Estimate rounded(const Node& node, double value, double error, double roundings) const;

  const Spec& spec_;
  const Arrays& inputs_;
  const bool exact_;
  Expression expression_;
};

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_RULES_H_
