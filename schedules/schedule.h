// A schedule is data: named integers with ranges and a legality test. It can be printed, stored,
// compared, and explained; apply_schedule() is the only place that turns it into Halide directives.
#ifndef MHA_SCHEDULES_SCHEDULE_H_
#define MHA_SCHEDULES_SCHEDULE_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "generator/ir/plan.h"
#include "schedules/machine.h"
#include "schedules/provenance.h"

namespace mha {

// The parameters of one stage, in a fixed order; names and ranges are those of stage_space().
struct StageSchedule {
  std::string stage;
  std::vector<std::pair<std::string, int64_t>> params;
  int64_t get(const std::string& name) const;  // throws std::out_of_range
  bool operator==(const StageSchedule&) const = default;
};

struct Schedule {
  std::string origin = "default";  // or "record"
  std::vector<StageSchedule> stages;
  std::string file = {};                                        // of the record
  std::optional<RecordCertificate> certificate = std::nullopt;  // of the record, if it has one
  const StageSchedule& stage(const std::string& name) const;
  // "attention: query_block=64 key_block=128 ..." - one line a stage.
  std::string text() const;
};

// The analytic default for this plan on this machine.
Schedule default_schedule(const Plan& plan, const Machine& machine, int threads);

// Every rule that the schedule breaks, as "stage.param = value: rule"; empty when it is legal.
std::vector<std::string> check_schedule(const Schedule& schedule, const Plan& plan,
                                        const Machine& machine);

// The same of one stage by itself: no rule reads two stages.
std::vector<std::string> check_stage(const StageSchedule& stage, const Plan& plan,
                                     const Machine& machine);

// False when the parameters that a stage has so far break a rule, whatever the missing ones will
// be. Values are not looked up in the table.
bool may_become_legal(const StageSchedule& stage, const Plan& plan, const Machine& machine);

// Reads NAME.yaml-style records: the one in `directory` that fits this plan, target and thread
// count, if any; of one with several variants (lengths.h) the schedule of the longest calls. Throws
// mha::UserError (generator/spec/error.h) on a record that cannot be read or breaks a rule.
std::optional<Schedule> find_record(const std::string& directory, const Plan& plan,
                                    const Machine& machine, int threads);

}  // namespace mha

#endif  // MHA_SCHEDULES_SCHEDULE_H_
