#include "generator/spec/expression_text.h"

#include <charconv>

namespace mha {
namespace {

using Kind = Expression::Op;

std::string number(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof(text), value).ptr};
}

const char* symbol(Kind op) {
  switch (op) {
    case Kind::kAdd:
      return " + ";
    case Kind::kSubtract:
      return " - ";
    case Kind::kMultiply:
      return " * ";
    case Kind::kDivide:
      return " / ";
    case Kind::kFloorDivide:
      return " // ";
    case Kind::kModulo:
      return " % ";
    case Kind::kLess:
      return " < ";
    case Kind::kLessEqual:
      return " <= ";
    case Kind::kEqual:
      return " == ";
    case Kind::kNotEqual:
      return " != ";
    case Kind::kAnd:
      return " and ";
    case Kind::kOr:
      return " or ";
    default:
      return nullptr;
  }
}

const char* function(Kind op) {
  switch (op) {
    case Kind::kMin:
      return "min";
    case Kind::kMax:
      return "max";
    case Kind::kAbs:
      return "abs";
    case Kind::kExp:
      return "exp";
    case Kind::kLog:
      return "log";
    case Kind::kTanh:
      return "tanh";
    case Kind::kSqrt:
      return "sqrt";
    default:
      return "floor";
  }
}

std::string text(const Expression& expression, int index, bool outermost) {
  const Expression::Node& node = expression.nodes[static_cast<size_t>(index)];
  const auto of = [&](size_t i) { return text(expression, node.operands[i], false); };
  const auto bracketed = [&](const std::string& inside) {
    return outermost ? inside : "(" + inside + ")";
  };
  switch (node.op) {
    case Kind::kNumber:
      if (node.type == Expression::Type::kCondition) return node.integer != 0 ? "true" : "false";
      if (node.type == Expression::Type::kInt) return std::to_string(node.integer);
      return number(node.real);
    case Kind::kVariable:
      return node.name;
    case Kind::kNegate:
      return bracketed("-" + of(0));
    case Kind::kNot:
      return bracketed("not " + of(0));
    case Kind::kSelect:
      return bracketed(of(1) + " if " + of(0) + " else " + of(2));
    default:
      break;
  }
  if (const char* between = symbol(node.op)) return bracketed(of(0) + between + of(1));
  std::string list;
  for (size_t i = 0; i < node.operands.size(); ++i)
    list += (i == 0 ? "" : ", ") + text(expression, node.operands[i], true);
  if (node.op == Kind::kTable) return node.name + "[" + list + "]";
  return std::string(function(node.op)) + "(" + list + ")";
}

}  // namespace

std::string expression_text(const Expression& expression) {
  return text(expression, static_cast<int>(expression.nodes.size()) - 1, true);
}

}  // namespace mha
