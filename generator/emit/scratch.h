// How much memory a stage takes from its thread's scratch while it runs.
#ifndef MHA_GENERATOR_EMIT_SCRATCH_H_
#define MHA_GENERATOR_EMIT_SCRATCH_H_

#include <Halide.h>

#include <cstdint>
#include <vector>

#include "generator/ir/plan.h"
#include "generator/pipeline/program.h"

namespace mha {

// The least and the most that a scalar of a stage may be.
struct Bounds {
  int64_t min = 0, max = 0;
};

// An upper bound of the bytes that one task of the stage holds at a time from halide_malloc, as the
// runtime counts them (kernel.h: each rounded up, plus a header), over all lengths of the plan.
// `function` is the lowered stage. Throws InternalError, naming the allocation, where there is no
// such bound, and on a parallel loop, which a stage must not have.
int64_t scratch_bytes(const Halide::Internal::LoweredFunc& function, const Stage& stage,
                      const Program& program, const Plan& plan);

// The extents of an operand as the stage sees them, dimension 0 first; a scalar has none.
std::vector<Bounds> operand_extents(const Operand& operand, const Program& program,
                                    const Plan& plan);

// The value of an extent when every length is the largest that the plan allows.
int64_t largest(const Extent& extent, const Plan& plan);

// What a symbol may be, the coordinates of a task included.
Bounds symbol_bounds(Symbol symbol, const Stage& stage, const Plan& plan);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_SCRATCH_H_
