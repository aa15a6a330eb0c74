// Norm and rotation of rows of q or k, where a stage loads them. Private to generator/pipeline.
//
//   norm:     n[d] = x[d] w[d] / sqrt(mean_d x^2 + eps), w = weight or 1 + weight
//   rotation: r[i] = n[i] cos a - n[i'] sin a, r[i'] = n[i'] cos a + n[i] sin a of each pair (i,
//   i'),
//             a = position * inv_freq[i]; cos and sin times attention_factor
//
// in this order or the other. The root is one number for a row, which a rotation lets through: it
// is multiplied in last.
#ifndef MHA_GENERATOR_PIPELINE_HEAD_ROWS_H_
#define MHA_GENERATOR_PIPELINE_HEAD_ROWS_H_

#include <Halide.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "generator/pipeline/stages.h"

namespace mha {

// One row, in terms of the variables that number the rows of the caller of HeadRows.
struct HeadRow {
  // x[d] for 0 <= d < D
  std::function<Halide::Expr(const Halide::Expr& d)> element;
  Halide::Expr head;         // the caller's number of its head
  Halide::Expr position;     // int32: its place among the keys; any sign
  Halide::Expr t, sequence;  // of `roots`
};

// 1 / sqrt(mean over d < D and some heads of x[d, head]^2 + eps) of a row, for the norm of the
// plan; after a rotation, of what that makes of the row.
class RowRoot {
 public:
  using Element = std::function<Halide::Expr(const Halide::Expr& d, const Halide::Expr& head)>;
  Halide::Func root{"root"};  // (vars...)

  RowRoot(const Attention& attention, int64_t heads, const Element& element,
          const std::vector<Halide::Var>& vars);
  void add_to(Stage& stage) const;  // the Funcs under their names

 private:
  Halide::Func square_lanes_{"square_lanes"}, square_sum_{"square_sum"};
  Halide::RDom over_lanes_;
};

class HeadRows {
 public:
  // Element d of row `vars` after norm and rotation: rows(d, vars...), 0 <= d < D. A stage computes
  // whole rows of it, outside of its loops over d.
  Halide::Func rows{"head_rows"};

  HeadRows(const Plan& plan, const NormSource& norm, const HeadRow& row,
           const std::vector<Halide::Var>& vars);

  // The inputs, and the Funcs under their names for schedule_head_rows() (schedules/head_rows.h).
  void add_to(Stage& stage) const;

 private:
  Halide::Expr norm_weight(const Halide::Expr& d) const;
  // x[d], times its weight where the norm comes first
  Halide::Expr weighted(const Halide::Expr& d, bool first) const;
  void turn();

  const Attention& attention_;
  const NormSource norm_;
  const HeadRow row_;
  const std::vector<Halide::Var> vars_;
  std::optional<RowRoot> root_;
  // (pair, vars...) -> (cos, sin); (pair, side, vars...), or (side, pair, vars...) of neighbours
  Halide::Func angles_{"angles"}, turned_{"turned"};
};

// Whether rows of q and k are transformed at all.
inline bool transforms_heads(const Plan& plan) {
  return plan.attention.norm || plan.attention.rotation;
}

// Frequencies as turns a position, modulo 1 and cut in two: `high` times 2^32, and what is left of
// it, at least 0 and below 1, as `low`.
struct TurnSteps {
  Halide::Buffer<uint32_t> high;
  Halide::Buffer<float> low;
};
TurnSteps turn_steps(const std::vector<double>& inv_freq);

// cos and sin of position * inv_freq[pair], within 2e-7 for positions below 2^24 and within 4e-7
// for any other.
Halide::Tuple cos_sin(const Halide::Expr& position, const TurnSteps& steps,
                      const Halide::Expr& pair);

// roots(t, b), the RowRoot of all heads, for width all. `heads` of the source, from its first.
Stage build_norms(const std::string& name, const Plan& plan, const HeadSource& source,
                  int64_t heads, const Range& rows, Symbol rows_symbol, const Operand& output);

}  // namespace mha

#endif  // MHA_GENERATOR_PIPELINE_HEAD_ROWS_H_
