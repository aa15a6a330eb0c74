// From a schedule to Halide's directives.
#ifndef MHA_SCHEDULES_APPLY_H_
#define MHA_SCHEDULES_APPLY_H_

#include "generator/pipeline/pipeline.h"
#include "generator/pipeline/program.h"
#include "schedules/schedule.h"

namespace mha {

// The algorithm with the blocking that the schedule asks for, and then its schedule applied.
Program scheduled_program(const Plan& plan, const Schedule& schedule, const Machine& machine);

// What the algorithm needs of a schedule.
Blocking blocking_of(const Schedule& schedule, const Machine& machine);

// Arranges the Funcs of every stage of a program made with blocking_of(schedule).
void apply_schedule(Program& program, const Plan& plan, const Schedule& schedule,
                    const Machine& machine);

}  // namespace mha

#endif  // MHA_SCHEDULES_APPLY_H_
