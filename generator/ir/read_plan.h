// From a canonical module to the Plan.
#ifndef MHA_GENERATOR_IR_READ_PLAN_H_
#define MHA_GENERATOR_IR_READ_PLAN_H_

#include "generator/ir/dialect.h"
#include "generator/ir/plan.h"

namespace mha::ir {

// The kernel must verify. Throws UserError where it holds something that a Plan has no words for:
// modules that come from a spec never do, hand-written ones may.
Plan read_plan(KernelOp kernel);

}  // namespace mha::ir

#endif  // MHA_GENERATOR_IR_READ_PLAN_H_
