// The stages over caches: append_keys, append_values, decode_shared, decode, merge.
#ifndef MHA_SCHEDULES_APPLY_DECODE_H_
#define MHA_SCHEDULES_APPLY_DECODE_H_

#include "generator/ir/plan.h"
#include "generator/pipeline/program.h"
#include "schedules/machine.h"
#include "schedules/schedule.h"

namespace mha {

void schedule_append(Stage& stage, const Plan& plan, const Machine& machine);
// "decode" and "decode_shared", by the parameters of "decode".
void schedule_decode(Stage& stage, const Plan& plan, const StageSchedule& params,
                     const Machine& machine);
// Of splits of `split` keys.
void schedule_merge(Stage& stage, const Plan& plan, int split, const Machine& machine);

}  // namespace mha

#endif  // MHA_SCHEDULES_APPLY_DECODE_H_
