// What of a mask rule is a mask that the attention has anyway: comparisons of k with q become
// `causal`, `left` and `right`, and a rule of nothing else disappears.
#include "generator/ir/rule_masks.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <optional>

#include "generator/ir/rules.h"

namespace mha::ir {

using llvm::SmallVector;
using mlir::failure;
using mlir::LogicalResult;
using mlir::success;
using mlir::Value;

namespace {

int64_t floor_quotient(int64_t a, int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

// Bounds of k - q: at least -left, at most right.
struct Sides {
  std::optional<int64_t> left, right;
};

// The bounds that are all that `condition` says.
std::optional<Sides> sides_of(Value condition) {
  auto op = condition.getDefiningOp<CalculateOp>();
  if (!op) return std::nullopt;
  const bool equal = op.getKind() == Operator::kEqual;
  const bool less = op.getKind() == Operator::kLess;
  if (!equal && !less && op.getKind() != Operator::kLessEqual) return std::nullopt;
  const auto a = affine_of_places(op.getOperands()[0]), b = affine_of_places(op.getOperands()[1]);
  if (!a || !b) return std::nullopt;
  // factor * (k - q) + constant <= 0, or == 0.
  const int64_t factor = a->k - b->k, constant = a->constant - b->constant + (less ? 1 : 0);
  if (factor == 0 || a->q - b->q != -factor) return std::nullopt;
  Sides sides;
  const int64_t reach = floor_quotient(-constant, std::abs(factor));
  if (factor > 0 || equal) sides.right = reach;
  if (factor < 0) sides.left = reach;
  if (!equal) return sides;
  // k - q is a number that may be none.
  const int64_t distance = -constant / factor;
  if (distance * factor != -constant) return std::nullopt;
  return Sides{-distance, distance};
}

void collect_conjuncts(Value condition, SmallVector<Value>& conjuncts) {
  auto op = condition.getDefiningOp<CalculateOp>();
  if (op && op.getKind() == Operator::kAnd) {
    for (Value operand : op.getOperands()) collect_conjuncts(operand, conjuncts);
  } else {
    conjuncts.push_back(condition);
  }
}

bool is_true(Value condition) {
  auto number = condition.getDefiningOp<NumberOp>();
  return number && llvm::cast<mlir::IntegerAttr>(number.getNumber()).getValue().getBoolValue();
}

// Of what a mask may say; beyond, the rule stays one.
bool is_width(std::optional<int64_t> side) {
  return !side || std::abs(*side) <= std::numeric_limits<int32_t>::max();
}

struct RuleToMask : mlir::OpRewritePattern<AttentionOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(AttentionOp op, mlir::PatternRewriter& rewriter) const override {
    if (op.getMaskRule().empty()) return failure();
    mlir::Block& block = op.getMaskRule().front();
    auto yield = llvm::cast<YieldOp>(block.back());
    SmallVector<Value> conjuncts, rest;
    collect_conjuncts(yield.getValue(), conjuncts);
    Sides sides;
    const auto narrow = [](std::optional<int64_t>& side, const std::optional<int64_t>& by) {
      if (by) side = side ? std::min(*side, *by) : *by;
    };
    for (Value condition : conjuncts) {
      const auto found = sides_of(condition);
      if (found && is_width(found->left) && is_width(found->right)) {
        narrow(sides.left, found->left);
        narrow(sides.right, found->right);
      } else if (!is_true(condition)) {
        rest.push_back(condition);
      }
    }
    if (rest.size() == conjuncts.size()) return failure();
    const auto given = [](std::optional<uint64_t> side) {
      return side ? std::optional<int64_t>(static_cast<int64_t>(*side)) : std::nullopt;
    };
    narrow(sides.left, given(op.getLeft()));
    narrow(sides.right, given(op.getRight()));
    if (op.getCausal()) narrow(sides.right, int64_t{0});
    rewriter.modifyOpInPlace(op, [&] {
      if (sides.left) op.setLeft(static_cast<uint64_t>(*sides.left));
      op.setCausal(sides.right == 0);
      if (sides.right && *sides.right != 0) {
        op.setRight(static_cast<uint64_t>(*sides.right));
      } else {
        op.removeRightAttr();
      }
    });
    if (rest.empty()) {
      rewriter.eraseBlock(&block);
      return success();
    }
    rewriter.setInsertionPoint(yield);
    Value all = rest.front();
    for (Value condition : llvm::drop_begin(rest)) {
      all = rewriter.create<CalculateOp>(yield.getLoc(), all.getType(), Operator::kAnd,
                                         mlir::ValueRange{all, condition});
    }
    rewriter.replaceOpWithNewOp<YieldOp>(yield, all);
    return success();
  }
};

}  // namespace

void add_rule_patterns(mlir::RewritePatternSet& patterns, mlir::MLIRContext* context) {
  patterns.add<RuleToMask>(context);
}

}  // namespace mha::ir
