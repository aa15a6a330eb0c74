#include "generator/pipeline/rule.h"

#include <algorithm>
#include <limits>
#include <set>

#include "generator/spec/error.h"

namespace mha {

using Halide::cast;
using Halide::Expr;
using Halide::select;
using Halide::strict_float;

namespace {

using Node = Expression::Node;
using Kind = Expression::Op;
using Type = Expression::Type;

// x where x is NaN, which Halide's functions may lose.
Expr keeping_nan(const Expr& x, const Expr& value) {
  return select(strict_float(x == x), value, x);
}

// Quotient and rest as Python has them; Halide's rest is never negative. By 0 both are 0.
Expr floor_quotient(const Expr& a, const Expr& b) {
  if (Halide::Internal::is_positive_const(b)) return a / b;
  return select(b < 0, (-a) / (-b), a / b);
}
Expr floor_rest(const Expr& a, const Expr& b) {
  if (Halide::Internal::is_positive_const(b)) return a % b;
  return select(b < 0, -((-a) % (-b)), a % b);
}

// Rounded once.
Expr real_rest(const Expr& a, const Expr& b) {
  Expr whole = cast<double>(Halide::floor(strict_float(a / b)));
  return cast<float>(cast<double>(a) - whole * cast<double>(b));
}

// The lesser (or greater) of two; NaN where one is.
Expr extreme(bool least, const Expr& a, const Expr& b) {
  if (!a.type().is_float()) return least ? Halide::min(a, b) : Halide::max(a, b);
  Expr takes = least ? strict_float(b < a) : strict_float(a < b);
  return select(takes || strict_float(b != b), b, a);
}

// Of many, in halves: each level has its operands two or three times.
Expr extreme_of(bool least, const std::vector<Expr>& of, size_t begin, size_t end) {
  if (end - begin == 1) return of[begin];
  const size_t middle = begin + (end - begin + 1) / 2;
  return extreme(least, extreme_of(least, of, begin, middle), extreme_of(least, of, middle, end));
}

Expr compared(Kind op, const Expr& a, const Expr& b) {
  Expr result = op == Kind::kLess        ? a < b
                : op == Kind::kLessEqual ? a <= b
                : op == Kind::kEqual     ? a == b
                                         : a != b;
  return a.type().is_float() ? strict_float(result) : result;
}

}  // namespace

VariableRanges rule_ranges(const Plan& plan) {
  const Attention& a = plan.attention;
  constexpr int64_t kFarthestOffset = int64_t{1} << 30;  // that the runtime lets through
  const int64_t queries = plan.queries().max, keys = plan.keys().max;
  WholeRange place{0, queries - 1};
  if (a.query_offset == QueryOffset::kEnd) place = {-queries, std::max(keys, queries)};
  if (plan.may_bring_none()) place.high = keys + queries;
  if (a.query_offset == QueryOffset::kInput)
    place = {-kFarthestOffset, kFarthestOffset + queries - 1};
  const int64_t heads = a.all_heads;
  return {{"b", {0, plan.batch.max - 1}}, {"h", {0, heads - 1}},           {"q", place},
          {"k", {0, keys - 1}},           {"q_len", {0, queries}},         {"k_len", {0, keys}},
          {"heads", {heads, heads}},      {"d_head", {a.d_head, a.d_head}}};
}

Rule::Rule(const Plan& plan, const Expression& expression, const std::vector<TableSource>& tables)
    : plan_(plan), expression_(expression), tables_(tables), whole_(Halide::Int(32)) {
  ranges_ = whole_ranges(expression, rule_ranges(plan));
  for (size_t i = 0; i < ranges_.size(); ++i) {
    if (expression.nodes[i].type != Type::kInt) {
      ranges_[i] = {0, 0};
    } else if (!ranges_[i].fits(32)) {
      whole_ = Halide::Int(64);
    }
    if (negates_too_low(expression, static_cast<int>(i))) whole_ = Halide::Int(64);
  }
}

// By a negative number // and % negate both, and the lowest of int32 has no negative there.
bool Rule::negates_too_low(const Expression& expression, int index) const {
  const Node& at = expression.nodes[static_cast<size_t>(index)];
  if (at.op != Kind::kFloorDivide && at.op != Kind::kModulo) return false;
  const auto low = [&](size_t i) { return ranges_[static_cast<size_t>(at.operands[i])].low; };
  constexpr int64_t kLowest = std::numeric_limits<int32_t>::min();
  return low(1) < 0 && (low(0) <= kLowest || low(1) <= kLowest);
}

bool Rule::reads(int index, const std::string& variable) const {
  const Node& at = node(index);
  if (at.op == Kind::kVariable) return at.name == variable;
  return std::any_of(at.operands.begin(), at.operands.end(),
                     [&](int operand) { return reads(operand, variable); });
}

bool Rule::reads_table(int index) const {
  const Node& at = node(index);
  return at.op == Kind::kTable || std::any_of(at.operands.begin(), at.operands.end(),
                                              [&](int operand) { return reads_table(operand); });
}

Expr Rule::value(const RuleScope& scope, const Known& known) const {
  return value(root(), scope, known);
}

Expr Rule::value(int index, const RuleScope& scope, const Known& known) const {
  // Of what the node needs alone: operands come before their node.
  std::set<int> needed = {index};
  std::vector<Expr> values(static_cast<size_t>(index) + 1);
  for (int i = index; i >= 0; --i) {
    if (needed.count(i) == 0) continue;
    if (known) values[static_cast<size_t>(i)] = known(i);
    if (values[static_cast<size_t>(i)].defined()) continue;
    needed.insert(node(i).operands.begin(), node(i).operands.end());
  }
  for (int i : needed) {
    if (values[static_cast<size_t>(i)].defined()) continue;
    std::vector<Expr> of;
    for (int operand : node(i).operands) of.push_back(values[static_cast<size_t>(operand)]);
    values[static_cast<size_t>(i)] = evaluate(node(i), scope, of);
  }
  return values.back();
}

Expr Rule::lookup(const Node& at, const std::vector<Expr>& of) const {
  const auto source = std::find_if(tables_.begin(), tables_.end(), [&](const TableSource& table) {
    return table.table.name == at.name;
  });
  if (source == tables_.end()) throw InternalError("a rule reads the table " + at.name);
  // The IR has seen that indices are inside wherever they count. They are held there as well where
  // the result is thrown away, and for the sake of what Halide can see.
  std::vector<Expr> indices;
  const size_t rank = of.size();
  for (size_t i = 0; i < rank; ++i) {
    Expr last = source->input.dim(static_cast<int>(i)).extent() - 1;
    const Expr& index = of[rank - 1 - i];
    indices.push_back(
        cast<int>(Halide::clamp(index, cast(index.type(), 0), cast(index.type(), last))));
  }
  Expr element = source->input(indices);
  return source->table.dtype == Dtype::kF32 ? element : cast(whole_, element);
}

Expr Rule::evaluate(const Node& at, const RuleScope& scope, const std::vector<Expr>& given) const {
  const auto number = [&](const Expr& value) { return cast(whole_, value); };
  if (at.op == Kind::kNumber) {
    if (at.type == Type::kCondition) return Halide::Internal::make_bool(at.integer != 0);
    return at.type == Type::kInt ? Halide::Internal::make_const(whole_, at.integer)
                                 : Expr(static_cast<float>(at.real));
  }
  if (at.op == Kind::kVariable) {
    if (at.name == "s") return scope.s;
    if (at.name == "b") return number(scope.b);
    if (at.name == "h") return number(scope.h);
    if (at.name == "q") return number(scope.q);
    if (at.name == "k") return number(scope.k);
    if (at.name == "q_len") return number(scope.q_len);
    if (at.name == "k_len") return number(scope.k_len);
    const Attention& a = plan_.attention;
    return Halide::Internal::make_const(whole_, at.name == "heads" ? a.all_heads : a.d_head);
  }
  if (at.op == Kind::kTable) return lookup(at, given);
  // Operands of one kind: real ones where one of them, or the result, is real.
  bool real = at.type == Type::kReal || at.op == Kind::kFloor;
  for (int operand : at.operands) real |= node(operand).type == Type::kReal;
  std::vector<Expr> of = given;
  for (size_t i = 0; i < of.size(); ++i) {
    if (real && node(at.operands[i]).type == Type::kInt) of[i] = cast<float>(of[i]);
  }
  // A condition must be the same for everybody: each operation of a mask rule is rounded by itself.
  const bool exact = real && node(root()).type == Type::kCondition;
  const auto rounded = [&](const Expr& value) { return exact ? strict_float(value) : value; };
  switch (at.op) {
    case Kind::kNegate:
      return -of[0];
    case Kind::kNot:
      return !of[0];
    case Kind::kAdd:
      return rounded(of[0] + of[1]);
    case Kind::kSubtract:
      return rounded(of[0] - of[1]);
    case Kind::kMultiply:
      return rounded(of[0] * of[1]);
    case Kind::kDivide:
      return strict_float(of[0] / of[1]);
    case Kind::kFloorDivide:
      return real ? Halide::floor(strict_float(of[0] / of[1])) : floor_quotient(of[0], of[1]);
    case Kind::kModulo:
      if (!real) return floor_rest(of[0], of[1]);
      return real_rest(of[0], of[1]);
    case Kind::kLess:
    case Kind::kLessEqual:
    case Kind::kEqual:
    case Kind::kNotEqual:
      return compared(at.op, of[0], of[1]);
    case Kind::kAnd:
      return of[0] && of[1];
    case Kind::kOr:
      return of[0] || of[1];
    case Kind::kSelect:
      return select(of[0], of[1], of[2]);
    case Kind::kMin:
    case Kind::kMax:
      return extreme_of(at.op == Kind::kMin, of, 0, of.size());
    case Kind::kAbs:
      return at.type == Type::kInt ? number(Halide::abs(of[0])) : Halide::abs(of[0]);
    case Kind::kExp:
      return keeping_nan(of[0], Halide::exp(of[0]));
    case Kind::kLog:
      return keeping_nan(of[0], Halide::log(of[0]));
    case Kind::kTanh:
      return tanh_f32(of[0]);
    case Kind::kSqrt:
      return Halide::sqrt(of[0]);
    case Kind::kFloor: {
      if (node(at.operands[0]).type == Type::kInt) return given[0];
      // The largest float32 below 2^31.
      Expr held = Halide::clamp(Halide::floor(of[0]), -2147483648.0f, 2147483520.0f);
      return number(cast<int>(held));
    }
    default:
      throw InternalError("an operation of a rule that no kernel has");
  }
}

}  // namespace mha
