#include "generator/ir/lower.h"

#include <llvm/Support/raw_ostream.h>
#include <mlir/IR/MLIRContext.h>
#include <mlir/IR/Verifier.h>
#include <mlir/Pass/PassManager.h>
#include <mlir/Transforms/Passes.h>

#include "generator/ir/build.h"
#include "generator/ir/read_plan.h"
#include "generator/spec/error.h"

namespace mha {
namespace {

// The first place in a file that a location tells of.
SourceLocation source_location(mlir::Location location) {
  SourceLocation found;
  location->walk([&](mlir::Location inner) {
    auto file = llvm::dyn_cast<mlir::FileLineColLoc>(inner);
    if (!file) return mlir::WalkResult::advance();
    found = {file.getFilename().str(), static_cast<int>(file.getLine()),
             static_cast<int>(file.getColumn())};
    return mlir::WalkResult::interrupt();
  });
  return found;
}

std::string print(mlir::ModuleOp module) {
  std::string text;
  llvm::raw_string_ostream stream(text);
  module.print(stream);
  return text;
}

// Collects errors for as long as it lives.
class DiagnosticCollector {
 public:
  DiagnosticCollector(mlir::MLIRContext* context, std::vector<Diagnostic>& problems)
      : handler_(context, [&problems](mlir::Diagnostic& diagnostic) {
          if (diagnostic.getSeverity() != mlir::DiagnosticSeverity::Error) return;
          problems.push_back({source_location(diagnostic.getLocation()), diagnostic.str(), ""});
        }) {}

 private:
  mlir::ScopedDiagnosticHandler handler_;
};

[[noreturn]] void canonical_form_is_wrong(const Spec& spec, const std::string& why) {
  throw InternalError("canonicalising spec " + spec.name + ": " + why);
}

}  // namespace

LowerResult lower(const Spec& spec) {
  LowerResult result;
  result.problems = unsupported(spec);
  if (!result.problems.empty()) return result;

  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<ir::MhaDialect>();
  context.printOpOnDiagnostic(false);
  mlir::OwningOpRef<mlir::ModuleOp> module = ir::build_module(spec, context);
  {
    DiagnosticCollector collector(&context, result.problems);
    if (mlir::failed(mlir::verify(*module))) {
      if (result.problems.empty())
        throw InternalError("spec " + spec.name + ": an error without a message");
      return result;
    }
  }
  result.mlir_before = print(*module);

  // The spec was right as given: whatever goes wrong from here on is not its fault.
  std::vector<Diagnostic> ours;
  DiagnosticCollector collector(&context, ours);
  mlir::PassManager passes(&context, mlir::ModuleOp::getOperationName());
  passes.addPass(mlir::createCanonicalizerPass());
  if (mlir::failed(passes.run(*module))) {
    canonical_form_is_wrong(spec,
                            ours.empty() ? "an error without a message" : ours.front().message);
  }
  result.mlir_after = print(*module);
  try {
    result.plan = ir::read_plan(*module->getOps<ir::KernelOp>().begin());
  } catch (const UserError& error) {
    canonical_form_is_wrong(spec, error.what());
  }
  return result;
}

}  // namespace mha
