#include "generator/ir/dialect.h"

#include <llvm/ADT/TypeSwitch.h>
#include <mlir/Interfaces/FoldInterfaces.h>

#include "generator/ir/mha_dialect.cc.inc"
#include "generator/ir/mha_enums.cc.inc"
#define GET_ATTRDEF_CLASSES
#include "generator/ir/mha_attributes.cc.inc"
#define GET_OP_CLASSES
#include "generator/ir/mha_ops.cc.inc"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MHA_ADDRESS_SANITIZER
#endif
#endif
#if defined(MHA_ADDRESS_SANITIZER) || defined(__SANITIZE_ADDRESS__)
// The arenas of LLVM mark their unused memory in code that is compiled with AddressSanitizer, which
// ours is and Debian's libMLIR is not: it hands out of the same arenas without taking the marks
// away, and a use of such memory would be taken for an error.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allow_user_poisoning=0"; }
#endif

namespace mha::ir {

using llvm::StringRef;
using mlir::Location;

namespace {

// Numbers that folding finds stay in the rule that they are part of.
struct FoldInRules : mlir::DialectFoldInterface {
  using DialectFoldInterface::DialectFoldInterface;
  bool shouldMaterializeInto(mlir::Region* region) const final {
    return llvm::isa<AttentionOp>(region->getParentOp());
  }
};

}  // namespace

void MhaDialect::initialize() {
  addInterfaces<FoldInRules>();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "generator/ir/mha_attributes.cc.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "generator/ir/mha_ops.cc.inc"
      >();
}

mlir::InFlightDiagnostic error_at(mlir::Operation* op, std::initializer_list<StringRef> keys) {
  for (StringRef key : keys) {
    std::optional<Location> place;
    op->getLoc()->walk([&](Location inner) {
      auto named = llvm::dyn_cast<mlir::NameLoc>(inner);
      if (!named || named.getName() != key) return mlir::WalkResult::advance();
      place = named.getChildLoc();
      return mlir::WalkResult::interrupt();
    });
    if (place) return mlir::emitError(*place);
  }
  return mlir::emitError(op->getLoc());
}

HeadAxes head_axes(mlir::Value value, AxisOrder order) {
  auto type = llvm::cast<mlir::RankedTensorType>(value.getType());
  const bool bshd = order == AxisOrder::kBshd;
  return {type.getDimSize(0), type.getDimSize(bshd ? 1 : 2), type.getDimSize(bshd ? 2 : 1),
          type.getDimSize(3)};
}

mlir::Value other_result(AttentionOp op, StringRef name) {
  if (name == "lse") return op.getLse();
  if (name == "weights") return op.getWeights();
  if (name == "mean_weights") return op.getMeanWeights();
  if (name == "scores") return op.getScores();
  if (name == "scores_capped") return op.getScoresCapped();
  if (name == "scores_masked") return op.getScoresMasked();
  if (name == "top_weights") return op.getTopWeights();
  if (name == "top_indices") return op.getTopIndices();
  return {};
}

RowChain row_chain(mlir::Value operand) {
  RowChain chain{operand, {}};
  while (mlir::Operation* op = chain.source.getDefiningOp()) {
    if (!llvm::isa<RmsNormOp, RotateOp>(op)) break;
    chain.ops.insert(chain.ops.begin(), op);
    chain.source = op->getOperand(0);
  }
  return chain;
}

bool AttentionOp::comparesPlaces() {
  const auto rotated = [](mlir::Value operand) {
    return llvm::any_of(row_chain(operand).ops,
                        [](mlir::Operation* op) { return llvm::isa<RotateOp>(op); });
  };
  return getCausal() || getLeft() || getRight() || getAlibi() || hasRule() || rotated(getQ()) ||
         rotated(getK());
}

AppendOp AttentionOp::appended() { return getK().getDefiningOp<AppendOp>(); }

mlir::Value ProjectMergedOp::bias(unsigned p) {
  llvm::ArrayRef<bool> biased = getBiased();
  if (!biased[p]) return {};
  return getBiases()[llvm::count(biased.take_front(p), true)];
}

// --- names of values in printed modules ---

void InputOp::getAsmResultNames(mlir::OpAsmSetValueNameFn set) { set(getValue(), getName()); }
void WeightOp::getAsmResultNames(mlir::OpAsmSetValueNameFn set) { set(getValue(), getName()); }

// What w_q makes is called q.
static void name_after_weight(mlir::Value result, mlir::Value weight,
                              mlir::OpAsmSetValueNameFn set) {
  auto op = weight.getDefiningOp<WeightOp>();
  if (!op) return;
  StringRef name = op.getName();
  if (name.consume_front("w_")) set(result, name);
}

void ProjectOp::getAsmResultNames(mlir::OpAsmSetValueNameFn set) {
  name_after_weight(getY(), getWeight(), set);
}

void ProjectMergedOp::getAsmResultNames(mlir::OpAsmSetValueNameFn set) {
  for (auto [part, weight] : llvm::zip(getParts(), getWeights()))
    name_after_weight(part, weight, set);
}

void RmsNormOp::getAsmResultNames(mlir::OpAsmSetValueNameFn set) { set(getY(), "normed"); }
void RotateOp::getAsmResultNames(mlir::OpAsmSetValueNameFn set) { set(getY(), "rotated"); }

void ProjectOutOp::getAsmResultNames(mlir::OpAsmSetValueNameFn set) { set(getY(), "y"); }

// What k is appended to is called all_k.
void AppendOp::getAsmResultNames(mlir::OpAsmSetValueNameFn set) {
  const mlir::Value rows = row_chain(getRows()).source;
  mlir::Operation* source = rows.getDefiningOp();
  llvm::StringRef weight;
  if (auto project = llvm::dyn_cast_or_null<ProjectOp>(source)) {
    if (auto w = project.getWeight().getDefiningOp<WeightOp>()) weight = w.getName();
  } else if (auto merged = llvm::dyn_cast_or_null<ProjectMergedOp>(source)) {
    const unsigned part = llvm::cast<mlir::OpResult>(rows).getResultNumber();
    if (auto w = merged.getWeights()[part].getDefiningOp<WeightOp>()) weight = w.getName();
  } else if (auto input = llvm::dyn_cast_or_null<InputOp>(source)) {
    weight = input.getName();
  }
  weight.consume_front("w_");
  if (!weight.empty()) set(getAll(), ("all_" + weight).str());
}

void AttentionOp::getAsmResultNames(mlir::OpAsmSetValueNameFn set) {
  set(getOutput(), "output");
  for (const char* name : {"lse", "weights", "mean_weights", "scores", "scores_capped",
                           "scores_masked", "top_weights", "top_indices"}) {
    if (mlir::Value value = other_result(*this, name)) set(value, name);
  }
}

}  // namespace mha::ir
