#include "generator/spec/expression_bounds.h"

#include <algorithm>

namespace mha {
namespace {

using Kind = Expression::Op;
using Wide = __int128;  // products of two bounds

int64_t held(Wide value) {
  return static_cast<int64_t>(
      std::clamp<Wide>(value, -Wide{WholeRange::kMost}, Wide{WholeRange::kMost}));
}

WholeRange range(Wide low, Wide high) { return {held(low), held(high)}; }

int64_t floor_quotient(int64_t a, int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

WholeRange product(const WholeRange& a, const WholeRange& b) {
  const auto [low, high] = std::minmax(
      {Wide{a.low} * b.low, Wide{a.low} * b.high, Wide{a.high} * b.low, Wide{a.high} * b.high});
  return range(low, high);
}

// By a number that is not 0 quotients are monotone in both operands; by 0 they are 0.
WholeRange quotient(const WholeRange& a, const WholeRange& b) {
  WholeRange result{WholeRange::kMost, -WholeRange::kMost};
  const auto include = [&](int64_t value) {
    result.low = std::min(result.low, value);
    result.high = std::max(result.high, value);
  };
  const auto by = [&](int64_t low, int64_t high) {
    if (low > high) return;
    for (int64_t x : {a.low, a.high}) {
      for (int64_t y : {low, high}) include(floor_quotient(x, y));
    }
  };
  by(b.low, std::min<int64_t>(b.high, -1));
  by(std::max<int64_t>(b.low, 1), b.high);
  if (b.low <= 0 && b.high >= 0) include(0);
  return result;
}

// Of the sign of the divisor, and smaller in size.
WholeRange rest(const WholeRange& a, const WholeRange& b) {
  if (b.low > 0 && a.low >= 0 && a.high < b.low) return a;
  return {b.low < 0 ? b.low + 1 : 0, b.high > 0 ? b.high - 1 : 0};
}

}  // namespace

std::vector<WholeRange> whole_ranges(const Expression& expression,
                                     const VariableRanges& variables) {
  std::vector<WholeRange> ranges;
  for (const Expression::Node& node : expression.nodes) {
    const auto operand = [&](size_t i) { return ranges[static_cast<size_t>(node.operands[i])]; };
    WholeRange result;
    const bool whole = node.type == Expression::Type::kInt;
    switch (whole ? node.op : Kind::kExp) {
      case Kind::kNumber:
        result = {node.integer, node.integer};
        break;
      case Kind::kVariable: {
        const auto known = variables.find(node.name);
        if (known != variables.end()) result = known->second;
        break;
      }
      case Kind::kTable:
        result = {INT32_MIN, INT32_MAX};
        break;
      case Kind::kNegate:
        result = {-operand(0).high, -operand(0).low};
        break;
      case Kind::kAdd:
        result =
            range(Wide{operand(0).low} + operand(1).low, Wide{operand(0).high} + operand(1).high);
        break;
      case Kind::kSubtract:
        result =
            range(Wide{operand(0).low} - operand(1).high, Wide{operand(0).high} - operand(1).low);
        break;
      case Kind::kMultiply:
        result = product(operand(0), operand(1));
        break;
      case Kind::kFloorDivide:
        result = quotient(operand(0), operand(1));
        break;
      case Kind::kModulo:
        result = rest(operand(0), operand(1));
        break;
      case Kind::kSelect:
        result = {std::min(operand(1).low, operand(2).low),
                  std::max(operand(1).high, operand(2).high)};
        break;
      case Kind::kMin:
      case Kind::kMax:
        result = operand(0);
        for (size_t i = 1; i < node.operands.size(); ++i) {
          const WholeRange other = operand(i);
          result =
              node.op == Kind::kMin
                  ? WholeRange{std::min(result.low, other.low), std::min(result.high, other.high)}
                  : WholeRange{std::max(result.low, other.low), std::max(result.high, other.high)};
        }
        break;
      case Kind::kAbs: {
        const WholeRange of = operand(0);
        const int64_t most = std::max(of.high, -of.low);
        result = {of.low > 0 ? of.low : of.high < 0 ? -of.high : 0, most};
        break;
      }
      case Kind::kFloor:
        // Of a whole number that itself; a real one is held to 32 bits.
        result =
            expression.nodes[static_cast<size_t>(node.operands[0])].type == Expression::Type::kInt
                ? operand(0)
                : WholeRange{INT32_MIN, INT32_MAX};
        break;
      default:
        break;
    }
    ranges.push_back(result);
  }
  return ranges;
}

}  // namespace mha
