// About the least time that a call can take on a machine, from counting.
#ifndef MHA_GENERATOR_EMIT_BOUND_H_
#define MHA_GENERATOR_EMIT_BOUND_H_

#include "generator/emit/cost.h"
#include "generator/ir/plan.h"
#include "schedules/machine.h"

namespace mha {

// Of one core, with all operands in its L1.
struct Bound {
  int flops_per_cycle = 0;     // of products in the plan's dtype: the peak
  double product_cycles = 0;   // at that rate
  double exp_cycles = 0;       // of the softmax's exponentials, on the same ports
  double percent_of_peak = 0;  // what is left of the peak
};

// Of a call of these lengths, whose work is given.
Bound predicted_bound(const Plan& plan, const Machine& machine, const Lengths& lengths,
                      const CallWork& work);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_BOUND_H_
