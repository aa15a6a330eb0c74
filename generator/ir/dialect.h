// The classes of the `mha` dialect that mha.td declares, and how its errors find their place in a
// config.
#ifndef MHA_GENERATOR_IR_DIALECT_H_
#define MHA_GENERATOR_IR_DIALECT_H_

#include <mlir/Bytecode/BytecodeOpInterface.h>
#include <mlir/IR/Builders.h>
#include <mlir/IR/BuiltinAttributes.h>
#include <mlir/IR/BuiltinOps.h>
#include <mlir/IR/BuiltinTypes.h>
#include <mlir/IR/Diagnostics.h>
#include <mlir/IR/Dialect.h>
#include <mlir/IR/DialectImplementation.h>
#include <mlir/IR/OpDefinition.h>
#include <mlir/IR/OpImplementation.h>
#include <mlir/IR/SymbolTable.h>
#include <mlir/Interfaces/SideEffectInterfaces.h>

#include <initializer_list>

#include "generator/ir/mha_dialect.h.inc"
#include "generator/ir/mha_enums.h.inc"
#define GET_ATTRDEF_CLASSES
#include "generator/ir/mha_attributes.h.inc"
#define GET_OP_CLASSES
#include "generator/ir/mha_ops.h.inc"

namespace mha::ir {

// An operation that a spec asked for is located at a fused list of named places: the name is the
// key that has a say in it, the place where that key stands in the YAML file. An error about the
// first of `keys` that the list has is reported there; without such a key, at the operation itself.
mlir::InFlightDiagnostic error_at(mlir::Operation* op, std::initializer_list<llvm::StringRef> keys);

// The result of the attention that the spec calls `name`; null where there is none. "output" is not
// among them: a block's is made from it.
mlir::Value other_result(AttentionOp op, llvm::StringRef name);

// What lies between a projection or an input and an attention's q or k: its operations from the
// first to the last, and the value that the first one reads.
struct RowChain {
  mlir::Value source;
  llvm::SmallVector<mlir::Operation*> ops;  // RmsNormOp, RotateOp
};
RowChain row_chain(mlir::Value operand);

// The axes of a tensor with heads, whatever the order they lie in.
struct HeadAxes {
  int64_t batch, length, heads, width;
};
HeadAxes head_axes(mlir::Value value, AxisOrder order = AxisOrder::kBshd);

}  // namespace mha::ir

#endif  // MHA_GENERATOR_IR_DIALECT_H_
