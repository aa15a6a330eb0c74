// Whether the indices of tables stay inside of their axes, by MLIR's Presburger library: the pairs
// that a rule is evaluated for are the points of a polyhedron, an index is an affine function on
// it, and the points where it lies outside must be none.
//
// `min`, `max`, `abs` and `if` split the polyhedron; // and % by a number add a variable; whatever
// else is not affine becomes a variable of which no more is known than its range.
#include <llvm/ADT/StringSwitch.h>
#include <mlir/Analysis/Presburger/IntegerRelation.h>
#include <mlir/Analysis/Presburger/Simplex.h>

#include <algorithm>

#include "generator/ir/rules.h"

namespace mha::ir {

using mlir::failure;
using mlir::LogicalResult;
using mlir::success;
using mlir::presburger::IntegerPolyhedron;
using mlir::presburger::PresburgerSpace;
using mlir::presburger::VarKind;

namespace {

using Kind = Expression::Op;
using Node = Expression::Node;

enum Variable : unsigned { kQ, kK, kB, kH, kQLen, kKLen, kAllKeys, kLq, kLk, kBatch, kVariables };

// A sum over the variables of a polyhedron; factors that are not there are 0.
struct Linear {
  std::vector<int64_t> factors;
  int64_t constant = 0;
};

Linear variable(unsigned index) {
  Linear linear;
  linear.factors.resize(index + 1);
  linear.factors[index] = 1;
  return linear;
}

// a * by_a + b * by_b
Linear combined(const Linear& a, int64_t by_a, const Linear& b = {}, int64_t by_b = 0) {
  Linear sum;
  sum.factors.resize(std::max(a.factors.size(), b.factors.size()));
  for (size_t i = 0; i < a.factors.size(); ++i) sum.factors[i] += a.factors[i] * by_a;
  for (size_t i = 0; i < b.factors.size(); ++i) sum.factors[i] += b.factors[i] * by_b;
  sum.constant = a.constant * by_a + b.constant * by_b;
  return sum;
}

bool is_constant(const Linear& linear) {
  return std::all_of(linear.factors.begin(), linear.factors.end(),
                     [](int64_t f) { return f == 0; });
}

// Keeps the points where linear + constant >= 0.
void keep_nonnegative(IntegerPolyhedron& set, const Linear& linear, int64_t constant = 0) {
  std::vector<int64_t> row = linear.factors;
  row.resize(set.getNumVars() + 1);
  row.back() = linear.constant + constant;
  set.addInequality(row);
}

// Keeps the points where a <= b + constant.
void keep_ordered(IntegerPolyhedron& set, const Linear& a, const Linear& b, int64_t constant = 0) {
  keep_nonnegative(set, combined(b, 1, a, -1), constant);
}

struct Case {
  IntegerPolyhedron set;
  Linear value;
};
using Cases = std::vector<Case>;
using Sets = std::vector<IntegerPolyhedron>;

constexpr size_t kMostCases = 32;   // of one value; beyond, it is only known by its range
constexpr int kMostVisits = 20000;  // of nodes and of the parts that conditions cut, in all

class Prover {
 public:
  Prover(AttentionOp op, mlir::Region& region)
      : op_(op),
        kernel_(op->getParentOfType<KernelOp>()),
        rule_(read_rule(region)),
        ranges_(whole_ranges(rule_.expression, variable_ranges(op))) {}

  LogicalResult run() {
    return visit(static_cast<int>(rule_.expression.nodes.size()) - 1, {visible_pairs()});
  }

 private:
  const Node& node(int index) const { return rule_.expression.nodes[static_cast<size_t>(index)]; }

  // The pairs that the other masks show, in all calls.
  IntegerPolyhedron visible_pairs() {
    IntegerPolyhedron set(PresburgerSpace::getSetSpace(kVariables));
    const auto within = [&](unsigned index, int64_t low, int64_t high) {
      set.addBound(mlir::presburger::BoundType::LB, index, low);
      set.addBound(mlir::presburger::BoundType::UB, index, high);
    };
    const auto below = [&](unsigned a, unsigned b) {
      keep_ordered(set, variable(a), variable(b), -1);
    };
    const auto at_most = [&](unsigned a, unsigned b) {
      keep_ordered(set, variable(a), variable(b));
    };
    const auto equal = [&](unsigned a, unsigned b) { at_most(a, b), at_most(b, a); };
    const RangeAttr batch = kernel_.getBatch(), queries = kernel_.getQueries(),
                    keys = kernel_.getKeys();
    within(kBatch, batch.getMin(), batch.getMax());
    within(kLq, queries.getMin(), queries.getMax());
    within(kLk, keys.getMin(), keys.getMax());
    within(kB, 0, batch.getMax() - 1);
    below(kB, kBatch);
    within(kH, 0, head_axes(op_.getQ(), op_.getLayout()).heads - 1);
    if (kernel_.equalLengths()) equal(kLq, kLk);
    within(kQLen, 1, queries.getMax());
    at_most(kQLen, kLq);
    if (!kernel_.getPacked()) equal(kQLen, kLq);
    // The keys that a sequence has. Behind a cache they are at most Lk, as sequences of one call
    // have different lengths and a caller may give a larger Lk; and at least those that the call
    // brings.
    const bool cache = has_cache(op_), none = may_bring_none(op_);
    within(kAllKeys, 0, keys.getMax());
    if (!cache) equal(kAllKeys, kernel_.getPacked() ? kQLen : kLk);
    if (cache) at_most(kAllKeys, kLk);
    if (cache && !none) at_most(kQLen, kAllKeys);
    within(kKLen, 0, keys.getMax());
    at_most(kKLen, kAllKeys);
    if (!op_.getKeyLengths()) equal(kKLen, kAllKeys);
    within(kK, 0, keys.getMax() - 1);
    below(kK, kKLen);
    // q = i + offset, 0 <= i < q_len
    const WholeRange place = variable_ranges(op_).at("q");
    within(kQ, place.low, place.high);
    if (op_.getOffset() == Offset::kStart) below(kQ, kQLen);
    if (op_.getOffset() == Offset::kEnd && !none) {
      // Behind a cache queries end with the keys that there are, else with those of key_lengths.
      const unsigned end = cache ? kAllKeys : kKLen;
      below(kQ, end);
      keep_ordered(set, combined(variable(end), 1, variable(kQLen), -1), variable(kQ));
    }
    if (op_.getCausal()) at_most(kK, kQ);
    if (op_.getRight())
      keep_ordered(set, variable(kK), variable(kQ), static_cast<int64_t>(*op_.getRight()));
    if (op_.getLeft())
      keep_ordered(set, variable(kQ), variable(kK), static_cast<int64_t>(*op_.getLeft()));
    return set;
  }

  // Checks the tables below a node, which is evaluated at the points of `sets`.
  LogicalResult visit(int index, const Sets& sets) {
    const Node& at = node(index);
    if (++visits_ > kMostVisits) return too_long(index);
    if (at.op == Kind::kAnd || at.op == Kind::kOr) {
      if (failed(visit(at.operands[0], sets))) return failure();
      return visit(at.operands[1], where(at.operands[0], at.op == Kind::kAnd, sets));
    }
    if (at.op == Kind::kSelect) {
      if (failed(visit(at.operands[0], sets))) return failure();
      if (failed(visit(at.operands[1], where(at.operands[0], true, sets)))) return failure();
      return visit(at.operands[2], where(at.operands[0], false, sets));
    }
    for (int operand : at.operands) {
      if (failed(visit(operand, sets))) return failure();
    }
    return at.op == Kind::kTable ? inside(index, sets) : success();
  }

  LogicalResult too_long(int index) {
    return error_at(operation(index), {})
           << "the rule is too long to see that its indices stay inside of their tables";
  }

  LogicalResult inside(int index, const Sets& sets) {
    auto lookup = llvm::cast<LookupOp>(operation(index));
    auto input = lookup.getTable().getDefiningOp<InputOp>();
    if (!input || !input.getAxes())
      return error_at(lookup, {}) << "a table must be an input with `axes`";
    for (auto [axis, operand] : llvm::enumerate(node(index).operands)) {
      const auto letter = llvm::cast<mlir::StringAttr>((*input.getAxes())[axis]).getValue();
      const Linear length = extent(letter);
      for (const IntegerPolyhedron& set : sets) {
        const Cases cases = values(operand, set);
        if (visits_ > kMostVisits) return too_long(index);
        for (const Case& of : cases) {
          Case below = of, beyond = of;
          keep_nonnegative(below.set, combined(of.value, -1), -1);
          keep_ordered(beyond.set, length, of.value);
          for (const auto& [outside, how] :
               {std::pair(below, "below 0"),
                std::pair(beyond, "at the end of the axis or behind")}) {
            if (outside.set.isIntegerEmpty()) continue;
            auto error = error_at(lookup, {});
            error << "index " << axis << " of " << input.getName() << " (axis " << letter
                  << ") may be " << how;
            if (const auto point = outside.set.findIntegerSample()) {
              error << ", as at q = " << static_cast<int64_t>((*point)[kQ])
                    << ", k = " << static_cast<int64_t>((*point)[kK])
                    << " of Lq = " << static_cast<int64_t>((*point)[kLq])
                    << ", Lk = " << static_cast<int64_t>((*point)[kLk]);
            }
            return error << "; hold it inside with min, max, % or a condition before it";
          }
        }
      }
    }
    return success();
  }

  Linear extent(llvm::StringRef letter) {
    int64_t number = 0;
    if (!letter.getAsInteger(10, number)) return Linear{{}, number};
    const HeadAxes q = head_axes(op_.getQ(), op_.getLayout()),
                   k = head_axes(op_.getK(), op_.getLayout());
    if (letter == "Lq") return variable(kLq);
    if (letter == "Lk") return variable(kLk);
    if (letter == "B") return variable(kBatch);
    return Linear{{}, letter == "H" ? q.heads : letter == "G" ? k.heads : q.width};
  }

  mlir::Operation* operation(int index) { return rule_.operations[static_cast<size_t>(index)]; }

  // --- values ---

  // What a node of whole numbers is at the points of a set, which is cut up where that takes
  // different forms.
  Cases values(int index, const IntegerPolyhedron& set) {
    if (++visits_ > kMostVisits) return {unknown(index, set)};
    Cases cases = forms(index, set);
    return cases.empty() || cases.size() > kMostCases ? Cases{unknown(index, set)} : cases;
  }

  Case unknown(int index, const IntegerPolyhedron& set) {
    Case of{set, {}};
    const unsigned place = of.set.appendVar(VarKind::SetDim);
    const WholeRange range = ranges_[static_cast<size_t>(index)];
    of.set.addBound(mlir::presburger::BoundType::LB, place, range.low);
    of.set.addBound(mlir::presburger::BoundType::UB, place, range.high);
    of.value = variable(place);
    return of;
  }

  // Empty where nothing is known but the range.
  Cases forms(int index, const IntegerPolyhedron& set) {
    const Node& at = node(index);
    if (at.type != Expression::Type::kInt) return {};
    switch (at.op) {
      case Kind::kNumber:
        return {{set, Linear{{}, at.integer}}};
      case Kind::kVariable:
        return of_variable(at.name, set);
      case Kind::kSelect: {
        Cases cases;
        for (bool holds : {true, false}) {
          for (const IntegerPolyhedron& part : where(at.operands[0], holds, {set}))
            append(cases, values(at.operands[holds ? 1 : 2], part));
        }
        return cases;
      }
      case Kind::kMin:
      case Kind::kMax: {
        Cases cases = values(at.operands[0], set);
        for (size_t i = 1; i < at.operands.size(); ++i) {
          Cases best;
          for (const Case& a : cases) {
            for (const Case& b : values(at.operands[i], a.set)) {
              Case first{b.set, a.value}, second{b.set, b.value};
              const Linear& low = at.op == Kind::kMin ? a.value : b.value;
              const Linear& high = at.op == Kind::kMin ? b.value : a.value;
              keep_ordered(first.set, low, high);
              keep_ordered(second.set, high, low, -1);
              best.push_back(std::move(first));
              best.push_back(std::move(second));
            }
          }
          if (best.size() > kMostCases) return {};
          cases = std::move(best);
        }
        return cases;
      }
      case Kind::kAbs: {
        Cases cases;
        for (const Case& a : values(at.operands[0], set)) {
          Case positive = a, negative{a.set, combined(a.value, -1)};
          keep_nonnegative(positive.set, a.value);
          keep_nonnegative(negative.set, negative.value, -1);
          cases.push_back(std::move(positive));
          cases.push_back(std::move(negative));
        }
        return cases;
      }
      case Kind::kFloor:
        return values(at.operands[0], set);
      case Kind::kNegate:
      case Kind::kAdd:
      case Kind::kSubtract:
      case Kind::kMultiply:
      case Kind::kFloorDivide:
      case Kind::kModulo:
        return of_arithmetic(at, set);
      default:
        return {};
    }
  }

  Cases of_variable(const std::string& name, const IntegerPolyhedron& set) {
    const unsigned known = llvm::StringSwitch<unsigned>(name)
                               .Case("q", kQ)
                               .Case("k", kK)
                               .Case("b", kB)
                               .Case("h", kH)
                               .Case("q_len", kQLen)
                               .Case("k_len", kKLen)
                               .Default(kVariables);
    if (known == kVariables) return {};
    return {{set, variable(known)}};
  }

  Cases of_arithmetic(const Node& at, const IntegerPolyhedron& set) {
    Cases cases;
    for (const Case& a : values(at.operands[0], set)) {
      if (at.op == Kind::kNegate) {
        cases.push_back({a.set, combined(a.value, -1)});
        continue;
      }
      for (Case& b : values(at.operands[1], a.set)) {
        const bool by_number = is_constant(b.value);
        if (at.op == Kind::kAdd || at.op == Kind::kSubtract) {
          cases.push_back({b.set, combined(a.value, 1, b.value, at.op == Kind::kAdd ? 1 : -1)});
        } else if (at.op == Kind::kMultiply && by_number) {
          cases.push_back({b.set, combined(a.value, b.value.constant)});
        } else if (at.op == Kind::kMultiply && is_constant(a.value)) {
          cases.push_back({b.set, combined(b.value, a.value.constant)});
        } else if (at.op != Kind::kMultiply && by_number && b.value.constant > 0) {
          // divisor * quotient <= a < divisor * (quotient + 1)
          const int64_t divisor = b.value.constant;
          const Linear quotient = variable(b.set.appendVar(VarKind::SetDim));
          keep_ordered(b.set, combined(quotient, divisor), a.value);
          keep_ordered(b.set, a.value, combined(quotient, divisor), divisor - 1);
          const bool rest = at.op == Kind::kModulo;
          cases.push_back({b.set, rest ? combined(a.value, 1, quotient, -divisor) : quotient});
        } else {
          return {};
        }
      }
    }
    return cases;
  }

  static void append(Cases& cases, Cases more) {
    for (Case& of : more) cases.push_back(std::move(of));
  }

  // --- conditions ---

  Sets where(int index, bool holds, const Sets& sets) {
    Sets all;
    for (const IntegerPolyhedron& set : sets) {
      if (++visits_ > kMostVisits) return sets;
      for (IntegerPolyhedron& part : parts(index, holds, set)) all.push_back(std::move(part));
      if (all.size() > kMostCases) return sets;
    }
    return all;
  }

  // The points of a set where a condition holds (or does not), in parts; more of them where that
  // is not known.
  Sets parts(int index, bool holds, const IntegerPolyhedron& set) {
    const Node& at = node(index);
    switch (at.op) {
      case Kind::kNumber:
        return (at.integer != 0) == holds ? Sets{set} : Sets{};
      case Kind::kNot:
        return where(at.operands[0], !holds, {set});
      case Kind::kAnd:
      case Kind::kOr: {
        // Both sides settle the value, or one alone.
        const bool both = holds == (at.op == Kind::kAnd);
        if (both) return where(at.operands[1], holds, where(at.operands[0], holds, {set}));
        Sets either = where(at.operands[0], holds, {set});
        for (IntegerPolyhedron& part :
             where(at.operands[1], holds, where(at.operands[0], !holds, {set})))
          either.push_back(std::move(part));
        return either;
      }
      case Kind::kLess:
      case Kind::kLessEqual:
      case Kind::kEqual:
      case Kind::kNotEqual:
        return compared(at, holds, set);
      default:
        return {set};
    }
  }

  Sets compared(const Node& at, bool holds, const IntegerPolyhedron& set) {
    for (int operand : at.operands) {
      if (node(operand).type != Expression::Type::kInt) return {set};
    }
    Sets all;
    for (const Case& a : values(at.operands[0], set)) {
      for (const Case& b : values(at.operands[1], a.set)) {
        const auto add = [&](const Linear& low, const Linear& high, int64_t constant) {
          all.push_back(b.set);
          keep_ordered(all.back(), low, high, constant);
        };
        const bool equality = at.op == Kind::kEqual || at.op == Kind::kNotEqual;
        if (equality && holds == (at.op == Kind::kEqual)) {
          add(a.value, b.value, 0);
          keep_ordered(all.back(), b.value, a.value);
        } else if (equality) {
          add(a.value, b.value, -1);
          add(b.value, a.value, -1);
        } else if (holds) {
          add(a.value, b.value, at.op == Kind::kLess ? -1 : 0);
        } else {
          add(b.value, a.value, at.op == Kind::kLess ? 0 : -1);
        }
      }
    }
    // Each condition would double what there is otherwise.
    std::erase_if(all, [](const IntegerPolyhedron& part) {
      return mlir::presburger::Simplex(part).isEmpty();
    });
    return all;
  }

  AttentionOp op_;
  KernelOp kernel_;
  const RegionRule rule_;
  const std::vector<WholeRange> ranges_;
  int visits_ = 0;
};

}  // namespace

LogicalResult verify_indices(AttentionOp op, mlir::Region& region) {
  return Prover(op, region).run();
}

}  // namespace mha::ir
