#include "generator/emit/bound.h"

#include <algorithm>

namespace mha {
namespace {

// Instructions of a vector of exponentials that go through the multiply-add ports: two to reduce
// the range, four of the polynomial, and the sum and the scaling. A polynomial of the least degree
// within the error bound has no fewer.
constexpr double kExpInstructions = 8;

}  // namespace

Bound predicted_bound(const Plan& plan, const Machine& machine, const Lengths& lengths,
                      const CallWork& work) {
  Bound bound;
  const bool pairs = plan.dtype == Dtype::kBF16 && has_bf16_dot(machine);
  bound.flops_per_cycle = 2 * machine.vector_floats * machine.fma_ports * (pairs ? 2 : 1);
  bound.product_cycles = static_cast<double>(work.flops) / bound.flops_per_cycle;
  const double exps = static_cast<double>(work.visible_pairs) * static_cast<double>(lengths.batch) *
                      static_cast<double>(plan.attention.heads);
  bound.exp_cycles = exps / machine.vector_floats * kExpInstructions / machine.fma_ports;
  bound.percent_of_peak =
      100 * bound.product_cycles / std::max(bound.product_cycles + bound.exp_cycles, 1.0);
  return bound;
}

}  // namespace mha
