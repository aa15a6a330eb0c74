#include "generator/pipeline/block_rule.h"

#include <string>
#include <utility>

namespace mha {

using Halide::cast;
using Halide::clamp;
using Halide::Expr;
using Halide::Func;
using Halide::max;
using Halide::min;
using Halide::RDom;
using Halide::select;

namespace {

using Node = Expression::Node;
using Kind = Expression::Op;
using Type = Expression::Type;

Expr always(bool value) { return Halide::Internal::make_bool(value); }

}  // namespace

BlockRule::BlockRule(const Rule& rule, Task task) : rule_(rule), task_(std::move(task)) {
  // Where numbers are small, so are their differences.
  for (const WholeRange& range : rule.ranges()) {
    if (!range.fits(31)) wide_ = Halide::Int(64);
  }
  Expr first = (task_.first_block + n_) * task_.key_block + m_ * kGrain;
  first_key_ = max(first, task_.key_begin);
  last_key_ = min(first + kGrain, task_.key_end) - 1;
  const Truth all = truth(rule_.root());
  Expr any_key = first_key_ <= last_key_;
  may_(m_, n_) = select(any_key && all.may, 1, 0);
  must_(m_, n_) = select(any_key && !all.must, 0, 1);
  funcs_.push_back(may_);
  funcs_.push_back(must_);

  // The first and the last group of keys that is not hidden, and whether all is shown.
  const int groups = task_.key_block / kGrain;
  RDom r(0, groups, "r");
  hull_(n_) = Halide::Tuple(groups, 0, 1);
  Expr seen = may_(r, n_) != 0;
  hull_(n_) = Halide::Tuple(select(seen, min(hull_(n_)[0], r), hull_(n_)[0]),
                            select(seen, r + 1, hull_(n_)[1]), min(hull_(n_)[2], must_(r, n_)));
  funcs_.push_back(hull_);
}

Expr BlockRule::key_begin(const Expr& c) const {
  return c * task_.key_block + hull_(c - task_.first_block)[0] * kGrain;
}

Expr BlockRule::key_end(const Expr& c) const {
  Expr groups = hull_(c - task_.first_block)[1];
  return select(groups > 0, min(c * task_.key_block + groups * kGrain, task_.key_end), 0);
}

Expr BlockRule::is_cut(const Expr& c) const { return hull_(c - task_.first_block)[2] == 0; }

Expr BlockRule::wide(const Expr& whole) const { return cast(wide_, whole); }
Expr BlockRule::number(int64_t value) const { return Halide::Internal::make_const(wide_, value); }

bool BlockRule::is_fixed(int node) const {
  return !rule_.reads(node, "q") && !rule_.reads(node, "k");
}

bool BlockRule::is_of_one_side(int node) const {
  return rule_.reads(node, "q") != rule_.reads(node, "k");
}

std::optional<BlockRule::Sum> BlockRule::sum(int index) const {
  const Node& at = rule_.node(index);
  if (at.type != Type::kInt) return std::nullopt;
  if (is_fixed(index)) return Sum{0, 0, wide(rule_.value(index, task_.scope))};
  if (at.op == Kind::kVariable) {
    return Sum{at.name == "q" ? 1 : 0, at.name == "k" ? 1 : 0, number(0)};
  }
  const bool is_sum = at.op == Kind::kAdd || at.op == Kind::kSubtract || at.op == Kind::kNegate ||
                      at.op == Kind::kMultiply;
  if (!is_sum) return std::nullopt;
  constexpr int64_t kMostFactor = int64_t{1} << 24;
  const auto scaled = [this](const Sum& a, int64_t by) {
    return Sum{a.q * by, a.k * by, a.rest * number(by)};
  };
  const auto a = sum(at.operands[0]);
  if (!a) return std::nullopt;
  if (at.op == Kind::kNegate) return scaled(*a, -1);
  const auto b = sum(at.operands[1]);
  if (!b) return std::nullopt;
  if (at.op == Kind::kMultiply) {
    for (const auto& [factor, other] : {std::pair(at.operands[0], *b), {at.operands[1], *a}}) {
      const Node& number = rule_.node(factor);
      if (number.op != Kind::kNumber) continue;
      const Sum product = scaled(other, number.integer);
      if (std::abs(product.q) <= kMostFactor && std::abs(product.k) <= kMostFactor) return product;
    }
    return std::nullopt;
  }
  const Sum other = at.op == Kind::kSubtract ? scaled(*b, -1) : *b;
  return Sum{a->q + other.q, a->k + other.k, a->rest + other.rest};
}

BlockRule::Bounds BlockRule::over_block(const Sum& sum) const {
  const auto term = [this](int64_t factor, const Expr& low, const Expr& high) -> Bounds {
    Expr by = number(factor);
    if (factor >= 0) return {by * wide(low), by * wide(high)};
    return {by * wide(high), by * wide(low)};
  };
  const Bounds q = term(sum.q, task_.first_place, task_.last_place),
               k = term(sum.k, first_key_, last_key_);
  return {q.low + k.low + sum.rest, q.high + k.high + sum.rest};
}

// Of what queries or keys alone decide, by looking at each of them.
BlockRule::Bounds BlockRule::extremes(int index) {
  const auto known = extremes_.find(index);
  if (known != extremes_.end()) return known->second;
  const bool of_keys = rule_.reads(index, "k");
  const std::string name = "block_extremes" + std::to_string(index);
  // Queries are looked at in steps of whole vectors, the last one several times.
  RDom r(0, of_keys ? Expr(kGrain) : (task_.last_place - task_.first_place + 16) / 16 * 16, "r");
  const auto value_of = [&](const Expr& i) {
    RuleScope scope = task_.scope;
    scope.k = clamp((task_.first_block + n_) * task_.key_block + m_ * kGrain + i, task_.key_begin,
                    max(task_.key_end - 1, task_.key_begin));
    scope.q = min(task_.first_place + i, task_.last_place);
    Expr value = rule_.value(index, scope);
    return value.type().is_bool() ? cast<int>(value) : value;
  };
  Func low(name + "_low"), high(name + "_high");
  const auto at = of_keys ? std::vector<Halide::Var>{m_, n_} : std::vector<Halide::Var>{};
  // Begun with a value, not with the type's ends: Halide trims the loop to where an element may
  // change the result, solves for that in terms of the result so far, and the ends overflow there.
  low(at) = value_of(0);
  low(at) = min(low(at), value_of(r));
  high(at) = value_of(0);
  high(at) = max(high(at), value_of(r));
  for (Func& end : std::vector<Func>{low, high}) funcs_.push_back(end);
  Bounds bounds{wide(low(at)), wide(high(at))};
  extremes_[index] = bounds;
  return bounds;
}

BlockRule::Bounds BlockRule::bounds(int index) {
  const Node& at = rule_.node(index);
  if (is_fixed(index)) {
    Expr value = rule_.value(index, task_.scope);
    if (at.type == Type::kInt) value = wide(value);
    return {value, value};
  }
  // Of real numbers, too little is known in exact terms: they are not followed.
  if (at.type == Type::kReal) return {};
  if (const auto terms = sum(index)) return over_block(*terms);
  if (is_of_one_side(index)) return extremes(index);
  std::vector<Bounds> of;
  for (int operand : at.operands) {
    of.push_back(rule_.node(operand).type == Type::kInt ? bounds(operand) : Bounds{});
  }
  const auto all_known = [&](size_t from) {
    for (size_t i = from; i < of.size(); ++i) {
      if (!of[i].known()) return false;
    }
    return true;
  };
  const auto factor = [&](size_t i) -> std::optional<int64_t> {
    const Node& number = rule_.node(at.operands[i]);
    if (number.op != Kind::kNumber || number.type != Type::kInt) return std::nullopt;
    return number.integer;
  };
  switch (at.op) {
    case Kind::kNegate:
      if (!all_known(0)) return {};
      return {-of[0].high, -of[0].low};
    case Kind::kAdd:
      if (!all_known(0)) return {};
      return {of[0].low + of[1].low, of[0].high + of[1].high};
    case Kind::kSubtract:
      if (!all_known(0)) return {};
      return {of[0].low - of[1].high, of[0].high - of[1].low};
    case Kind::kFloorDivide: {
      const auto by = factor(1);
      if (!by || *by < 1 || !of[0].known()) return {};
      return {of[0].low / number(*by), of[0].high / number(*by)};
    }
    case Kind::kModulo: {
      const auto by = factor(1);
      if (!by || *by < 1 || !of[0].known()) return {};
      Expr divisor = number(*by);
      Expr same = of[0].low / divisor == of[0].high / divisor;
      return {select(same, of[0].low % divisor, number(0)),
              select(same, of[0].high % divisor, divisor - number(1))};
    }
    case Kind::kMin:
    case Kind::kMax: {
      if (!all_known(0)) return {};
      Bounds best = of[0];
      for (size_t i = 1; i < of.size(); ++i) {
        const bool least = at.op == Kind::kMin;
        best = {least ? min(best.low, of[i].low) : max(best.low, of[i].low),
                least ? min(best.high, of[i].high) : max(best.high, of[i].high)};
      }
      return best;
    }
    case Kind::kAbs:
      if (!all_known(0)) return {};
      return {max(max(of[0].low, -of[0].high), number(0)), max(of[0].high, -of[0].low)};
    case Kind::kSelect:
      if (!all_known(1)) return {};
      return {min(of[1].low, of[2].low), max(of[1].high, of[2].high)};
    case Kind::kFloor:
      return of[0];
    default:
      return {};
  }
}

BlockRule::Truth BlockRule::compared(const Node& at) {
  Bounds difference;
  const auto a_sum = sum(at.operands[0]), b_sum = sum(at.operands[1]);
  if (a_sum && b_sum) {
    difference = over_block({a_sum->q - b_sum->q, a_sum->k - b_sum->k, a_sum->rest - b_sum->rest});
  } else {
    const bool whole = rule_.node(at.operands[0]).type == Type::kInt &&
                       rule_.node(at.operands[1]).type == Type::kInt;
    if (!whole) return {always(true), always(false)};
    const Bounds a = bounds(at.operands[0]), b = bounds(at.operands[1]);
    if (!a.known() || !b.known()) return {always(true), always(false)};
    difference = {a.low - b.high, a.high - b.low};
  }
  Expr none = number(0);
  const Bounds& d = difference;
  switch (at.op) {
    case Kind::kLess:
      return {d.low < none, d.high < none};
    case Kind::kLessEqual:
      return {d.low <= none, d.high <= none};
    case Kind::kEqual:
      return {d.low <= none && d.high >= none, d.low == none && d.high == none};
    default:
      return {d.low != none || d.high != none, d.low > none || d.high < none};
  }
}

BlockRule::Truth BlockRule::truth(int index) {
  const Node& at = rule_.node(index);
  if (is_fixed(index)) {
    Expr value = rule_.value(index, task_.scope);
    return {value, value};
  }
  const auto of = [&](size_t i) { return truth(at.operands[i]); };
  switch (at.op) {
    case Kind::kNot: {
      const Truth a = of(0);
      return {!a.must, !a.may};
    }
    case Kind::kAnd: {
      const Truth a = of(0), b = of(1);
      return {a.may && b.may, a.must && b.must};
    }
    case Kind::kOr: {
      const Truth a = of(0), b = of(1);
      return {a.may || b.may, a.must || b.must};
    }
    case Kind::kSelect: {
      const Truth chooses = of(0), a = of(1), b = of(2);
      return {(chooses.may && a.may) || (!chooses.must && b.may),
              (!chooses.may || a.must) && (chooses.must || b.must)};
    }
    default:
      break;
  }
  if (at.type == Type::kCondition && is_of_one_side(index) &&
      rule_.node(index).op != Kind::kNumber) {
    const bool sums = sum(at.operands[0]) && sum(at.operands[1]);
    if (!sums) {
      const Bounds b = extremes(index);
      return {b.high == number(1), b.low == number(1)};
    }
  }
  return compared(at);
}

}  // namespace mha
