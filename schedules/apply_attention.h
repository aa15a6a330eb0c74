// The stage "attention", and those over all pairs of a query and a key: weights, mean_weights,
// scores, top_k.
#ifndef MHA_SCHEDULES_APPLY_ATTENTION_H_
#define MHA_SCHEDULES_APPLY_ATTENTION_H_

#include "generator/ir/plan.h"
#include "generator/pipeline/program.h"
#include "schedules/machine.h"
#include "schedules/schedule.h"

namespace mha {

void schedule_attention(Stage& stage, const Plan& plan, const StageSchedule& params,
                        const Machine& machine);
// weights, scores, scores_masked, mean_weights: keys of a row lie next to each other.
void schedule_rows(Stage& stage, const Plan& plan, const StageSchedule& params,
                   const Machine& machine);
void schedule_top(Stage& stage, const Plan& plan, const StageSchedule& params,
                  const Machine& machine);

}  // namespace mha

#endif  // MHA_SCHEDULES_APPLY_ATTENTION_H_
