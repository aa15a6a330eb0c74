// What makes a schedule legal: every rule that apply.cc and the pipelines rely on, as text.
#include <algorithm>
#include <string>

#include "generator/pipeline/pipeline.h"
#include "schedules/schedule.h"
#include "schedules/space.h"

namespace mha {

namespace {

class Checker {
 public:
  Checker(const StageSchedule& stage, std::vector<std::string>& problems)
      : stage_(stage), problems_(problems) {}

  // Names and values against the table; false when a value is missing, so that the other rules have
  // nothing to read.
  bool table() {
    const std::vector<ParamInfo>& space = stage_space(stage_.stage);
    bool complete = true;
    for (const ParamInfo& info : space) {
      auto it = std::find_if(stage_.params.begin(), stage_.params.end(),
                             [&](const auto& param) { return param.first == info.name; });
      if (it == stage_.params.end()) {
        problems_.push_back(stage_.stage + "." + info.name + " is missing");
        complete = false;
      } else if (std::find(info.values.begin(), info.values.end(), it->second) ==
                 info.values.end()) {
        std::string values;
        for (int64_t value : info.values)
          values += (values.empty() ? "" : ", ") + std::to_string(value);
        fail(info.name, "must be one of " + values);
        complete = false;
      }
    }
    for (const auto& [name, value] : stage_.params) {
      if (std::none_of(space.begin(), space.end(),
                       [&](const ParamInfo& info) { return info.name == name; })) {
        problems_.push_back(stage_.stage + "." + name + " is not a parameter of this stage");
      }
    }
    return complete;
  }

  void rule(const std::string& param, bool holds, const std::string& text) {
    if (!holds) fail(param, text);
  }

 private:
  void fail(const std::string& param, const std::string& text) {
    problems_.push_back(stage_.stage + "." + param + " = " + std::to_string(stage_.get(param)) +
                        ": " + text);
  }

  const StageSchedule& stage_;
  std::vector<std::string>& problems_;
};

std::string times(int64_t a, int64_t b) { return std::to_string(a) + " x " + std::to_string(b); }

// rows x vectors accumulators, a register for each vector loaded, one for a scalar.
bool fits(int64_t rows, int64_t vectors, const Machine& machine) {
  return rows * vectors + vectors + 1 <= machine.vector_registers;
}

void check_attention(const StageSchedule& s, const Plan& plan, const Machine& machine,
                     std::vector<std::string>& problems) {
  Checker check(s, problems);
  if (!check.table()) return;
  const int64_t lanes = machine.vector_floats;
  const int64_t wide_value = padded_width(plan.attention.d_value, machine.vector_floats);
  const std::string registers = " accumulators and their operands do not fit " +
                                std::to_string(machine.vector_registers) + " registers";
  check.rule("query_block", s.get("query_block") % (s.get("query_vectors") * lanes) == 0,
             "must be a multiple of query_vectors x " + std::to_string(lanes) + " lanes");
  check.rule("query_block", s.get("query_block") % s.get("value_rows") == 0,
             "must be a multiple of value_rows");
  check.rule("key_block", s.get("key_block") % s.get("key_tile") == 0,
             "must be a multiple of key_tile");
  check.rule("key_tile", fits(s.get("key_tile"), s.get("query_vectors"), machine),
             times(s.get("key_tile"), s.get("query_vectors")) + registers);
  check.rule("value_rows", fits(s.get("value_rows"), s.get("value_vectors"), machine),
             times(s.get("value_rows"), s.get("value_vectors")) + registers);
  check.rule("value_vectors", wide_value % (s.get("value_vectors") * lanes) == 0,
             "x " + std::to_string(lanes) + " lanes must divide the padded value width " +
                 std::to_string(wide_value));
  if (plan.op == Op::kBlock) {
    check.rule("pack_keys", s.get("pack_keys") == 0,
               "a block's projection writes K packed already");
    check.rule("pack_values", s.get("pack_values") == 0,
               "a block's projection writes V packed already");
  } else {
    check.rule("pack_values", s.get("pack_values") == 1 || plan.attention.d_value % lanes == 0,
               "V must be packed: its width " + std::to_string(plan.attention.d_value) +
                   " is no multiple of " + std::to_string(lanes) + " lanes");
  }
}

void check_projection(const StageSchedule& s, int64_t width, const Machine& machine,
                      std::vector<std::string>& problems) {
  Checker check(s, problems);
  if (!check.table()) return;
  const int64_t lanes = machine.vector_floats;
  check.rule("row_tile", fits(s.get("row_tile"), s.get("panel_vectors"), machine),
             times(s.get("row_tile"), s.get("panel_vectors")) +
                 " accumulators and their operands do not fit " +
                 std::to_string(machine.vector_registers) + " registers");
  check.rule("task_rows", s.get("task_rows") % s.get("row_tile") == 0,
             "must be a multiple of row_tile");
  if (width > 0) {
    const int64_t wide = padded_width(width, machine.vector_floats);
    check.rule("panel_vectors", wide % (s.get("panel_vectors") * lanes) == 0,
               "x " + std::to_string(lanes) + " lanes must divide the padded head width " +
                   std::to_string(wide));
    const int64_t panel = s.get("panel_vectors") * lanes;
    check.rule("task_panels", wide % panel != 0 || wide % (s.get("task_panels") * panel) == 0,
               "panels of " + std::to_string(panel) +
                   " columns must divide the padded head width " + std::to_string(wide));
  }
}

}  // namespace

std::vector<std::string> check_schedule(const Schedule& schedule, const Plan& plan,
                                        const Machine& machine) {
  std::vector<std::string> problems;
  const std::vector<std::string> names = stage_names(plan);
  for (const StageSchedule& stage : schedule.stages) {
    if (std::find(names.begin(), names.end(), stage.stage) == names.end()) {
      problems.push_back(stage.stage + " is not a stage of this plan");
    }
  }
  for (const std::string& name : names) {
    const auto count =
        std::count_if(schedule.stages.begin(), schedule.stages.end(),
                      [&](const StageSchedule& stage) { return stage.stage == name; });
    if (count != 1) {
      problems.push_back("stage " + name +
                         (count == 0 ? " is missing" : " is there more than once"));
      continue;
    }
    const StageSchedule& stage = schedule.stage(name);
    if (name == "attention") {
      check_attention(stage, plan, machine, problems);
      continue;
    }
    int64_t width = 0;  // of a head; the output projection has none
    for (const Projection& projection : plan.projections) {
      if (projection_stage_name(projection) == name) width = projection.parts.front().width;
    }
    check_projection(stage, width, machine, problems);
  }
  return problems;
}

}  // namespace mha
