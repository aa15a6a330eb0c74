// The directives of norm and rotation of rows of q and k.
#ifndef MHA_SCHEDULES_HEAD_ROWS_H_
#define MHA_SCHEDULES_HEAD_ROWS_H_

#include <Halide.h>

#include "generator/ir/plan.h"
#include "generator/pipeline/program.h"

namespace mha {

// Whole rows of HeadRows::rows (generator/pipeline/head_rows.h) at `level`, one after the other;
// nothing where the stage has none. `vector`: f32 lanes.
void schedule_head_rows(Stage& stage, const Plan& plan, const Halide::LoopLevel& level, int vector);

// The stage of build_norms().
void schedule_norms(Stage& stage, int vector);

}  // namespace mha

#endif  // MHA_SCHEDULES_HEAD_ROWS_H_
