// A rule of the plan as a Halide expression. Private to generator/pipeline.
#ifndef MHA_GENERATOR_PIPELINE_RULE_H_
#define MHA_GENERATOR_PIPELINE_RULE_H_

#include <Halide.h>

#include <functional>
#include <string>
#include <vector>

#include "generator/pipeline/stages.h"
#include "generator/spec/expression_bounds.h"

namespace mha {

// What the variables of a rule are at one pair of a query and a key. Undefined ones may not be
// asked for.
struct RuleScope {
  Halide::Expr s, b, h, q, k, q_len, k_len;
};

class Rule {
 public:
  // Both are kept by reference.
  Rule(const Plan& plan, const Expression& expression, const std::vector<TableSource>& tables);

  const Expression& expression() const { return expression_; }
  const Expression::Node& node(int index) const {
    return expression_.nodes[static_cast<size_t>(index)];
  }
  int root() const { return static_cast<int>(expression_.nodes.size()) - 1; }

  // The rule, or one node of it: whole numbers are int32, or int64 where some of them may need it,
  // real ones float, conditions bool. Where `known` gives an expression for a node, that is taken.
  using Known = std::function<Halide::Expr(int node)>;
  Halide::Expr value(const RuleScope& scope, const Known& known = {}) const;
  Halide::Expr value(int node, const RuleScope& scope, const Known& known = {}) const;

  // Whether a variable, or a table, stands below a node.
  bool reads(int node, const std::string& variable) const;
  bool reads_table(int node) const;
  bool reads_table() const { return reads_table(root()); }

  const std::vector<WholeRange>& ranges() const { return ranges_; }  // of all nodes; of whole ones

 private:
  Halide::Expr evaluate(const Expression::Node& node, const RuleScope& scope,
                        const std::vector<Halide::Expr>& of) const;
  Halide::Expr lookup(const Expression::Node& node, const std::vector<Halide::Expr>& of) const;

  const Plan& plan_;
  const Expression& expression_;
  const std::vector<TableSource>& tables_;
  bool negates_too_low(const Expression& expression, int node) const;

  std::vector<WholeRange> ranges_;
  Halide::Type whole_;
};

// What each variable of whole numbers may be where a stage evaluates a rule.
VariableRanges rule_ranges(const Plan& plan);

}  // namespace mha

#endif  // MHA_GENERATOR_PIPELINE_RULE_H_
