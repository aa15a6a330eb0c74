#include "generator/ir/passes.h"

#include <llvm/Support/raw_ostream.h>
#include <mlir/Pass/Pass.h>
#include <mlir/Pass/PassRegistry.h>

#include "generator/ir/lower.h"
#include "generator/ir/read_plan.h"
#include "generator/spec/error.h"

namespace mha::ir {
namespace {

struct PrintPlan : mlir::PassWrapper<PrintPlan, mlir::OperationPass<mlir::ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(PrintPlan)
  llvm::StringRef getArgument() const final { return "mha-print-plan"; }
  llvm::StringRef getDescription() const final { return "Print the plan of every kernel"; }
  void runOnOperation() override {
    for (KernelOp kernel : getOperation().getOps<KernelOp>()) {
      try {
        llvm::outs() << plan_text(read_plan(kernel));
      } catch (const UserError& error) {
        kernel.emitError(error.what());
        signalPassFailure();
      }
    }
  }
};

}  // namespace

void register_passes() { mlir::PassRegistration<PrintPlan>(); }

}  // namespace mha::ir
