// Rules in the IR: an Expression (generator/spec/expression.h) as the operations in a region of
// mha.attention, and back.
#ifndef MHA_GENERATOR_IR_RULES_H_
#define MHA_GENERATOR_IR_RULES_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "generator/ir/dialect.h"
#include "generator/spec/expression.h"
#include "generator/spec/expression_bounds.h"

namespace mha::ir {

// Fills the empty region with the rule. `tables` are values by name, `place` the location of what
// stands at an offset of the rule's text.
void build_rule(mlir::OpBuilder& builder, mlir::Region& region, const Expression& expression,
                const std::map<std::string, mlir::Value>& tables,
                const std::function<mlir::Location(size_t)>& place);

// The rule of a region, its nodes in the order of the operations, and each node's operation.
struct RegionRule {
  Expression expression;
  std::vector<mlir::Operation*> operations;
};
RegionRule read_rule(mlir::Region& region);

// New rows of K go behind those of a cache, and queries stand at its end.
bool has_cache(AttentionOp op);
// Whether calls behind that cache need not bring a key for each query: a sequence may have none.
bool may_bring_none(AttentionOp op);

// What each variable of whole numbers may be in any call of the kernel, hidden pairs included.
VariableRanges variable_ranges(AttentionOp op);

// Whether each index of each table is inside of its axis, as LookupOp demands; an error where not.
mlir::LogicalResult verify_indices(AttentionOp op, mlir::Region& region);

// factor_q * q + factor_k * k + constant.
struct AffineOfPlaces {
  int64_t q = 0, k = 0, constant = 0;
};
std::optional<AffineOfPlaces> affine_of_places(mlir::Value value);

}  // namespace mha::ir

#endif  // MHA_GENERATOR_IR_RULES_H_
