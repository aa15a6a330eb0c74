// From a Spec to a module that says the same.
#ifndef MHA_GENERATOR_IR_BUILD_H_
#define MHA_GENERATOR_IR_BUILD_H_

#include "generator/ir/dialect.h"
#include "generator/spec/spec.h"

namespace mha::ir {

// The module is as the spec has it: nothing is merged, folded or left out, and nothing is verified.
mlir::OwningOpRef<mlir::ModuleOp> build_module(const Spec& spec, mlir::MLIRContext& context);

}  // namespace mha::ir

#endif  // MHA_GENERATOR_IR_BUILD_H_
