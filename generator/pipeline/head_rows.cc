#include "generator/pipeline/head_rows.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <numbers>

#include "generator/pipeline/precision.h"
#include "generator/pipeline/scores.h"

namespace mha {

using Halide::cast;
using Halide::Expr;
using Halide::Func;
using Halide::min;
using Halide::RDom;
using Halide::select;
using Halide::strict_float;
using Halide::Var;

namespace {

// Squares are summed in so many lanes, whatever the target's vectors.
constexpr int kSquareLanes = 16;

template <typename T, typename... More>
std::vector<T> before(const std::vector<Var>& vars, More... first) {
  std::vector<T> all = {first...};
  all.insert(all.end(), vars.begin(), vars.end());
  return all;
}

int turned_dims(const Attention& attention) {
  return attention.rotation ? 2 * static_cast<int>(attention.rotation->inv_freq.size()) : 0;
}

}  // namespace

RowRoot::RowRoot(const Attention& attention, int64_t heads, const Element& element,
                 const std::vector<Var>& vars) {
  const QkNorm& norm = *attention.norm;
  const int width = static_cast<int>(attention.d_head), count = static_cast<int>(heads);
  const int vectors = width / kSquareLanes, rest = width % kSquareLanes;
  // A rotation keeps the squares of a pair, but for its factor.
  const double factor = attention.rotation ? attention.rotation->attention_factor : 1;
  const bool weighted = !norm.before_rope && factor != 1;
  const auto square = [&](const Expr& d, const Expr& head) {
    Expr x = element(d, head);
    if (!weighted) return x * x;
    const float size = static_cast<float>(factor * factor);
    return x * x * select(d < turned_dims(attention), size, 1.0f);
  };
  Var lane("lane");
  const std::vector<Expr> row = before<Expr>(vars);
  square_sum_(vars) = 0.0f;
  if (vectors > 0) {
    RDom all(0, vectors, 0, count, "over_vectors");
    square_lanes_(before<Var>(vars, lane)) = 0.0f;
    square_lanes_(before<Expr>(vars, lane)) += square(all.x * kSquareLanes + lane, all.y);
    over_lanes_ = RDom(0, kSquareLanes, "over_lanes");
    square_sum_(row) += square_lanes_(before<Expr>(vars, Expr(over_lanes_.x)));
  }
  if (rest > 0) {
    RDom all(vectors * kSquareLanes, rest, 0, count, "over_rest");
    square_sum_(row) += square(all.x, all.y);
  }
  const float eps = std::max(static_cast<float>(norm.eps), FLT_MIN);
  Expr mean = square_sum_(row) / static_cast<float>(width * heads) + eps;
  // Exactly: an estimate of the root would do with 12 bits less.
  root(vars) = strict_float(1.0f / strict_float(Halide::sqrt(mean)));
}

void RowRoot::add_to(Stage& stage) const {
  name_funcs(stage, {square_lanes_, square_sum_, root});
  if (over_lanes_.defined()) stage.domains["over_lanes"] = over_lanes_;
}

HeadRows::HeadRows(const Plan& plan, const NormSource& norm, const HeadRow& row,
                   const std::vector<Var>& vars)
    : attention_(plan.attention), norm_(norm), row_(row), vars_(vars) {
  const bool normed = attention_.norm.has_value(), first = normed && attention_.norm->before_rope;
  if (normed && !attention_.norm->all_width) {
    root_.emplace(
        attention_, 1, [&](const Expr& d, const Expr&) { return row_.element(d); }, vars_);
  }
  Var d("d");
  Expr value = weighted(d, first);
  if (attention_.rotation) {
    turn();
    const int dims = turned_dims(attention_), half = dims / 2;
    const bool whole = dims == attention_.d_head;
    Expr of = whole ? Expr(d) : min(d, dims - 1);
    Expr turned = attention_.rotation->interleaved
                      ? turned_(before<Expr>(vars_, of % 2, of / 2))
                      : turned_(before<Expr>(vars_, of % half, of / half));
    value = whole ? turned : select(d < dims, turned, value);
  }
  if (normed && !first) value *= norm_weight(d);
  if (root_) value *= root_->root(before<Expr>(vars_));
  if (normed && !root_) value *= norm_.roots(row_.t, row_.sequence);
  rows(before<Var>(vars_, d)) = value;
  rows.bound(d, 0, static_cast<int>(attention_.d_head));
}

Expr HeadRows::norm_weight(const Expr& d) const {
  const int width = static_cast<int>(attention_.d_head);
  Expr weight = norm_.weight(attention_.norm->all_width ? row_.head * width + d : d);
  return attention_.norm->weight_offset == 1 ? 1.0f + weight : weight;
}

Expr HeadRows::weighted(const Expr& d, bool first) const {
  return first ? row_.element(d) * norm_weight(d) : row_.element(d);
}

void HeadRows::turn() {
  const Rotation& rotation = *attention_.rotation;
  const int half = turned_dims(attention_) / 2;
  const bool first = attention_.norm && attention_.norm->before_rope;
  Var pair("pair"), side("side");
  const Halide::Tuple of_place = cos_sin(row_.position, turn_steps(rotation.inv_freq), pair);
  const float factor = static_cast<float>(rotation.attention_factor);
  angles_(before<Var>(vars_, pair)) = Halide::Tuple(of_place[0] * factor, of_place[1] * factor);

  Expr even = weighted(rotation.interleaved ? 2 * pair : Expr(pair), first),
       odd = weighted(rotation.interleaved ? 2 * pair + 1 : pair + half, first);
  const Halide::Tuple angle = angles_(before<Expr>(vars_, Expr(pair)));
  Expr turned =
      select(side == 0, even * angle[0] - odd * angle[1], odd * angle[0] + even * angle[1]);
  if (rotation.interleaved) {
    turned_(before<Var>(vars_, side, pair)) = turned;
  } else {
    turned_(before<Var>(vars_, pair, side)) = turned;
  }
  turned_.bound(pair, 0, half).bound(side, 0, 2);
}

void HeadRows::add_to(Stage& stage) const {
  if (norm_.weight.defined()) add_input(stage, norm_.weight, norm_.weight_operand);
  if (norm_.roots.defined()) add_input(stage, norm_.roots, norm_.roots_operand);
  name_funcs(stage, {rows, angles_, turned_});
  if (root_) root_->add_to(stage);
}

TurnSteps turn_steps(const std::vector<double>& inv_freq) {
  // Whole vectors, so that no loop over pairs has a remainder.
  constexpr size_t kMostLanes = 16;
  const int count = static_cast<int>((inv_freq.size() + kMostLanes - 1) / kMostLanes * kMostLanes);
  TurnSteps steps{Halide::Buffer<uint32_t>(count, "turn_steps_high"),
                  Halide::Buffer<float>(count, "turn_steps_low")};
  steps.high.fill(0);
  steps.low.fill(0);
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const long double turns =
        static_cast<long double>(inv_freq[i]) / (2 * std::numbers::pi_v<long double>);
    const long double step = (turns - std::floor(turns)) * 0x1p32L, high = std::floor(step);
    steps.high(static_cast<int>(i)) = static_cast<uint32_t>(high);
    steps.low(static_cast<int>(i)) = static_cast<float>(step - high);
  }
  return steps;
}

Halide::Tuple cos_sin(const Expr& position, const TurnSteps& steps, const Expr& pair) {
  // The fraction of a turn, times 2^32. The product with `high` is exact modulo 2^32; that with
  // `low` is off by less than position * 2^-23, which is 6e-8 of a turn at 2^31. (A product of 64
  // bits would be exact, and takes twice as long.)
  Expr place = Halide::abs(position);  // unsigned: behind 0 angles turn the other way
  Expr rest = cast<uint32_t>(Halide::round(cast<float>(place) * steps.low(pair)));
  Expr fixed = place * steps.high(pair) + rest;
  // Cut into quarter turns and what lies around them.
  Expr quarters = (fixed + (1 << 29)) >> 30;
  Expr around = Halide::reinterpret<int32_t>(fixed - (quarters << 30));
  Expr a = cast<float>(around) * static_cast<float>(2 * std::numbers::pi * 0x1p-32);
  Expr square = a * a;
  // Minimax polynomials on [-pi/4, pi/4] by Lawson's iteration, errors 4e-9 (of sin, relative) and
  // 6e-11; what is left is rounding.
  Expr sin_a = -1.951729790e-4f;
  sin_a = sin_a * square + 8.332177997e-3f;
  sin_a = sin_a * square + -1.666665524e-1f;
  sin_a = sin_a * square * a + a;
  Expr cos_a = 2.439044874e-5f;
  cos_a = cos_a * square + -1.388676348e-3f;
  cos_a = cos_a * square + 4.166662320e-2f;
  cos_a = cos_a * square + -0.5f;
  cos_a = cos_a * square + 1.0f;
  Expr swapped = (quarters & 1) != 0, sin_below = ((quarters & 2) != 0) != (position < 0),
       cos_below = ((quarters + 1) & 2) != 0;
  Expr of_cos = select(swapped, sin_a, cos_a), of_sin = select(swapped, cos_a, sin_a);
  return {select(cos_below, -of_cos, of_cos), select(sin_below, -of_sin, of_sin)};
}

Stage build_norms(const std::string& name, const Plan& plan, const HeadSource& source,
                  int64_t heads, const Range& rows, Symbol rows_symbol, const Operand& output) {
  constexpr int kTaskRows = 256;
  StageScalars scalars(name);
  Var t("t"), b("b");
  Expr length = scalars.length(rows, rows_symbol);
  Expr first = scalars.get(Symbol::kTask0) * kTaskRows;
  Expr sequence = plan.packed ? Expr(0) : scalars.get(Symbol::kTask1);
  const auto element = [&](const Expr& d, const Expr& head) {
    return widened(source.input(d, t, head + static_cast<int>(source.first_head), sequence));
  };
  RowRoot root(plan.attention, heads, element, {t});
  Func out("output");
  out(t, b) = root.root(t);
  out.bound(t, first, min(kTaskRows, length - first)).bound(b, sequence, 1);

  Stage stage;
  stage.name = name;
  add_input(stage, source.input, source.operand);
  scalars.add_to(stage);
  stage.operands.push_back(output);
  stage.pipeline = Halide::Pipeline(out);
  stage.grid = {{1, rows_symbol, kTaskRows}, {1, plan.packed ? Symbol::kOne : Symbol::kBatch, 1}};
  name_funcs(stage, {out});
  root.add_to(stage);
  return stage;
}

}  // namespace mha
