// Halide's own autoschedulers, to compare ours with: they arrange the stage attention, everything
// else of a kernel keeps its schedule.
#ifndef MHA_GENERATOR_EMIT_AUTOSCHEDULE_H_
#define MHA_GENERATOR_EMIT_AUTOSCHEDULE_H_

#include <string>
#include <vector>

#include "generator/ir/plan.h"
#include "generator/pipeline/program.h"
#include "schedules/machine.h"
#include "schedules/schedule.h"

namespace mha {

// "adams2019", "mullapudi2016": plugins that lie beside libHalide.so.
const std::vector<std::string>& halide_autoschedulers();

// The program of this schedule, but for the stage attention, whose algorithm is the textbook's
// (generator/pipeline/textbook.cc) in an order that the autoscheduler finds for one thread; its
// parallel loops become serial ones. Throws UserError where the plan has no such stage: lengths
// must be fixed and `output` the only output. A search may take minutes and may crash: call it in a
// process of its own.
Program autoscheduled_program(const Plan& plan, const Schedule& schedule, const Machine& machine,
                              const Halide::Target& target, const std::string& autoscheduler);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_AUTOSCHEDULE_H_
