#include "generator/spec/expression.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "generator/spec/keys.h"
#include "generator/spec/text.h"

namespace mha {
namespace {

using Node = Expression::Node;
using Op = Expression::Op;
using Type = Expression::Type;

struct Token {
  enum Kind { kEnd, kNumber, kName, kSymbol } kind = kEnd;
  std::string_view text;
  size_t offset = 0;
};

struct Function {
  const char* name;
  Op op;
  bool many;       // two arguments or more; else one
  bool keeps_int;  // integers in, integer out
};
constexpr Function kFunctions[] = {
    {"min", Op::kMin, true, true},     {"max", Op::kMax, true, true},
    {"abs", Op::kAbs, false, true},    {"exp", Op::kExp, false, false},
    {"log", Op::kLog, false, false},   {"tanh", Op::kTanh, false, false},
    {"sqrt", Op::kSqrt, false, false}, {"floor", Op::kFloor, false, true},
};
constexpr const char* kVariables[] = {"b", "h", "q", "k", "q_len", "k_len", "heads", "d_head"};

const Function* find_function(std::string_view name) {
  for (const Function& f : kFunctions) {
    if (name == f.name) return &f;
  }
  return nullptr;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// Thrown out of the recursive descent, caught at its entry.
struct Failure {
  ExpressionError error;
};
[[noreturn]] void fail(size_t offset, std::string message, std::string hint = "") {
  throw Failure{{offset, std::move(message), std::move(hint)}};
}

const char* type_name(Type type) {
  return type == Type::kCondition ? "a condition"
         : type == Type::kInt     ? "an integer"
                                  : "a real number";
}

class Parser {
 public:
  Parser(std::string_view text, const ExpressionContext& context) : text_(text), context_(context) {
    next();
  }

  Expression parse() {
    if (token_.kind == Token::kEnd) fail(0, "the expression is empty");
    const int root = expression();
    if (token_.kind != Token::kEnd) unexpected("an operator or the end");
    const Type type = at(root).type;
    if (context_.is_score && type == Type::kCondition) {
      fail(at(root).offset, "a score_rule gives a number, this is a condition",
           "write `a if condition else b`");
    }
    if (!context_.is_score && type != Type::kCondition) {
      fail(at(root).offset,
           std::string("a mask rule is a condition (true attends), this is ") + type_name(type),
           "compare it with something");
    }
    // The root is the last node by construction, except when it is a bare parenthesis around a
    // shared one.
    if (root + 1 != static_cast<int>(result_.nodes.size())) result_.nodes.push_back(Node(at(root)));
    return std::move(result_);
  }

 private:
  // --- tokens ---
  void next() {
    size_t i = position_;
    while (i < text_.size() &&
           (text_[i] == ' ' || text_[i] == '\t' || text_[i] == '\n' || text_[i] == '\r'))
      ++i;
    token_ = {Token::kEnd, text_.substr(i, 0), i};
    if (i < text_.size()) {
      size_t end = i + 1;
      const char c = text_[i];
      const char after = end < text_.size() ? text_[end] : '\0';
      if (is_letter(c)) {
        while (end < text_.size() && (is_letter(text_[end]) || is_digit(text_[end]))) ++end;
        token_.kind = Token::kName;
      } else if (is_digit(c) || (c == '.' && is_digit(after))) {
        end = number_end(i);
        token_.kind = Token::kNumber;
      } else {
        token_.kind = Token::kSymbol;
        if ((after == '=' && std::string_view("<>=!").find(c) != std::string_view::npos) ||
            (c == '/' && after == '/') || (c == '*' && after == '*') ||
            (c == '&' && after == '&') || (c == '|' && after == '|')) {
          ++end;
        }
        // Keep the bytes of one character together, for the message.
        while (end < text_.size() && (static_cast<unsigned char>(text_[end]) & 0xc0) == 0x80) ++end;
      }
      token_.text = text_.substr(i, end - i);
      i = end;
    }
    position_ = i;
  }
  // Takes letters and a second point along, so that 0x10 and 1.2.3 fail as one number.
  size_t number_end(size_t i) const {
    for (; i < text_.size(); ++i) {
      const bool exponent_sign =
          (text_[i] == '+' || text_[i] == '-') && (text_[i - 1] == 'e' || text_[i - 1] == 'E');
      if (!is_digit(text_[i]) && !is_letter(text_[i]) && text_[i] != '.' && !exponent_sign) break;
    }
    return i;
  }
  bool is(std::string_view text) const { return token_.kind != Token::kEnd && token_.text == text; }
  bool take(std::string_view text) {
    if (!is(text)) return false;
    next();
    return true;
  }
  void expect(std::string_view text, const char* for_what) {
    if (!take(text)) unexpected("`" + std::string(text) + "` " + for_what);
  }
  [[noreturn]] void unexpected(const std::string& wanted) {
    std::string hint;
    if (is("&&")) hint = "write `and`";
    if (is("||")) hint = "write `or`";
    if (is("!")) hint = "write `not`";
    if (is("=")) hint = "write `==`";
    if (is("**") || is("^")) hint = "there is no power: multiply, or use exp and log";
    if (is("?")) hint = "write `a if condition else b`";
    if (token_.kind == Token::kName)
      hint = did_you_mean(token_.text, {"and", "or", "not", "if", "else"});
    fail(token_.offset,
         "expected " + wanted + ", got " +
             (token_.kind == Token::kEnd ? "the end" : quote(token_.text)),
         hint);
  }

  // --- nodes ---
  const Node& at(int index) const { return result_.nodes[static_cast<size_t>(index)]; }
  int add(Op op, Type type, std::vector<int> operands, size_t offset) {
    Node node;
    node.op = op;
    node.type = type;
    node.operands = std::move(operands);
    node.offset = offset;
    result_.nodes.push_back(std::move(node));
    return static_cast<int>(result_.nodes.size()) - 1;
  }
  void need_number(int operand, std::string_view op) const {
    if (at(operand).type == Type::kCondition) {
      fail(at(operand).offset, quote(op) + " takes numbers, this is a condition",
           "write `1 if condition else 0`");
    }
  }
  void need_condition(int operand, std::string_view op) const {
    if (at(operand).type != Type::kCondition) {
      fail(at(operand).offset,
           quote(op) + " takes conditions, this is " + type_name(at(operand).type),
           "compare it with something");
    }
  }
  Type wider(int a, int b) const {
    return at(a).type == Type::kReal || at(b).type == Type::kReal ? Type::kReal : Type::kInt;
  }

  // --- grammar ---
  struct Deeper {
    explicit Deeper(Parser* parser) : parser_(parser) {
      if (++parser_->depth_ > kMaxExpressionDepth) {
        fail(parser_->token_.offset,
             "nested too deep: more than " + std::to_string(kMaxExpressionDepth) + " levels");
      }
    }
    ~Deeper() { --parser_->depth_; }
    Parser* parser_;
  };

  int expression() {
    const Deeper deeper(this);
    const int value = or_part();
    const size_t offset = token_.offset;
    if (!take("if")) return value;
    const int condition = or_part();
    need_condition(condition, "if");
    expect("else", "of this `if`");
    const int other = expression();
    const bool mixed = (at(value).type == Type::kCondition) != (at(other).type == Type::kCondition);
    if (mixed) fail(offset, "one side of this `if` is a number, the other a condition");
    const Type type = at(value).type == Type::kCondition ? Type::kCondition : wider(value, other);
    return add(Op::kSelect, type, {condition, value, other}, offset);
  }
  int or_part() {
    int left = and_part();
    for (size_t offset = token_.offset; take("or"); offset = token_.offset)
      left = logical(Op::kOr, left, and_part(), "or", offset);
    return left;
  }
  int and_part() {
    int left = not_part();
    for (size_t offset = token_.offset; take("and"); offset = token_.offset)
      left = logical(Op::kAnd, left, not_part(), "and", offset);
    return left;
  }
  int logical(Op op, int left, int right, std::string_view name, size_t offset) {
    need_condition(left, name);
    need_condition(right, name);
    return add(op, Type::kCondition, {left, right}, offset);
  }
  int not_part() {
    const Deeper deeper(this);
    const size_t offset = token_.offset;
    if (!take("not")) return comparison();
    const int operand = not_part();
    need_condition(operand, "not");
    return add(Op::kNot, Type::kCondition, {operand}, offset);
  }
  int comparison() {
    int left = sum();
    int all = -1;
    for (;;) {
      const Token op = token_;
      if (!is("<") && !is("<=") && !is(">") && !is(">=") && !is("==") && !is("!=")) break;
      next();
      const int right = sum();
      need_number(left, op.text);
      need_number(right, op.text);
      const bool swapped = op.text[0] == '>';
      const Op kind = op.text == "=="       ? Op::kEqual
                      : op.text == "!="     ? Op::kNotEqual
                      : op.text.size() == 2 ? Op::kLessEqual
                                            : Op::kLess;
      const int one =
          add(kind, Type::kCondition,
              swapped ? std::vector<int>{right, left} : std::vector<int>{left, right}, op.offset);
      all = all < 0 ? one : add(Op::kAnd, Type::kCondition, {all, one}, op.offset);
      left = right;
    }
    return all < 0 ? left : all;
  }
  int sum() {
    int left = product();
    while (is("+") || is("-")) {
      const Token op = token_;
      next();
      const int right = product();
      need_number(left, op.text);
      need_number(right, op.text);
      left = add(op.text == "+" ? Op::kAdd : Op::kSubtract, wider(left, right), {left, right},
                 op.offset);
    }
    return left;
  }
  int product() {
    int left = sign();
    while (is("*") || is("/") || is("//") || is("%")) {
      const Token op = token_;
      next();
      const int right = sign();
      need_number(left, op.text);
      need_number(right, op.text);
      if (op.text != "*" && at(right).op == Op::kNumber && at(right).real == 0) {
        fail(at(right).offset, "division by zero");
      }
      const Op kind = op.text == "*"    ? Op::kMultiply
                      : op.text == "/"  ? Op::kDivide
                      : op.text == "//" ? Op::kFloorDivide
                                        : Op::kModulo;
      left = add(kind, kind == Op::kDivide ? Type::kReal : wider(left, right), {left, right},
                 op.offset);
    }
    return left;
  }
  int sign() {
    const Deeper deeper(this);
    const Token op = token_;
    if (!is("-") && !is("+")) return atom();
    next();
    const int operand = sign();
    need_number(operand, op.text);
    return op.text == "+" ? operand : add(Op::kNegate, at(operand).type, {operand}, op.offset);
  }
  int atom() {
    if (token_.kind == Token::kNumber) return number();
    if (token_.kind == Token::kName) return named();
    if (!take("(")) unexpected("a number, a name or `(`");
    const int inside = expression();
    expect(")", "to close this parenthesis");
    return inside;
  }
  int number() {
    const Token start = token_;
    next();
    Node node;
    node.offset = start.offset;
    const char* first = start.text.data();
    const char* last = first + start.text.size();
    const bool whole = std::all_of(first, last, is_digit);
    const auto real = std::from_chars(first, last, node.real);
    if (real.ptr != last || real.ec != std::errc() ||
        !std::isfinite(static_cast<float>(node.real))) {
      fail(start.offset, quote(start.text) + " is no decimal number that a float32 holds");
    }
    if (whole && std::from_chars(first, last, node.integer).ec != std::errc()) {
      fail(start.offset, quote(start.text) + " is too large for an integer");
    }
    if (whole && node.integer > kMaxSize)
      fail(start.offset, quote(start.text) + " is too large for an integer",
           "write it with a point");
    node.type = whole ? Type::kInt : Type::kReal;
    result_.nodes.push_back(std::move(node));
    return static_cast<int>(result_.nodes.size()) - 1;
  }
  int named() {
    const Token start = token_;
    next();
    if (const Function* function = find_function(start.text)) return call(*function, start);
    if (is("[")) return index(start);
    const bool variable =
        std::find(std::begin(kVariables), std::end(kVariables), start.text) != std::end(kVariables);
    if (variable || (start.text == "s" && context_.is_score)) {
      const int node =
          add(Op::kVariable, start.text == "s" ? Type::kReal : Type::kInt, {}, start.offset);
      result_.nodes.back().name = std::string(start.text);
      return node;
    }
    if (start.text == "s") fail(start.offset, "`s`, the score, is known in score_rule only");
    if (start.text == "true" || start.text == "false" || start.text == "True" ||
        start.text == "False") {
      fail(start.offset, quote(start.text) + " is no name here: there are no constant conditions");
    }
    const auto& words = expression_words();
    const bool keyword = std::find(words.begin(), words.end(), start.text) != words.end();
    if (keyword) fail(start.offset, "expected a number, a name or `(`, got " + quote(start.text));
    if (find_table(start.text) != nullptr) {
      fail(start.offset, quote(start.text) + " is a table",
           "index it: " + std::string(start.text) + "[k]");
    }
    if (is("("))
      fail(start.offset, "unknown function " + quote(start.text), suggest(start.text, true));
    fail(start.offset, "unknown name " + quote(start.text), suggest(start.text, false));
  }
  int call(const Function& function, const Token& start) {
    expect("(", "after the function's name");
    const std::vector<int> arguments = list(")", start.text);
    if (function.many ? arguments.size() < 2 : arguments.size() != 1) {
      fail(start.offset, quote(start.text) + " takes " +
                             (function.many ? "two arguments or more" : "one argument") + ", got " +
                             std::to_string(arguments.size()));
    }
    Type type = Type::kInt;
    for (int argument : arguments) type = at(argument).type == Type::kReal ? Type::kReal : type;
    if (!function.keeps_int) type = Type::kReal;
    if (function.op == Op::kFloor) type = Type::kInt;
    return add(function.op, type, arguments, start.offset);
  }
  int index(const Token& start) {
    const Table* table = find_table(start.text);
    if (table == nullptr && context_.tables != nullptr) {
      fail(start.offset, "unknown table " + quote(start.text), suggest_table(start.text));
    }
    next();
    const std::vector<int> indices = list("]", start.text);
    if (indices.empty()) fail(start.offset, quote(start.text) + " needs an index");
    for (int i : indices) {
      if (at(i).type != Type::kInt) {
        fail(at(i).offset, std::string("an index is an integer, this is ") + type_name(at(i).type),
             "use // or floor()");
      }
    }
    if (table != nullptr && indices.size() != table->shape.size()) {
      fail(start.offset, quote(start.text) + " has " + std::to_string(table->shape.size()) +
                             " axes, got " + std::to_string(indices.size()) +
                             (indices.size() == 1 ? " index" : " indices"));
    }
    const Type type = table != nullptr && table->dtype == Dtype::kF32 ? Type::kReal : Type::kInt;
    const int node = add(Op::kTable, type, indices, start.offset);
    result_.nodes.back().name = std::string(start.text);
    return node;
  }
  // Expressions up to `end`, which is taken too.
  std::vector<int> list(std::string_view end, std::string_view what) {
    std::vector<int> items;
    if (take(end)) return items;
    do {
      items.push_back(expression());
      need_number(items.back(), what);
    } while (take(","));
    expect(end, "or `,`");
    return items;
  }

  const Table* find_table(std::string_view name) const {
    if (context_.tables == nullptr) return nullptr;
    for (const Table& table : *context_.tables) {
      if (table.name == name) return &table;
    }
    return nullptr;
  }
  std::string suggest(std::string_view name, bool function) const {
    std::vector<std::string> known;
    for (const Function& f : kFunctions) {
      if (function) known.push_back(f.name);
    }
    if (!function) {
      known.assign(std::begin(kVariables), std::end(kVariables));
      if (context_.is_score) known.push_back("s");
      if (context_.tables != nullptr) {
        for (const Table& table : *context_.tables) known.push_back(table.name);
      }
    }
    const std::string near = did_you_mean(name, known);
    return near.empty() ? (function ? "functions: " : "names: ") + join(known) : near;
  }
  std::string suggest_table(std::string_view name) const {
    std::vector<std::string> known;
    for (const Table& table : *context_.tables) known.push_back(table.name);
    const std::string near = did_you_mean(name, known);
    return near.empty() ? "declare it under `table`" : near;
  }

  std::string_view text_;
  const ExpressionContext& context_;
  size_t position_ = 0;
  int depth_ = 0;
  Token token_;
  Expression result_;
};

}  // namespace

std::optional<Expression> parse_expression(std::string_view text, const ExpressionContext& context,
                                           ExpressionError* error) {
  if (text.size() > kMaxExpressionLength) {
    *error = {0,
              "an expression has at most " + std::to_string(kMaxExpressionLength) +
                  " characters, this one " + std::to_string(text.size()),
              ""};
    return std::nullopt;
  }
  try {
    return Parser(text, context).parse();
  } catch (const Failure& failure) {
    *error = failure.error;
    return std::nullopt;
  }
}

}  // namespace mha
