#include "tools/reference/rules.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

#include "generator/spec/error.h"
#include "tools/reference/sums.h"

namespace mha {
namespace {

using Operator = Expression::Op;
using Type = Expression::Type;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What `f`, monotone around `at`, may be off by when its argument is.
template <typename F>
double inherited(F f, const Estimate& at) {
  if (at.error == 0) return 0;
  const double value = f(at.value);
  const double error =
      std::max(std::abs(f(at.value + at.error) - value), std::abs(value - f(at.value - at.error)));
  return std::isnan(error) ? kInfinity : error;
}

double floor_of(double x) { return std::floor(x); }

}  // namespace

Rule::Rule(const std::string& text, bool is_score, const Spec& spec, const Arrays& inputs,
           Arithmetic arithmetic)
    : spec_(spec), inputs_(inputs), exact_(arithmetic == Arithmetic::kExact) {
  ExpressionError error;
  auto parsed = parse_expression(text, {is_score, &spec.tables}, &error);
  if (!parsed) throw InternalError("the reference cannot read a rule: " + error.message);
  expression_ = std::move(*parsed);
}

Estimate Rule::operator()(const RuleScope& scope) const {
  return eval(static_cast<int>(expression_.nodes.size()) - 1, scope);
}

bool Rule::reads(const std::string& variable) const {
  return std::any_of(expression_.nodes.begin(), expression_.nodes.end(), [&](const Node& node) {
    return node.op == Operator::kVariable && node.name == variable;
  });
}

Estimate Rule::rounded(const Node& node, double value, double error, double roundings) const {
  if (node.type == Type::kInt) return {value, exact_ ? error : 0};
  if (!exact_) return {static_cast<float>(value), 0};
  if (std::isnan(value)) return {value, 0};
  // Beyond float32 there is only infinity.
  if (std::abs(value) > FLT_MAX) return {value > 0 ? kInfinity : -kInfinity, 0};
  error += roundings * kEps * std::abs(value);
  return {value, std::isnan(error) ? kInfinity : error};
}

Estimate Rule::eval(int index, const RuleScope& scope) const {
  const Node& node = expression_.nodes[static_cast<size_t>(index)];
  switch (node.op) {
    case Operator::kNumber:
      if (node.type == Type::kInt) return {static_cast<double>(node.integer), 0};
      return {static_cast<float>(node.real), 0};
    case Operator::kVariable:
      return variable(node, scope);
    case Operator::kTable:
      return table(node, scope);
    case Operator::kNot:
    case Operator::kLess:
    case Operator::kLessEqual:
    case Operator::kEqual:
    case Operator::kNotEqual:
    case Operator::kAnd:
    case Operator::kOr:
      return condition(node, scope);
    case Operator::kSelect:
      return select(node, scope);
    case Operator::kNegate:
    case Operator::kAdd:
    case Operator::kSubtract:
    case Operator::kMultiply:
    case Operator::kDivide:
    case Operator::kFloorDivide:
    case Operator::kModulo:
      return arithmetic(node, scope);
    case Operator::kMin:
    case Operator::kMax:
    case Operator::kAbs:
    case Operator::kExp:
    case Operator::kLog:
    case Operator::kTanh:
    case Operator::kSqrt:
    case Operator::kFloor:
      return function(node, scope);
  }
  throw InternalError("an operator of a rule that the reference does not know");
}

Estimate Rule::variable(const Node& node, const RuleScope& scope) const {
  const std::string& name = node.name;
  if (name == "s") return scope.s;
  const int64_t value = name == "b"       ? scope.b
                        : name == "h"     ? scope.h
                        : name == "q"     ? scope.q
                        : name == "k"     ? scope.k
                        : name == "q_len" ? scope.q_len
                        : name == "k_len" ? scope.k_len
                        : name == "heads" ? spec_.heads
                                          : spec_.d_head;
  return {static_cast<double>(value), 0};
}

Estimate Rule::table(const Node& node, const RuleScope& scope) const {
  const auto found = inputs_.find(node.name);
  if (found == inputs_.end()) {
    throw InternalError("the reference lacks the table '" + node.name + "'");
  }
  const Array& table = found->second;
  size_t place = 0;
  bool sure = true;
  for (size_t axis = 0; axis < node.operands.size(); ++axis) {
    const Estimate index = eval(node.operands[axis], scope);
    sure = sure && index.error == 0;
    const auto at = static_cast<int64_t>(index.value);
    const int64_t extent = table.shape[axis];
    if (at < 0 || at >= extent) {
      throw UserError("a rule reads " + node.name + " at index " + std::to_string(at) +
                      " of axis " + std::to_string(axis) + ", which has " + std::to_string(extent) +
                      " elements");
    }
    place = place * static_cast<size_t>(extent) + static_cast<size_t>(at);
  }
  const double value = table.values[place];
  if (sure) return {value, 0};
  const auto [low, high] = std::minmax_element(table.values.begin(), table.values.end());
  return {value, std::max(*high - value, value - *low)};
}

Estimate Rule::condition(const Node& node, const RuleScope& scope) const {
  const Estimate a = eval(node.operands[0], scope);
  if (node.op == Operator::kNot) return {1 - a.value, a.error};
  if (node.op == Operator::kAnd || node.op == Operator::kOr) {
    const double settles = node.op == Operator::kOr ? 1 : 0;
    if (a.error == 0 && a.value == settles) return a;
    const Estimate b = eval(node.operands[1], scope);
    if (b.error == 0 && b.value == settles) return b;
    const bool value =
        node.op == Operator::kOr ? a.value != 0 || b.value != 0 : a.value != 0 && b.value != 0;
    return {value ? 1.0 : 0.0, std::max(a.error, b.error)};
  }
  const Estimate b = eval(node.operands[1], scope);
  const bool value = node.op == Operator::kLess        ? a.value < b.value
                     : node.op == Operator::kLessEqual ? a.value <= b.value
                     : node.op == Operator::kEqual     ? a.value == b.value
                                                       : a.value != b.value;
  const double error = a.error + b.error;
  return {value ? 1.0 : 0.0, error > 0 && std::abs(a.value - b.value) <= error ? 1.0 : 0.0};
}

Estimate Rule::select(const Node& node, const RuleScope& scope) const {
  const Estimate chooses = eval(node.operands[0], scope);
  const bool first = chooses.value != 0;
  Estimate chosen = eval(node.operands[first ? 1 : 2], scope);
  if (chooses.error == 0) return chosen;
  const Estimate other = eval(node.operands[first ? 2 : 1], scope);
  chosen.error = std::max(chosen.error, std::abs(other.value - chosen.value) + other.error);
  if (std::isnan(chosen.error)) chosen.error = kInfinity;
  return chosen;
}

Estimate Rule::arithmetic(const Node& node, const RuleScope& scope) const {
  const Estimate a = eval(node.operands[0], scope);
  if (node.op == Operator::kNegate) return {-a.value, a.error};
  const Estimate b = eval(node.operands[1], scope);
  if (node.op == Operator::kAdd) return rounded(node, a.value + b.value, a.error + b.error, 1);
  if (node.op == Operator::kSubtract) return rounded(node, a.value - b.value, a.error + b.error, 1);
  if (node.op == Operator::kMultiply) {
    const double error =
        std::abs(a.value) * b.error + std::abs(b.value) * a.error + a.error * b.error;
    return rounded(node, a.value * b.value, error, 1);
  }
  // Of whole numbers by 0: 0.
  if (node.type == Type::kInt && b.value == 0) return {0, 0};
  const double quotient = a.value / b.value;
  const bool sure = a.error == 0 && b.error == 0;
  const double error = sure                           ? 0
                       : std::abs(b.value) <= b.error ? kInfinity
                                                      : (a.error + std::abs(quotient) * b.error) /
                                                            (std::abs(b.value) - b.error);
  if (node.op == Operator::kDivide) return rounded(node, quotient, error, 2);
  // Real numbers are divided in float32 before the floor is taken.
  const double whole =
      std::floor(node.type == Type::kInt ? quotient : static_cast<float>(quotient));
  const double off =
      inherited(floor_of, {quotient, sure ? 0 : error + 2 * kEps * std::abs(quotient)});
  if (node.op == Operator::kFloorDivide) return rounded(node, whole, off, 0);
  const double rest = a.value - b.value * whole;
  if (off > 0) return rounded(node, rest, std::abs(b.value) + a.error + b.error, 1);
  return rounded(node, rest,
                 a.error + std::abs(whole) * b.error +
                     (node.type == Type::kInt ? 0 : 2 * kEps * std::abs(a.value)),
                 1);
}

Estimate Rule::function(const Node& node, const RuleScope& scope) const {
  const Estimate a = eval(node.operands[0], scope);
  const double x = a.value;
  switch (node.op) {
    case Operator::kMin:
    case Operator::kMax: {
      Estimate best = a;
      for (size_t n = 1; n < node.operands.size(); ++n) {
        const Estimate b = eval(node.operands[n], scope);
        const bool takes = node.op == Operator::kMin ? b.value < best.value : b.value > best.value;
        // Where the other's whole range is on the wrong side, it does not count.
        const bool apart = std::abs(b.value - best.value) > b.error + best.error;
        const double error = apart ? (takes ? b.error : best.error) : std::max(b.error, best.error);
        if (takes || std::isnan(b.value)) best.value = b.value;
        best.error = error;
      }
      return rounded(node, best.value, best.error, 0);
    }
    case Operator::kAbs:
      return {std::abs(x), a.error};
    case Operator::kExp:
      // Its argument is multiplied by log2(e) on the way.
      return rounded(node, std::exp(x), inherited([](double v) { return std::exp(v); }, a),
                     8 + std::abs(x));
    case Operator::kLog: {
      const double value = std::log(x);
      double error = inherited([](double v) { return std::log(v); }, a);
      if (std::isfinite(value)) error += kEps;
      return rounded(node, value, error, 8);
    }
    case Operator::kTanh:
      return rounded(node, std::tanh(x), inherited([](double v) { return std::tanh(v); }, a), 8);
    case Operator::kSqrt:
      // What is not negative stays so, whatever its error.
      return rounded(
          node, std::sqrt(x),
          inherited([x](double v) { return std::sqrt(x < 0 ? v : std::max(v, 0.0)); }, a), 2);
    case Operator::kFloor:
      return {std::floor(x), inherited(floor_of, a)};
    default:
      throw InternalError("a function of a rule that the reference does not know");
  }
}

}  // namespace mha
