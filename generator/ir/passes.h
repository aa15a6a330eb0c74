// Passes that mha-opt offers beside MLIR's own.
#ifndef MHA_GENERATOR_IR_PASSES_H_
#define MHA_GENERATOR_IR_PASSES_H_

namespace mha::ir {

// --mha-print-plan: prints the plan of every kernel (plan_text) to stdout; a kernel that is no plan
// is an error.
void register_passes();

}  // namespace mha::ir

#endif  // MHA_GENERATOR_IR_PASSES_H_
