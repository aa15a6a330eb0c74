// mha-opt: runs passes over modules of the `mha` dialect, for tests and for the curious.
#include <mlir/Tools/mlir-opt/MlirOptMain.h>
#include <mlir/Transforms/Passes.h>

#include "generator/ir/dialect.h"
#include "generator/ir/passes.h"

int main(int argc, char** argv) {
  mlir::DialectRegistry registry;
  registry.insert<mha::ir::MhaDialect>();
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
  mha::ir::register_passes();
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "Optimises modules of the mha dialect\n", registry));
}
