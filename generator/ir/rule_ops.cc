// The operations of rules: what must hold of each, and what is known of their values already.
#include <mlir/IR/PatternMatch.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "generator/ir/rules.h"

namespace mha::ir {

using llvm::StringRef;
using mlir::Attribute;
using mlir::failure;
using mlir::LogicalResult;
using mlir::OpFoldResult;
using mlir::success;
using mlir::Value;

namespace {

bool is_condition(mlir::Type type) { return type.isInteger(1); }
bool is_whole(mlir::Type type) { return type.isInteger(64); }

bool compares(Operator kind) { return kind >= Operator::kLess && kind <= Operator::kNotEqual; }

}  // namespace

mlir::Operation* MhaDialect::materializeConstant(mlir::OpBuilder& builder, Attribute value,
                                                 mlir::Type type, mlir::Location location) {
  return builder.create<NumberOp>(location, type, llvm::cast<mlir::TypedAttr>(value));
}

// --- what must hold ---

LogicalResult VariableOp::verify() {
  const StringRef name = getName();
  auto attention = llvm::cast<AttentionOp>((*this)->getParentOp());
  const bool score = name == "s";
  const llvm::StringRef whole[] = {"b", "h", "q", "k", "q_len", "k_len", "heads", "d_head"};
  if (!score && !llvm::is_contained(whole, name))
    return error_at(*this, {}) << "a rule knows nothing called \"" << name << "\"";
  if (score && (*this)->getParentRegion() != &attention.getScoreRule())
    return error_at(*this, {}) << "\"s\", the score, is known in a score_rule only";
  if (score ? getType().isF32() : is_whole(getType())) return success();
  return error_at(*this, {}) << "\"" << name << "\" is " << (score ? "f32" : "i64") << ", not "
                             << getType();
}

LogicalResult LookupOp::verify() {
  auto type = llvm::cast<mlir::RankedTensorType>(getTable().getType());
  if (type.getRank() != static_cast<int64_t>(getIndices().size())) {
    return error_at(*this, {}) << "a table of " << type.getRank() << " axes has "
                               << getIndices().size() << " indices";
  }
  if (type.getElementType().isF32() ? getType().isF32() : is_whole(getType())) return success();
  return error_at(*this, {}) << "an element of " << type << " is no " << getType();
}

LogicalResult CalculateOp::verify() {
  const Operator kind = getKind();
  const size_t count = getOperands().size();
  const bool many = kind == Operator::kMin || kind == Operator::kMax;
  const bool one = kind == Operator::kNegate || kind == Operator::kNot || kind >= Operator::kAbs;
  if (many ? count < 2 : count != (one ? 1 : kind == Operator::kSelect ? 3 : 2)) {
    return error_at(*this, {}) << stringifyOperator(kind) << " has " << count << " operands";
  }
  const bool logic = kind == Operator::kNot || kind == Operator::kAnd || kind == Operator::kOr;
  bool real = false;
  for (auto [i, operand] : llvm::enumerate(getOperands())) {
    const mlir::Type type = operand.getType();
    const bool condition = logic || (kind == Operator::kSelect && i == 0);
    const bool any = kind == Operator::kSelect && i > 0;
    if (!any && is_condition(type) != condition) {
      return error_at(*this, {}) << stringifyOperator(kind) << " takes "
                                 << (condition ? "conditions" : "numbers") << ", not " << type;
    }
    real |= type.isF32();
  }
  mlir::Builder builder(getContext());
  mlir::Type want = real ? mlir::Type(builder.getF32Type()) : builder.getI64Type();
  if (logic || compares(kind)) want = builder.getI1Type();
  if (kind == Operator::kDivide || (kind >= Operator::kExp && kind <= Operator::kSqrt))
    want = builder.getF32Type();
  if (kind == Operator::kFloor) want = builder.getI64Type();
  if (kind == Operator::kSelect && is_condition(getOperands()[1].getType())) {
    want = builder.getI1Type();
    if (!is_condition(getOperands()[2].getType()))
      return error_at(*this, {}) << "select has a condition on one side only";
  }
  if (getType() == want) return success();
  return error_at(*this, {}) << stringifyOperator(kind) << " gives " << want << " here, not "
                             << getType();
}

// --- what is known ---

OpFoldResult NumberOp::fold(FoldAdaptor) { return getNumber(); }

OpFoldResult VariableOp::fold(FoldAdaptor) {
  if (getName() == "s") return {};
  const VariableRanges ranges = variable_ranges(llvm::cast<AttentionOp>((*this)->getParentOp()));
  const auto range = ranges.find(getName().str());
  if (range == ranges.end() || range->second.low != range->second.high) return {};
  return mlir::IntegerAttr::get(getType(), range->second.low);
}

namespace {

// A number or condition that is known.
struct Known {
  bool real = false;
  int64_t whole = 0;
  float number = 0;
};

std::optional<Known> known(Attribute attribute) {
  if (auto whole = llvm::dyn_cast_or_null<mlir::IntegerAttr>(attribute)) {
    const int64_t value =
        is_condition(whole.getType()) ? whole.getValue().getBoolValue() : whole.getInt();
    return Known{false, value, static_cast<float>(value)};
  }
  if (auto real = llvm::dyn_cast_or_null<mlir::FloatAttr>(attribute))
    return Known{true, 0, static_cast<float>(real.getValueAsDouble())};
  return std::nullopt;
}

std::optional<int64_t> whole_result(Operator kind, llvm::ArrayRef<Known> of) {
  const int64_t a = of[0].whole, b = of.size() > 1 ? of[1].whole : 0;
  int64_t result = 0;
  const int64_t quotient = b == 0 ? 0 : a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
  switch (kind) {
    case Operator::kNegate:
      return -a;
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
      return result;
    case Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) return std::nullopt;
      return result;
    case Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
      return result;
    case Operator::kFloorDivide:
      return quotient;
    case Operator::kModulo:
      return b == 0 ? 0 : a - quotient * b;
    case Operator::kAbs:
      return a < 0 ? -a : a;
    case Operator::kFloor:
      return a;
    default:
      return std::nullopt;
  }
}

// As a kernel would compute it, in float32.
std::optional<float> real_result(Operator kind, llvm::ArrayRef<Known> of) {
  const float a = of[0].number, b = of.size() > 1 ? of[1].number : 0;
  switch (kind) {
    case Operator::kNegate:
      return -a;
    case Operator::kAdd:
      return a + b;
    case Operator::kSubtract:
      return a - b;
    case Operator::kMultiply:
      return a * b;
    case Operator::kDivide:
      return a / b;
    case Operator::kFloorDivide:
      return std::floor(a / b);
    case Operator::kAbs:
      return std::abs(a);
    case Operator::kExp:
      return std::exp(a);
    case Operator::kLog:
      return std::log(a);
    case Operator::kTanh:
      return std::tanh(a);
    case Operator::kSqrt:
      return std::sqrt(a);
    default:
      return std::nullopt;
  }
}

bool holds(Operator kind, const Known& a, const Known& b) {
  const bool real = a.real || b.real;
  if (kind == Operator::kLess) return real ? a.number < b.number : a.whole < b.whole;
  if (kind == Operator::kLessEqual) return real ? a.number <= b.number : a.whole <= b.whole;
  const bool equal = real ? a.number == b.number : a.whole == b.whole;
  return (kind == Operator::kEqual) == equal;
}

}  // namespace

OpFoldResult CalculateOp::fold(FoldAdaptor adaptor) {
  const Operator kind = getKind();
  const auto constant = [&](size_t i) { return known(adaptor.getOperands()[i]); };
  const auto condition = [&](bool value) -> OpFoldResult {
    return mlir::BoolAttr::get(getContext(), value);
  };
  if (kind == Operator::kAnd || kind == Operator::kOr) {
    const int64_t settles = kind == Operator::kOr;
    for (size_t i : {0, 1}) {
      const auto value = constant(i);
      if (value && value->whole == settles) return condition(settles);
      if (value) return getOperands()[1 - i];
    }
    if (getOperands()[0] == getOperands()[1]) return getOperands()[0];
    return {};
  }
  if (kind == Operator::kSelect) {
    if (const auto chooses = constant(0)) {
      Value chosen = getOperands()[chooses->whole != 0 ? 1 : 2];
      if (chosen.getType() == getType()) return chosen;
    }
    if (getOperands()[1] == getOperands()[2] && getOperands()[1].getType() == getType())
      return getOperands()[1];
    return {};
  }
  if (kind == Operator::kNot) {
    if (const auto value = constant(0)) return condition(value->whole == 0);
    auto inner = getOperands()[0].getDefiningOp<CalculateOp>();
    if (inner && inner.getKind() == Operator::kNot) return inner.getOperands()[0];
    return {};
  }
  // Whole numbers that change nothing. (Of real ones x + 0 may differ from x.)
  if (is_whole(getType()) && getOperands().size() == 2 && !compares(kind)) {
    const auto right = constant(1), left = constant(0);
    const bool sum = kind == Operator::kAdd || kind == Operator::kSubtract;
    if (sum && right && right->whole == 0) return getOperands()[0];
    if (kind == Operator::kAdd && left && left->whole == 0) return getOperands()[1];
    const bool factor = kind == Operator::kMultiply || kind == Operator::kFloorDivide;
    if (factor && right && right->whole == 1) return getOperands()[0];
    if (kind == Operator::kMultiply && left && left->whole == 1) return getOperands()[1];
  }
  std::vector<Known> values;
  for (size_t i = 0; i < getOperands().size(); ++i) {
    const auto value = constant(i);
    if (!value) return {};
    values.push_back(*value);
  }
  if (compares(kind)) return condition(holds(kind, values[0], values[1]));
  if (is_whole(getType())) {
    if (values[0].real) return {};  // the floor of a real number
    if (kind == Operator::kMin || kind == Operator::kMax) {
      const auto [low, high] =
          std::minmax_element(values.begin(), values.end(),
                              [](const Known& a, const Known& b) { return a.whole < b.whole; });
      return mlir::IntegerAttr::get(getType(), kind == Operator::kMin ? low->whole : high->whole);
    }
    const auto result = whole_result(kind, values);
    return result ? OpFoldResult(mlir::IntegerAttr::get(getType(), *result)) : OpFoldResult();
  }
  const auto result = real_result(kind, values);
  return result && std::isfinite(*result) ? OpFoldResult(mlir::FloatAttr::get(getType(), *result))
                                          : OpFoldResult();
}

// --- how conditions are written: no `not` but around comparisons of real numbers ---

namespace {

// not (a < b) -> b <= a of whole numbers, not (a and b) -> not a or not b, and the like. (Of real
// numbers neither may hold, where one is NaN.)
struct MoveNotInward : mlir::OpRewritePattern<CalculateOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(CalculateOp op, mlir::PatternRewriter& rewriter) const override {
    if (op.getKind() != Operator::kNot) return failure();
    auto inner = op.getOperands()[0].getDefiningOp<CalculateOp>();
    if (!inner) return failure();
    const mlir::Location where = inner.getLoc();
    const auto make = [&](Operator kind, Value a, Value b) {
      rewriter.replaceOpWithNewOp<CalculateOp>(op, op.getType(), kind, mlir::ValueRange{a, b});
      return success();
    };
    const auto opposite = [&](Value value) -> Value {
      return rewriter.create<CalculateOp>(where, op.getType(), Operator::kNot, value);
    };
    Value a = inner.getOperands()[0];
    Value b = inner.getOperands().size() > 1 ? inner.getOperands()[1] : Value();
    switch (inner.getKind()) {
      case Operator::kAnd:
        return make(Operator::kOr, opposite(a), opposite(b));
      case Operator::kOr:
        return make(Operator::kAnd, opposite(a), opposite(b));
      case Operator::kEqual:
        return make(Operator::kNotEqual, a, b);
      case Operator::kNotEqual:
        return make(Operator::kEqual, a, b);
      case Operator::kLess:
      case Operator::kLessEqual:
        if (!is_whole(a.getType()) || !is_whole(b.getType())) return failure();
        return make(inner.getKind() == Operator::kLess ? Operator::kLessEqual : Operator::kLess, b,
                    a);
      default:
        return failure();
    }
  }
};

}  // namespace

void CalculateOp::getCanonicalizationPatterns(mlir::RewritePatternSet& patterns,
                                              mlir::MLIRContext* context) {
  patterns.add<MoveNotInward>(context);
}

// --- names of values in printed modules ---

void VariableOp::getAsmResultNames(mlir::OpAsmSetValueNameFn set) { set(getValue(), getName()); }

}  // namespace mha::ir
