#include "schedules/schedule.h"

#include <stdexcept>

#include "generator/pipeline/pipeline.h"
#include "schedules/apply.h"
#include "schedules/space.h"

namespace mha {

int64_t StageSchedule::get(const std::string& name) const {
  for (const auto& [key, value] : params) {
    if (key == name) return value;
  }
  throw std::out_of_range("stage " + stage + " has no parameter " + name);
}

const StageSchedule& Schedule::stage(const std::string& name) const {
  for (const StageSchedule& stage : stages) {
    if (stage.stage == name) return stage;
  }
  throw std::out_of_range("the schedule has no stage " + name);
}

std::string Schedule::text() const {
  std::string text;
  for (const StageSchedule& stage : stages) {
    text += stage.stage + ":";
    for (const auto& [name, value] : stage.params) text += " " + name + "=" + std::to_string(value);
    text += "\n";
  }
  return text;
}

Blocking blocking_of(const Schedule& schedule, const Machine& machine) {
  Blocking blocking;
  blocking.lanes = machine.vector_floats;
  blocking.bf16_dot = has_bf16_dot(machine);
  for (const StageSchedule& stage : schedule.stages) {
    if (stage.stage == "attention") {
      AttentionBlocking& a = blocking.attention;
      a.query_block = static_cast<int>(stage.get("query_block"));
      a.key_block = static_cast<int>(stage.get("key_block"));
      a.key_tile = static_cast<int>(stage.get("key_tile"));
      a.value_rows = static_cast<int>(stage.get("value_rows"));
      a.pack_keys = stage.get("pack_keys") != 0;
      a.pack_values = stage.get("pack_values") != 0;
      a.heads_first = stage.get("task_order") == 1;
      a.split_keys = stage.get("split_keys") == 1;
      a.exp = static_cast<ExpForm>(stage.get("exp"));
    } else if (stage.stage == "decode") {
      blocking.decode.split = static_cast<int>(stage.get("split"));
    } else {
      ProjectionBlocking p;
      p.row_tile = static_cast<int>(stage.get("row_tile"));
      p.panel = static_cast<int>(stage.get("panel_vectors")) * machine.vector_floats;
      p.task_panels = static_cast<int>(stage.get("task_panels"));
      p.task_rows = static_cast<int>(stage.get("task_rows"));
      p.rows_first = stage.get("task_order") == 1;
      blocking.projections[stage.stage] = p;
    }
  }
  return blocking;
}

Program scheduled_program(const Plan& plan, const Schedule& schedule, const Machine& machine) {
  Program program = build_program(plan, blocking_of(schedule, machine));
  apply_schedule(program, plan, schedule, machine);
  return program;
}

}  // namespace mha
