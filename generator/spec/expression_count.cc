#include "generator/spec/expression_count.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "generator/spec/error.h"

namespace mha {
namespace {

using Kind = Expression::Op;

// Both ends may be taken. Conditions are 0 and 1. NaN has no place in an order: where it may come
// up, in a range that is no point, everything may.
struct Span {
  double low, high;
  bool is_point() const { return low == high || (std::isnan(low) && std::isnan(high)); }
};

const Span kAnything = {-std::numeric_limits<double>::infinity(),
                        std::numeric_limits<double>::infinity()};
const Span kEither = {0, 1};

Span condition(bool always, bool never) {
  if (always) return {1, 1};
  return never ? Span{0, 0} : kEither;
}

// As wide as the results of `f` at the ends: f rises or falls in each operand.
template <typename F>
Span by_corners(const Span& a, const Span& b, F f) {
  const double corners[] = {f(a.low, b.low), f(a.low, b.high), f(a.high, b.low), f(a.high, b.high)};
  if (a.is_point() && b.is_point()) return {corners[0], corners[0]};
  Span span{corners[0], corners[0]};
  for (double corner : corners) {
    if (std::isnan(corner)) return kAnything;
    span = {std::min(span.low, corner), std::max(span.high, corner)};
  }
  return span;
}

template <typename F>
Span rising(const Span& a, F f) {
  const Span span{f(a.low), f(a.high)};
  const bool unknown = !a.is_point() && (std::isnan(span.low) || std::isnan(span.high));
  return unknown ? kAnything : span;
}

// Whole numbers; 0 where they are divided by 0.
double floor_divide(double a, double b) { return b == 0 ? 0 : std::floor(a / b); }
Span modulo(const Span& a, const Span& b) {
  if (!b.is_point()) return kAnything;
  if (b.low == 0) return {0, 0};
  const double whole = floor_divide(a.low, b.low);
  if (whole == floor_divide(a.high, b.low)) return {a.low - whole * b.low, a.high - whole * b.low};
  return b.low > 0 ? Span{0, b.low} : Span{b.low, 0};
}

// Real numbers are divided in float32 before the floor is taken.
Span of_reals(Kind op, const Span& a, const Span& b) {
  if (!a.is_point() || !b.is_point()) return kAnything;
  const double whole = std::floor(static_cast<float>(a.low / b.low));
  const double result = op == Kind::kModulo ? a.low - b.low * whole : whole;
  return {result, result};
}

class Judge {
 public:
  Judge(const Expression& rule, const RuleRow& row, const Span& keys)
      : rule_(rule), row_(row), keys_(keys) {}

  Span root() const { return value(static_cast<int>(rule_.nodes.size()) - 1); }

 private:
  Span value(int index) const {
    const Expression::Node& node = rule_.nodes[static_cast<size_t>(index)];
    Span span = of(node);
    if (node.type == Expression::Type::kReal)
      span = {static_cast<float>(span.low), static_cast<float>(span.high)};
    return span;
  }

  Span variable(const std::string& name) const {
    if (name == "k") return keys_;
    const int64_t number = name == "b"       ? row_.b
                           : name == "h"     ? row_.h
                           : name == "q"     ? row_.q
                           : name == "q_len" ? row_.q_len
                           : name == "k_len" ? row_.k_len
                           : name == "heads" ? row_.heads
                                             : row_.d_head;
    return {static_cast<double>(number), static_cast<double>(number)};
  }

  Span of(const Expression::Node& node) const {
    const auto at = [&](size_t operand) { return value(node.operands[operand]); };
    switch (node.op) {
      case Kind::kNumber:
        return {node.real, node.real};
      case Kind::kVariable:
        return variable(node.name);
      case Kind::kTable:
        throw InternalError("keys of a rule that reads a table are not counted by ranges");
      case Kind::kNot: {
        const Span a = at(0);
        return {1 - a.high, 1 - a.low};
      }
      case Kind::kAnd: {
        const Span a = at(0);
        if (a.high == 0) return a;
        const Span b = at(1);
        return {std::min(a.low, b.low), std::min(a.high, b.high)};
      }
      case Kind::kOr: {
        const Span a = at(0);
        if (a.low == 1) return a;
        const Span b = at(1);
        return {std::max(a.low, b.low), std::max(a.high, b.high)};
      }
      case Kind::kSelect: {
        const Span a = at(0);
        if (a.is_point()) return at(a.low != 0 ? 1 : 2);
        const Span b = at(1), c = at(2);
        return {std::min(b.low, c.low), std::max(b.high, c.high)};
      }
      default:
        return calculated(node.op, at(0), node.operands.size() > 1 ? at(1) : Span{0, 0}, node);
    }
  }

  Span calculated(Kind op, const Span& a, const Span& b, const Expression::Node& node) const {
    switch (op) {
      case Kind::kNegate:
        return {-a.high, -a.low};
      case Kind::kAdd:
        return by_corners(a, b, [](double x, double y) { return x + y; });
      case Kind::kSubtract:
        return by_corners(a, b, [](double x, double y) { return x - y; });
      case Kind::kMultiply:
        return by_corners(a, b, [](double x, double y) { return x * y; });
      case Kind::kDivide:
        if (!b.is_point()) return kAnything;
        return by_corners(a, b, [](double x, double y) { return x / y; });
      case Kind::kFloorDivide:
        if (node.type == Expression::Type::kReal) return of_reals(op, a, b);
        return b.is_point() ? by_corners(a, b, floor_divide) : kAnything;
      case Kind::kModulo:
        return node.type == Expression::Type::kReal ? of_reals(op, a, b) : modulo(a, b);
      case Kind::kLess:
        return condition(a.high < b.low, !(a.low < b.high));
      case Kind::kLessEqual:
        return condition(a.high <= b.low, !(a.low <= b.high));
      case Kind::kEqual:
      case Kind::kNotEqual: {
        const bool same = a.is_point() && b.is_point() && a.low == b.low;
        const bool apart = !(a.low <= b.high && b.low <= a.high);
        return op == Kind::kEqual ? condition(same, apart) : condition(apart, same);
      }
      case Kind::kMin:
      case Kind::kMax: {
        Span span = a;
        for (size_t i = 1; i < node.operands.size(); ++i) {
          const Span other = i == 1 ? b : value(node.operands[i]);
          span = op == Kind::kMin
                     ? Span{std::min(span.low, other.low), std::min(span.high, other.high)}
                     : Span{std::max(span.low, other.low), std::max(span.high, other.high)};
        }
        return span;
      }
      case Kind::kAbs:
        if (a.low >= 0) return a;
        if (a.high <= 0) return {-a.high, -a.low};
        return {0, std::max(-a.low, a.high)};
      case Kind::kExp:
        return rising(a, [](double x) { return std::exp(x); });
      case Kind::kLog:
        return rising(a, [](double x) { return std::log(x); });
      case Kind::kTanh:
        return rising(a, [](double x) { return std::tanh(x); });
      case Kind::kSqrt:
        return rising(a, [](double x) { return std::sqrt(x); });
      case Kind::kFloor:
        return rising(a, [](double x) { return std::floor(x); });
      default:
        throw InternalError("an operation in a rule that has no value");
    }
  }

  const Expression& rule_;
  const RuleRow& row_;
  const Span keys_;
};

}  // namespace

bool reads_tables(const Expression& rule) {
  return std::any_of(rule.nodes.begin(), rule.nodes.end(),
                     [](const Expression::Node& node) { return node.op == Kind::kTable; });
}

bool reads_variable(const Expression& rule, const char* name) {
  return std::any_of(rule.nodes.begin(), rule.nodes.end(), [&](const Expression::Node& node) {
    return node.op == Kind::kVariable && node.name == name;
  });
}

int64_t keys_shown(const Expression& rule, const RuleRow& row, int64_t first, int64_t end,
                   int64_t* steps) {
  if (first >= end) return 0;
  ++*steps;
  const Span shown =
      Judge(rule, row, {static_cast<double>(first), static_cast<double>(end - 1)}).root();
  if (shown.low == 1) return end - first;
  if (shown.high == 0) return 0;
  if (end - first == 1) throw InternalError("a rule neither shows nor hides a key");
  const int64_t middle = first + (end - first) / 2;
  return keys_shown(rule, row, first, middle, steps) + keys_shown(rule, row, middle, end, steps);
}

}  // namespace mha
