// What every back end wants done first: leave out what has no effect, fold the scale into W_Q,
// merge projections of one input. Each rewrite is of one attention and what feeds it.
#include <llvm/ADT/SmallVector.h>
#include <mlir/IR/PatternMatch.h>

#include <cmath>

#include "generator/ir/dialect.h"
#include "generator/ir/rule_masks.h"

namespace mha::ir {

using llvm::SmallVector;
using mlir::failure;
using mlir::LogicalResult;
using mlir::OpRewritePattern;
using mlir::PatternRewriter;
using mlir::success;
using mlir::Value;

namespace {

// A causal mask that hides nothing: one query that stands at the last key of its sequence, or one
// key.
struct DropCausal : OpRewritePattern<AttentionOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(AttentionOp op, PatternRewriter& rewriter) const override {
    if (!op.getCausal()) return failure();
    auto kernel = op->getParentOfType<KernelOp>();
    // Behind a cache a call of its own number of keys brings some that stand behind the query.
    AppendOp append = op.appended();
    const bool last_query = op.getOffset() == Offset::kEnd && kernel.getQueries().getMax() == 1 &&
                            !(append && append.getBrings());
    const bool only_key = op.getOffset() == Offset::kStart && kernel.getKeys().getMax() == 1;
    if (!last_query && !only_key) return failure();
    rewriter.modifyOpInPlace(op, [&] { op.removeCausalAttr(); });
    return success();
  }
};

// With causal no query sees past itself, whatever lies to the right of it in the window; and where
// the window ends before the query itself, causal hides nothing more.
struct CausalNeedsNoRight : OpRewritePattern<AttentionOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(AttentionOp op, PatternRewriter& rewriter) const override {
    if (!op.getCausal() || !op.getRight()) return failure();
    rewriter.modifyOpInPlace(op, [&] {
      if (static_cast<int64_t>(*op.getRight()) >= 0) {
        op.removeRightAttr();
      } else {
        op.removeCausalAttr();
      }
    });
    return success();
  }
};

// A side of the window that reaches past every key, wherever an offset of the call puts the
// queries.
struct DropWideWindow : OpRewritePattern<AttentionOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(AttentionOp op, PatternRewriter& rewriter) const override {
    auto kernel = op->getParentOfType<KernelOp>();
    const int64_t queries = kernel.getQueries().getMax(), keys = kernel.getKeys().getMax();
    // The largest and the smallest i + offset.
    constexpr int64_t kFarthestOffset = int64_t{1} << 30;  // that the runtime lets through
    int64_t first = 0, last = queries - 1;
    if (op.getOffset() == Offset::kEnd) {
      first = -queries;
      last = keys - 1;
      // Queries stand behind the cached keys, of which there may be no more.
      AppendOp append = op.appended();
      if (append && append.mayBringNone()) last += queries;
    } else if (op.getOffset() == Offset::kInput) {
      first -= kFarthestOffset;
      last += kFarthestOffset;
    }
    const bool left = op.getLeft() && last - static_cast<int64_t>(*op.getLeft()) <= 0;
    const bool right = op.getRight() && first + static_cast<int64_t>(*op.getRight()) >= keys - 1;
    if (!left && !right) return failure();
    rewriter.modifyOpInPlace(op, [&] {
      if (left) op.removeLeftAttr();
      if (right) op.removeRightAttr();
    });
    return success();
  }
};

// Offset `end` is 0 where Lq = Lk, and nobody asks for it where no mask compares positions. Offset
// `input` stays in any case: its tensor belongs to the kernel's interface.
struct EndOffsetToStart : OpRewritePattern<AttentionOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(AttentionOp op, PatternRewriter& rewriter) const override {
    if (op.getOffset() != Offset::kEnd) return failure();
    if (op.appended()) return failure();  // what is in the cache has its place, masks or not
    const bool zero = op->getParentOfType<KernelOp>().equalLengths() && !op.getKeyLengths();
    if (op.comparesPlaces() && !zero) return failure();
    rewriter.modifyOpInPlace(op, [&] { op.setOffset(Offset::kStart); });
    return success();
  }
};

// Whether the attention alone reads its operand, and what that is made of.
bool one_reader(Value operand) {
  const RowChain chain = row_chain(operand);
  return operand.hasOneUse() && chain.source.hasOneUse() &&
         llvm::all_of(chain.ops, [](mlir::Operation* row) { return row->hasOneUse(); });
}

// attention{scale = s}(project(x)) -> attention{scale = 1}(project{weight_scale *= s}(x)).
//
// Only for weights that are packed as f32: the product with s is then rounded once to 24 bits,
// which is what the score's own rounding costs. Only for scales that leave weights far from the
// ends of f32's range. A rotation lets a scale through; a norm would undo it, and keeps this from
// matching.
struct FoldScale : OpRewritePattern<AttentionOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(AttentionOp op, PatternRewriter& rewriter) const override {
    const double scale = op.getScale().convertToDouble();
    const double size = std::abs(scale);
    const RowChain chain = row_chain(op.getQ());
    const bool normed =
        llvm::any_of(chain.ops, [](mlir::Operation* row) { return llvm::isa<RmsNormOp>(row); });
    if (scale == 1 || !(size >= 0x1p-32 && size <= 0x1p32) || normed || !one_reader(op.getQ()))
      return failure();
    auto is_f32 = [](Value weight) {
      return llvm::cast<mlir::RankedTensorType>(weight.getType()).getElementType().isF32();
    };
    mlir::Operation* source = chain.source.getDefiningOp();
    if (auto project = llvm::dyn_cast_or_null<ProjectOp>(source)) {
      if (!is_f32(project.getWeight())) return failure();
      rewriter.modifyOpInPlace(project, [&] {
        project.setWeightScale(llvm::APFloat(project.getWeightScale().convertToDouble() * scale));
      });
    } else if (auto merged = llvm::dyn_cast_or_null<ProjectMergedOp>(source)) {
      const unsigned part = llvm::cast<mlir::OpResult>(chain.source).getResultNumber();
      if (!is_f32(merged.getWeights()[part])) return failure();
      SmallVector<double> scales(merged.getWeightScales());
      scales[part] *= scale;
      rewriter.modifyOpInPlace(merged, [&] { merged.setWeightScales(scales); });
    } else {
      return failure();
    }
    rewriter.modifyOpInPlace(op, [&] { op.setScale(llvm::APFloat(1.0)); });
    return success();
  }
};

// The projections of one attention that read the same input and have the same width become one.
// With D = Dv that is Q, K and V; else Q and K; in cross attention K and V, which read `memory`.
struct MergeProjections : OpRewritePattern<AttentionOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(AttentionOp op, PatternRewriter& rewriter) const override {
    SmallVector<ProjectOp> sources;
    for (Value operand : {op.getQ(), op.getK(), op.getV()}) {
      if (auto append = operand.getDefiningOp<AppendOp>()) operand = append.getRows();
      auto source = row_chain(operand).source.getDefiningOp<ProjectOp>();
      // A projection that something else reads too must stay where that can see it.
      if (source && one_reader(operand)) sources.push_back(source);
    }
    while (sources.size() > 1) {
      ProjectOp first = sources.front();
      SmallVector<ProjectOp> group, rest;
      for (ProjectOp source : sources) {
        const bool fits = source.getX() == first.getX() &&
                          head_axes(source.getY()).width == head_axes(first.getY()).width;
        (fits ? group : rest).push_back(source);
      }
      if (group.size() > 1) {
        // What reads the parts comes after the last of them.
        for (Value operand : {op.getQ(), op.getK()}) {
          for (mlir::Operation* row : row_chain(operand).ops) rewriter.moveOpBefore(row, op);
        }
        merge(group, rewriter);
        return success();
      }
      sources = rest;
    }
    return failure();
  }

 private:
  static void merge(llvm::ArrayRef<ProjectOp> group, PatternRewriter& rewriter) {
    SmallVector<Value> weights, biases;
    SmallVector<bool> biased;
    SmallVector<double> scales;
    SmallVector<mlir::Type> types;
    SmallVector<mlir::Location> places;
    for (ProjectOp part : group) {
      weights.push_back(part.getWeight());
      biased.push_back(static_cast<bool>(part.getBias()));
      if (part.getBias()) biases.push_back(part.getBias());
      scales.push_back(part.getWeightScale().convertToDouble());
      types.push_back(part.getY().getType());
      places.push_back(part.getLoc());
    }
    ProjectOp first = group.front(), last = first;
    for (ProjectOp part : group) {
      if (last->isBeforeInBlock(part)) last = part;
    }
    // All operands are there before the last part, and nothing but the attention and what feeds it
    // alone waits for the first.
    rewriter.setInsertionPoint(last);
    auto merged = rewriter.create<ProjectMergedOp>(rewriter.getFusedLoc(places), types,
                                                   first.getX(), weights, biases, biased, scales);
    for (auto [part, value] : llvm::zip(group, merged.getParts())) rewriter.replaceOp(part, value);
  }
};

}  // namespace

void AttentionOp::getCanonicalizationPatterns(mlir::RewritePatternSet& patterns,
                                              mlir::MLIRContext* context) {
  patterns.add<CausalNeedsNoRight, DropCausal, DropWideWindow, EndOffsetToStart, FoldScale,
               MergeProjections>(context);
  add_rule_patterns(patterns, context);
}

}  // namespace mha::ir
