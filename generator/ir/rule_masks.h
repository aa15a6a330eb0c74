#ifndef MHA_GENERATOR_IR_RULE_MASKS_H_
#define MHA_GENERATOR_IR_RULE_MASKS_H_

#include <mlir/IR/PatternMatch.h>

namespace mha::ir {

// Turns those parts of a mask rule that compare k with q into the attention's causal, left and
// right.
void add_rule_patterns(mlir::RewritePatternSet& patterns, mlir::MLIRContext* context);

}  // namespace mha::ir

#endif  // MHA_GENERATOR_IR_RULE_MASKS_H_
