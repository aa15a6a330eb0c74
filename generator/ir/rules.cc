#include "generator/ir/rules.h"

#include <llvm/ADT/DenseMap.h>

#include "generator/spec/error.h"

namespace mha::ir {

using mlir::Value;

namespace {

using Kind = Expression::Op;
using Type = Expression::Type;

// The two enums list the same operations; those of the IR begin behind names and numbers.
static_assert(static_cast<int>(Kind::kNegate) == 3 && static_cast<int>(Operator::kNegate) == 0 &&
              static_cast<int>(Kind::kSelect) - 3 == static_cast<int>(Operator::kSelect) &&
              static_cast<int>(Kind::kFloor) - 3 == static_cast<int>(Operator::kFloor));
Operator operator_of(Kind op) { return static_cast<Operator>(static_cast<int>(op) - 3); }
Kind op_of(Operator kind) { return static_cast<Kind>(static_cast<int>(kind) + 3); }

mlir::Type mlir_type(Type type, mlir::OpBuilder& builder) {
  if (type == Type::kInt) return builder.getI64Type();
  if (type == Type::kReal) return builder.getF32Type();
  return builder.getI1Type();
}

Type type_of(mlir::Type type) {
  if (type.isInteger(1)) return Type::kCondition;
  return type.isInteger(64) ? Type::kInt : Type::kReal;
}

}  // namespace

void build_rule(mlir::OpBuilder& builder, mlir::Region& region, const Expression& expression,
                const std::map<std::string, Value>& tables,
                const std::function<mlir::Location(size_t)>& place) {
  mlir::OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(&region.emplaceBlock());
  std::vector<Value> values;
  for (const Expression::Node& node : expression.nodes) {
    const mlir::Location where = place(node.offset);
    const mlir::Type type = mlir_type(node.type, builder);
    llvm::SmallVector<Value> operands;
    for (int operand : node.operands) operands.push_back(values[static_cast<size_t>(operand)]);
    Value value;
    if (node.op == Kind::kNumber) {
      mlir::TypedAttr number = builder.getI64IntegerAttr(node.integer);
      if (node.type != Type::kInt) number = builder.getFloatAttr(type, node.real);
      value = builder.create<NumberOp>(where, type, number);
    } else if (node.op == Kind::kVariable) {
      value = builder.create<VariableOp>(where, type, node.name);
    } else if (node.op == Kind::kTable) {
      value = builder.create<LookupOp>(where, type, tables.at(node.name), operands);
    } else {
      value = builder.create<CalculateOp>(where, type, operator_of(node.op), operands);
    }
    values.push_back(value);
  }
  builder.create<YieldOp>(place(expression.root().offset), values.back());
}

RegionRule read_rule(mlir::Region& region) {
  RegionRule rule;
  llvm::DenseMap<Value, int> indices;
  const auto add = [&](Expression::Node node, mlir::Operation* op) {
    rule.expression.nodes.push_back(std::move(node));
    rule.operations.push_back(op);
    return static_cast<int>(rule.expression.nodes.size()) - 1;
  };
  for (mlir::Operation& op : region.front()) {
    if (auto yield = llvm::dyn_cast<YieldOp>(op)) {
      const int root = indices.at(yield.getValue());
      if (root + 1 != static_cast<int>(rule.expression.nodes.size()))
        add(Expression::Node(rule.expression.nodes[static_cast<size_t>(root)]),
            rule.operations[static_cast<size_t>(root)]);
      return rule;
    }
    Expression::Node node;
    node.type = type_of(op.getResult(0).getType());
    if (auto number = llvm::dyn_cast<NumberOp>(op)) {
      node.op = Kind::kNumber;
      if (auto whole = llvm::dyn_cast<mlir::IntegerAttr>(number.getNumber())) {
        node.integer =
            node.type == Type::kCondition ? whole.getValue().getBoolValue() : whole.getInt();
        node.real = static_cast<double>(node.integer);
      } else {
        node.real = llvm::cast<mlir::FloatAttr>(number.getNumber()).getValueAsDouble();
      }
    } else if (auto variable = llvm::dyn_cast<VariableOp>(op)) {
      node.op = Kind::kVariable;
      node.name = variable.getName().str();
    } else if (auto lookup = llvm::dyn_cast<LookupOp>(op)) {
      node.op = Kind::kTable;
      auto input = lookup.getTable().getDefiningOp<InputOp>();
      if (input) node.name = input.getName().str();
      for (Value index : lookup.getIndices()) node.operands.push_back(indices.at(index));
    } else if (auto calculate = llvm::dyn_cast<CalculateOp>(op)) {
      node.op = op_of(calculate.getKind());
      for (Value operand : calculate.getOperands()) node.operands.push_back(indices.at(operand));
    } else {
      throw InternalError("an operation in a rule that is none of the dialect's");
    }
    indices[op.getResult(0)] = add(std::move(node), &op);
  }
  throw InternalError("a rule that yields nothing");
}

bool has_cache(AttentionOp op) { return static_cast<bool>(op.appended()); }

bool may_bring_none(AttentionOp op) {
  AppendOp append = op.appended();
  return append && append.mayBringNone();
}

VariableRanges variable_ranges(AttentionOp op) {
  auto kernel = op->getParentOfType<KernelOp>();
  constexpr int64_t kFarthestOffset = int64_t{1} << 30;  // that the runtime lets through
  const int64_t queries = kernel.getQueries().getMax(), keys = kernel.getKeys().getMax();
  const HeadAxes q = head_axes(op.getQ(), op.getLayout());
  WholeRange place{0, queries - 1};
  if (op.getOffset() == Offset::kEnd) {
    const bool before = op.getKeyLengths() || !kernel.equalLengths();
    place = {before && !has_cache(op) ? -queries : 0, keys - 1};
    if (may_bring_none(op)) place.high += queries;
  } else if (op.getOffset() == Offset::kInput) {
    place = {-kFarthestOffset, queries - 1 + kFarthestOffset};
  }
  const bool ragged = kernel.getPacked();
  return {{"b", {0, kernel.getBatch().getMax() - 1}},
          {"h", {0, q.heads - 1}},
          {"q", place},
          {"k", {0, keys - 1}},
          {"q_len", {ragged ? 1 : kernel.getQueries().getMin(), queries}},
          {"k_len",
           {op.getKeyLengths() || may_bring_none(op) ? 0
            : ragged                                 ? 1
                                                     : kernel.getKeys().getMin(),
            keys}},
          {"heads", {q.heads, q.heads}},
          {"d_head", {q.width, q.width}}};
}

std::optional<AffineOfPlaces> affine_of_places(Value value) {
  if (auto number = value.getDefiningOp<NumberOp>()) {
    auto whole = llvm::dyn_cast<mlir::IntegerAttr>(number.getNumber());
    if (!whole || !value.getType().isInteger(64)) return std::nullopt;
    return AffineOfPlaces{0, 0, whole.getInt()};
  }
  if (auto variable = value.getDefiningOp<VariableOp>()) {
    if (variable.getName() == "q") return AffineOfPlaces{1, 0, 0};
    if (variable.getName() == "k") return AffineOfPlaces{0, 1, 0};
    return std::nullopt;
  }
  auto op = value.getDefiningOp<CalculateOp>();
  if (!op || !value.getType().isInteger(64)) return std::nullopt;
  std::vector<AffineOfPlaces> of;
  for (Value operand : op.getOperands()) {
    const auto affine = affine_of_places(operand);
    if (!affine) return std::nullopt;
    of.push_back(*affine);
  }
  // Factors stay small, so that the sums of bounded numbers do not overflow.
  const auto checked = [](AffineOfPlaces sum) -> std::optional<AffineOfPlaces> {
    constexpr int64_t kMost = int64_t{1} << 31;
    for (int64_t number : {sum.q, sum.k, sum.constant}) {
      if (number > kMost || number < -kMost) return std::nullopt;
    }
    return sum;
  };
  const auto scaled = [](const AffineOfPlaces& a, int64_t by) {
    return AffineOfPlaces{a.q * by, a.k * by, a.constant * by};
  };
  const auto sum = [](const AffineOfPlaces& a, const AffineOfPlaces& b) {
    return AffineOfPlaces{a.q + b.q, a.k + b.k, a.constant + b.constant};
  };
  switch (op.getKind()) {
    case Operator::kNegate:
      return checked(scaled(of[0], -1));
    case Operator::kAdd:
      return checked(sum(of[0], of[1]));
    case Operator::kSubtract:
      return checked(sum(of[0], scaled(of[1], -1)));
    case Operator::kMultiply:
      if (of[0].q == 0 && of[0].k == 0) return checked(scaled(of[1], of[0].constant));
      if (of[1].q == 0 && of[1].k == 0) return checked(scaled(of[0], of[1].constant));
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

}  // namespace mha::ir
