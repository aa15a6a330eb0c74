// The language of score_rule and mask.rule: what parses, to what, and where errors point.
#include "generator/spec/expression.h"

#include <gtest/gtest.h>

#include "cases.h"

namespace mha {
namespace {

using Op = Expression::Op;

const std::vector<Table>& tables() {
  static const std::vector<Table> kTables = {{"doc", {"Lk"}, Dtype::kI32},
                                             {"bias", {"H", "Lk"}, Dtype::kF32}};
  return kTables;
}

// Fully bracketed text of an expression, so that precedence shows.
std::string shown(const Expression& e, int index) {
  const Expression::Node& n = e.nodes[static_cast<size_t>(index)];
  const auto arg = [&](size_t i) { return shown(e, n.operands[i]); };
  const auto list = [&] {
    std::string text;
    for (int operand : n.operands) text += (text.empty() ? "" : ", ") + shown(e, operand);
    return text;
  };
  const auto infix = [&](const char* op) { return "(" + arg(0) + " " + op + " " + arg(1) + ")"; };
  switch (n.op) {
    case Op::kNumber:
      return n.type == Expression::Type::kInt ? std::to_string(n.integer)
                                              : "r" + std::to_string(n.real);
    case Op::kVariable:
      return n.name;
    case Op::kTable:
      return n.name + "[" + list() + "]";
    case Op::kNegate:
      return "(-" + arg(0) + ")";
    case Op::kNot:
      return "(not " + arg(0) + ")";
    case Op::kAdd:
      return infix("+");
    case Op::kSubtract:
      return infix("-");
    case Op::kMultiply:
      return infix("*");
    case Op::kDivide:
      return infix("/");
    case Op::kFloorDivide:
      return infix("//");
    case Op::kModulo:
      return infix("%");
    case Op::kLess:
      return infix("<");
    case Op::kLessEqual:
      return infix("<=");
    case Op::kEqual:
      return infix("==");
    case Op::kNotEqual:
      return infix("!=");
    case Op::kAnd:
      return infix("and");
    case Op::kOr:
      return infix("or");
    case Op::kSelect:
      return "(" + arg(1) + " if " + arg(0) + " else " + arg(2) + ")";
    case Op::kMin:
      return "min(" + list() + ")";
    case Op::kMax:
      return "max(" + list() + ")";
    case Op::kAbs:
      return "abs(" + list() + ")";
    case Op::kExp:
      return "exp(" + list() + ")";
    case Op::kLog:
      return "log(" + list() + ")";
    case Op::kTanh:
      return "tanh(" + list() + ")";
    case Op::kSqrt:
      return "sqrt(" + list() + ")";
    case Op::kFloor:
      return "floor(" + list() + ")";
  }
  return "?";
}

std::string parsed(const std::string& text, bool is_score) {
  ExpressionContext context;
  context.is_score = is_score;
  context.tables = &tables();
  ExpressionError error;
  const std::optional<Expression> e = parse_expression(text, context, &error);
  if (!e) return std::to_string(error.offset) + ": " + error.message;
  for (size_t i = 0; i < e->nodes.size(); ++i) {
    for (int operand : e->nodes[i].operands) EXPECT_LT(operand, static_cast<int>(i)) << text;
  }
  return shown(*e, static_cast<int>(e->nodes.size()) - 1);
}
std::string score(const std::string& text) { return parsed(text, true); }
std::string mask(const std::string& text) { return parsed(text, false); }

TEST(Expression, Precedence) {
  EXPECT_EQ(score("s + q * 2 - k"), "((s + (q * 2)) - k)");
  EXPECT_EQ(score("s - 1 - 2"), "((s - 1) - 2)");
  EXPECT_EQ(score("-s * 2"), "((-s) * 2)");
  EXPECT_EQ(score("q // 2 % 3 / 4"), "(((q // 2) % 3) / 4)");
  EXPECT_EQ(score("(s + q) * 2"), "((s + q) * 2)");
  EXPECT_EQ(score("- -s"), "(-(-s))");
  EXPECT_EQ(score("+s"), "s");
  EXPECT_EQ(mask("k <= q and (q - k < 256 or k < 4)"),
            "((k <= q) and (((q - k) < 256) or (k < 4)))");
  EXPECT_EQ(mask("not k > q and h == 1 or b != 2"), "(((not (q < k)) and (h == 1)) or (b != 2))");
  EXPECT_EQ(mask("k >= q"), "(q <= k)");
  EXPECT_EQ(mask("0 <= q - k < 4"), "((0 <= (q - k)) and ((q - k) < 4))");
  EXPECT_EQ(mask("not not k < q"), "(not (not (k < q)))");
  EXPECT_EQ(score("s if k <= q else s - 1 if h < 2 else 0.5"),
            "(s if (k <= q) else ((s - 1) if (h < 2) else r0.500000))");
  EXPECT_EQ(mask("k < q if h < 2 else k > q"), "((k < q) if (h < 2) else (q < k))");
}

TEST(Expression, NamesFunctionsTables) {
  EXPECT_EQ(score("s*b*h*q*k*q_len*k_len*heads*d_head"),
            "((((((((s * b) * h) * q) * k) * q_len) * k_len) * heads) * d_head)");
  EXPECT_EQ(
      score("min(s, 1, 2) + max(s, q) + abs(s) + exp(s) + log(s) + tanh(s) + sqrt(s) + floor(s)"),
      "(((((((min(s, 1, 2) + max(s, q)) + abs(s)) + exp(s)) + log(s)) + tanh(s)) + sqrt(s)) + "
      "floor(s))");
  EXPECT_EQ(mask("doc[q] == doc[k]"), "(doc[q] == doc[k])");
  EXPECT_EQ(score("s + bias[h, floor(k / 2)]"), "(s + bias[h, floor((k / 2))])");
  EXPECT_EQ(score("1e-3*s + .5 + 2."), "(((r0.001000 * s) + r0.500000) + r2.000000)");
  EXPECT_EQ(score("\n s\t+ 1 "), "(s + 1)");
}

TEST(Expression, Errors) {
  EXPECT_EQ(score(""), "0: the expression is empty");
  EXPECT_EQ(score("s +"), "3: expected a number, a name or `(`, got the end");
  EXPECT_EQ(score("s s"), "2: expected an operator or the end, got `s`");
  EXPECT_EQ(score("(s"), "2: expected `)` to close this parenthesis, got the end");
  EXPECT_EQ(score("s)"), "1: expected an operator or the end, got `)`");
  EXPECT_EQ(score("s ** 2"), "2: expected an operator or the end, got `**`");
  EXPECT_EQ(score("s \xc3\xa4"), "2: expected an operator or the end, got `\xc3\xa4`");
  EXPECT_EQ(score("x + 1"), "0: unknown name `x`");
  EXPECT_EQ(score("sinh(s)"), "0: unknown function `sinh`");
  EXPECT_EQ(score("exp s"), "4: expected `(` after the function's name, got `s`");
  EXPECT_EQ(score("exp(s, s)"), "0: `exp` takes one argument, got 2");
  EXPECT_EQ(score("exp()"), "0: `exp` takes one argument, got 0");
  EXPECT_EQ(score("min(s)"), "0: `min` takes two arguments or more, got 1");
  EXPECT_EQ(score("min(s,)"), "6: expected a number, a name or `(`, got `)`");
  EXPECT_EQ(score("doc + s"), "0: `doc` is a table");
  EXPECT_EQ(score("dox[q]"), "0: unknown table `dox`");
  EXPECT_EQ(score("doc[]"), "0: `doc` needs an index");
  EXPECT_EQ(score("doc[q, k]"), "0: `doc` has 1 axes, got 2 indices");
  EXPECT_EQ(score("bias[h]"), "0: `bias` has 2 axes, got 1 index");
  EXPECT_EQ(score("doc[q / 2]"), "6: an index is an integer, this is a real number");
  EXPECT_EQ(score("doc[s]"), "4: an index is an integer, this is a real number");
  EXPECT_EQ(score("s if k < q"), "10: expected `else` of this `if`, got the end");
  EXPECT_EQ(score("s if k else 1"), "5: `if` takes conditions, this is an integer");
  EXPECT_EQ(score("s if k < q else k < q"),
            "2: one side of this `if` is a number, the other a condition");
  EXPECT_EQ(score("k < q"), "2: a score_rule gives a number, this is a condition");
  EXPECT_EQ(score("s + (k < q)"), "7: `+` takes numbers, this is a condition");
  EXPECT_EQ(score("-(k < q)"), "4: `-` takes numbers, this is a condition");
  EXPECT_EQ(score("exp(k < q)"), "6: `exp` takes numbers, this is a condition");
  EXPECT_EQ(score("s // 0"), "5: division by zero");
  EXPECT_EQ(score("s % 0.0"), "4: division by zero");
  EXPECT_EQ(score("1.2.3"), "0: `1.2.3` is no decimal number that a float32 holds");
  EXPECT_EQ(score("0x10"), "0: `0x10` is no decimal number that a float32 holds");
  EXPECT_EQ(score("1e99"), "0: `1e99` is no decimal number that a float32 holds");
  EXPECT_EQ(score("4294967296"), "0: `4294967296` is too large for an integer");
  EXPECT_EQ(mask("q - k"), "2: a mask rule is a condition (true attends), this is an integer");
  EXPECT_EQ(mask("s < 1"), "0: `s`, the score, is known in score_rule only");
  EXPECT_EQ(mask("k and q < 1"), "0: `and` takes conditions, this is an integer");
  EXPECT_EQ(mask("not k"), "4: `not` takes conditions, this is an integer");
  EXPECT_EQ(mask("(k < q) < 1"), "3: `<` takes numbers, this is a condition");
  EXPECT_EQ(mask("k <= q andd h < 1"), "7: expected an operator or the end, got `andd`");
  EXPECT_EQ(mask("k = q"), "2: expected an operator or the end, got `=`");
  EXPECT_EQ(mask("true"), "0: `true` is no name here: there are no constant conditions");
  EXPECT_EQ(mask("and"), "0: expected a number, a name or `(`, got `and`");
}

TEST(Expression, Limits) {
  EXPECT_EQ(score(std::string(20, '(') + "s" + std::string(20, ')')), "s");
  EXPECT_NE(score(std::string(21, '(') + "s" + std::string(21, ')')).find("nested too deep"),
            std::string::npos);
  EXPECT_NE(score(std::string(2000, '(') + "s").find("nested too deep"), std::string::npos);
  EXPECT_NE(score(std::string(2000, '-') + "s").find("nested too deep"), std::string::npos);
  std::string nots;
  for (int i = 0; i < 900; ++i) nots += "not ";
  EXPECT_NE(mask(nots + "k < q").find("nested too deep"), std::string::npos);
  std::string ifs = "s";
  for (int i = 0; i < 200; ++i) ifs += " if k < q else s";
  EXPECT_NE(score(ifs).find("nested too deep"), std::string::npos);
  EXPECT_NE(score(std::string(5000, ' ') + "s").find("at most 4096 characters"), std::string::npos);
}

class BadExpression : public testing::TestWithParam<BadCase> {};
TEST_P(BadExpression, PointsIntoTheFile) { expect_bad(GetParam()); }

// However YAML writes the text, the caret stands under the word that is wrong.
INSTANTIATE_TEST_SUITE_P(
    Places, BadExpression,
    testing::Values(
        BadCase{attention("score_rule: s + @x\n"), "unknown name `x`"},
        BadCase{attention("score_rule: 's + @x'\n"), "unknown name `x`"},
        BadCase{attention("score_rule: \"s + @x\"\n"), "unknown name `x`"},
        BadCase{attention("score_rule: s +\n   @x + 1\n"), "unknown name `x`"},
        BadCase{attention("score_rule: \"s +\n\n   @x + 1\"\n"), "unknown name `x`"},
        BadCase{attention("score_rule: |\n  s +\n  2 * @x\n"), "unknown name `x`"},
        BadCase{attention("score_rule: >-\n  s +\n  2 * @x\n"), "unknown name `x`"},
        BadCase{attention("score_rule: > # folded\n\n    s +\n\n    2 * @x\n"), "unknown name `x`"},
        BadCase{attention("mask: {rule: 'k < q @\xc3\xa4 x'}\n"), "expected an operator"},
        BadCase{attention("mask:\n  rule: k <= q @&& q < 3\n"), "got `&&`", "write `and`"},
        // An escape hides the way: the start of the text has to do.
        BadCase{attention("score_rule: @\"s \\x2b x\"\n"), "unknown name `x`"},
        BadCase{attention("score_rule: s + @doc[q]\n"), "unknown table `doc`",
                "declare it under `table`"},
        BadCase{attention("mask: {rule: 'k < q'}\ntable: {@doc: [Lk]}\n"), "no rule reads `doc`"},
        BadCase{attention("table: {@doc: [Lk]}\n"), "no rule reads `doc`"}));

TEST(Expression, NumbersAloneAreExpressions) {
  EXPECT_EQ(good(attention("score_rule: 1\n")).score_rule, "1");
  expect_bad({attention("mask: {rule: @1}\n"), "a mask rule is a condition"});
}

}  // namespace
}  // namespace mha
