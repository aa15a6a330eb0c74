// The small language of score_rule and mask.rule: parsed and type-checked here, lowered in the IR.
//
//   expression = or_part ["if" or_part "else" expression]
//   or_part    = and_part {"or" and_part}            and_part = not_part {"and" not_part}
//   not_part   = "not" not_part | comparison
//   comparison = sum {("<" | "<=" | ">" | ">=" | "==" | "!=") sum}      a < b < c is a < b and b <
//   c sum        = product {("+" | "-") product} product    = sign {("*" | "/" | "//" | "%") sign}
//   sign       = ("-" | "+") sign | atom
//   atom       = number | name | function "(" list ")" | table "[" list "]" | "(" expression ")"
#ifndef MHA_GENERATOR_SPEC_EXPRESSION_H_
#define MHA_GENERATOR_SPEC_EXPRESSION_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "generator/spec/spec.h"

namespace mha {

struct Expression {
  enum class Type { kInt, kReal, kCondition };
  enum class Op {
    kNumber,    // literal
    kVariable,  // name: s, b, h, q, k, q_len, k_len, heads, d_head
    kTable,     // name[operands]
    kNegate,
    kNot,
    kAdd,
    kSubtract,
    kMultiply,
    kDivide,  // real
    kFloorDivide,
    kModulo,  // floored, as in Python
    kLess,
    kLessEqual,
    kEqual,
    kNotEqual,  // > and >= are these with their sides exchanged
    kAnd,
    kOr,
    kSelect,  // operands: condition, then, else
    kMin,
    kMax,
    kAbs,
    kExp,
    kLog,
    kTanh,
    kSqrt,
    kFloor,
  };
  struct Node {
    Op op = Op::kNumber;
    Type type = Type::kInt;
    std::string name;           // kVariable, kTable
    int64_t integer = 0;        // kNumber of type kInt
    double real = 0;            // kNumber, either type
    std::vector<int> operands;  // indices into nodes, each less than this node's own
    size_t offset = 0;          // of the node in the text
    bool operator==(const Node&) const = default;
  };
  std::vector<Node>
      nodes;  // a node may be used twice (the middle of a < b < c); the last is the root
  const Node& root() const { return nodes.back(); }
  bool operator==(const Expression&) const = default;
};

struct ExpressionContext {
  bool is_score =
      false;  // score_rule: s is known and the value is a number; else the value is a condition
  // Inputs that may be indexed; null: not known (their own config is wrong), so any name passes.
  const std::vector<Table>* tables = nullptr;
};

struct ExpressionError {
  size_t offset = 0;  // into the text
  std::string message;
  std::string hint;
};

inline constexpr size_t kMaxExpressionLength = 4096;
inline constexpr int kMaxExpressionDepth = 64;  // of parentheses and signs

// An expression, or *error.
std::optional<Expression> parse_expression(std::string_view text, const ExpressionContext& context,
                                           ExpressionError* error);

}  // namespace mha

#endif  // MHA_GENERATOR_SPEC_EXPRESSION_H_
