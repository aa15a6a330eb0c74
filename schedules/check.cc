// What makes a schedule legal: every rule that apply.cc and the pipelines rely on, as text.
#include <algorithm>
#include <numeric>
#include <optional>
#include <string>

#include "generator/pipeline/pipeline.h"
#include "schedules/schedule.h"
#include "schedules/space.h"

namespace mha {

namespace {

// Of a head: the stage that merges keeps all of them.
constexpr int64_t kMostSplitQueries = 512;

// A parameter's value, or one that is not chosen yet: every comparison with that holds. So rules
// (which combine comparisons by && and || alone) refuse an unfinished schedule only where no choice
// of the rest would make it legal.
class Value {
 public:
  Value(int64_t number) : number_(number), known_(true) {}
  explicit Value(std::optional<int64_t> number)
      : number_(number.value_or(1)), known_(number.has_value()) {}
  std::string text() const { return known_ ? std::to_string(number_) : "?"; }

  friend Value operator*(Value a, Value b) { return {a.number_ * b.number_, a.known_ && b.known_}; }
  friend Value operator+(Value a, Value b) { return {a.number_ + b.number_, a.known_ && b.known_}; }
  friend Value operator%(Value a, Value b) { return {a.number_ % b.number_, a.known_ && b.known_}; }
  friend Value lcm(Value a, Value b) {
    return {std::lcm(a.number_, b.number_), a.known_ && b.known_};
  }
  friend bool operator==(Value a, Value b) { return !both(a, b) || a.number_ == b.number_; }
  friend bool operator!=(Value a, Value b) { return !both(a, b) || a.number_ != b.number_; }
  friend bool operator<=(Value a, Value b) { return !both(a, b) || a.number_ <= b.number_; }
  friend bool operator>=(Value a, Value b) { return !both(a, b) || a.number_ >= b.number_; }
  friend bool operator<(Value a, Value b) { return !both(a, b) || a.number_ < b.number_; }
  friend bool operator>(Value a, Value b) { return !both(a, b) || a.number_ > b.number_; }

 private:
  Value(int64_t number, bool known) : number_(number), known_(known) {}
  static bool both(Value a, Value b) { return a.known_ && b.known_; }

  int64_t number_;
  bool known_;
};

// The parameters of a stage, all or some.
class Values {
 public:
  explicit Values(const StageSchedule& stage) : stage_(stage) {}
  Value get(const char* name) const {
    for (const auto& [key, value] : stage_.params) {
      if (key == name) return value;
    }
    return Value(std::optional<int64_t>());
  }

 private:
  const StageSchedule& stage_;
};

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
    problems_.push_back(stage_.stage + "." + param + " = " +
                        Values(stage_).get(param.c_str()).text() + ": " + text);
  }

  const StageSchedule& stage_;
  std::vector<std::string>& problems_;
};

std::string times(Value a, Value b) { return a.text() + " x " + b.text(); }

// rows x vectors accumulators, a register for each vector loaded, one for a scalar.
bool fits(Value rows, Value vectors, const Machine& machine) {
  return rows * vectors + vectors + 1 <= machine.vector_registers;
}

void check_attention(const StageSchedule& stage, const Plan& plan, const Machine& machine,
                     std::vector<std::string>& problems) {
  Checker check(stage, problems);
  const Values s(stage);
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
  check.rule("score_order",
             s.get("score_order") == 0 || s.get("query_block") > s.get("query_vectors") * lanes,
             "a tile that holds all queries of the task has no other order");
  check.rule("value_order",
             s.get("value_order") == 0 || s.get("value_vectors") * lanes < wide_value,
             "a tile that holds the whole width has no other order");
  const Value group = lcm(s.get("query_vectors") * lanes, s.get("value_rows"));
  check.rule("softmax_level", s.get("softmax_level") == 0 || s.get("query_block") > group,
             "the queries of the task are a single group");
  check.rule("softmax_level", s.get("softmax_level") == 0 || s.get("key_block") < plan.keys().max,
             "one block of keys holds all of them, and nothing is left to arrange otherwise");
  check.rule("score_order",
             s.get("score_order") == 0 || s.get("softmax_level") == 0 ||
                 group > s.get("query_vectors") * lanes,
             "a tile that holds all queries of a group has no other order");
  check.rule("value_vectors", wide_value % (s.get("value_vectors") * lanes) == 0,
             "x " + std::to_string(lanes) + " lanes must divide the padded value width " +
                 std::to_string(wide_value));
  check.rule("split_keys", s.get("split_keys") == 0 || !plan.cache,
             "keys of a cache are not split here");
  check.rule("split_keys", s.get("split_keys") == 0 || !plan.packed,
             "keys of packed sequences are not split");
  check.rule("split_keys", s.get("split_keys") == 0 || !plan.attention.mask_rule,
             "which blocks a mask rule shows is found out once for all of them");
  check.rule("split_keys", s.get("split_keys") == 0 || s.get("key_block") < plan.keys().max,
             "one block of keys holds all of them");
  check.rule("split_keys",
             s.get("split_keys") == 0 || Value(plan.query_length.max) <= kMostSplitQueries,
             "more than " + std::to_string(kMostSplitQueries) +
                 " queries give tasks enough, and would be merged by few");
  check.rule("softmax_level", s.get("softmax_level") == 0 || s.get("split_keys") == 0,
             "one block of keys is a task, and nothing is left to arrange otherwise");
  const bool bare =
      plan.dtype == Dtype::kBF16 && plan.outputs == std::vector<std::string>{"output"};
  check.rule("exp", s.get("exp") != 2 || Value(bare ? 1 : 0) == 1,
             "degree 4 is exact enough for bf16, and where nothing but the output depends on it");
  if (takes_pairs(plan, has_bf16_dot(machine))) {
    check.rule("key_tile", s.get("key_tile") % 2 == 0,
               "must be even: keys are multiplied with V two at a time");
    if (plan.op == Op::kAttention && !plan.cache) {
      check.rule("pack_keys", s.get("pack_keys") == 1 || plan.attention.d_head % 2 == 0,
                 "K must be packed: its width " + std::to_string(plan.attention.d_head) +
                     " is odd, and is multiplied two at a time");
      check.rule("pack_values", s.get("pack_values") == 1,
                 "V must be packed: its rows are multiplied two at a time");
    }
  }
  if (plan.cache) {
    check.rule("pack_keys", s.get("pack_keys") == 0, "K lies packed in the cache");
    check.rule("pack_values", s.get("pack_values") == 0, "V lies packed in the cache");
    check.rule("key_tile", Value(kCachePanel) % s.get("key_tile") == 0,
               "a tile must not reach over the end of a page: it must divide 16");
  } else if (plan.op == Op::kBlock) {
    check.rule("pack_keys", s.get("pack_keys") == 0,
               "a block's projection writes K packed already");
    check.rule("pack_values", s.get("pack_values") == 0,
               "a block's projection writes V packed already");
  } else {
    check.rule("pack_keys",
               s.get("pack_keys") == 1 || !(plan.attention.norm || plan.attention.rotation),
               "K must be packed: that is where it gets its norm and its rotation");
    check.rule("pack_values", s.get("pack_values") == 1 || plan.attention.d_value % lanes == 0,
               "V must be packed: its width " + std::to_string(plan.attention.d_value) +
                   " is no multiple of " + std::to_string(lanes) + " lanes");
  }
}

void check_decode(const StageSchedule& stage, const Plan& plan, const Machine& machine,
                  std::vector<std::string>& problems) {
  Checker check(stage, problems);
  const Values s(stage);
  const int64_t lanes = machine.vector_floats;
  const int64_t panel_vectors = std::max<int64_t>(kCachePanel / lanes, 1);
  const std::string registers = " accumulators and their operands do not fit " +
                                std::to_string(machine.vector_registers) + " registers";
  const int64_t wide = padded_width(plan.attention.d_value, kCachePanel);
  const char* tiles[][4] = {{"score_rows", "panels", "value_rows", "value_vectors"},
                            {"shared_rows", "shared_panels", "shared_rows", "shared_vectors"}};
  for (const auto& [score_rows, panels, value_rows, vectors] : tiles) {
    check.rule(panels, fits(s.get(score_rows), s.get(panels) * panel_vectors, machine),
               times(s.get(score_rows), s.get(panels) * panel_vectors) + registers);
    check.rule(vectors, fits(s.get(value_rows), s.get(vectors), machine),
               times(s.get(value_rows), s.get(vectors)) + registers);
    check.rule(vectors, wide % (s.get(vectors) * lanes) == 0,
               "x " + std::to_string(lanes) + " lanes must divide the padded value width " +
                   std::to_string(wide));
  }
}

void check_projection(const StageSchedule& stage, const Plan& plan, int64_t width,
                      const Machine& machine, std::vector<std::string>& problems) {
  Checker check(stage, problems);
  const Values s(stage);
  const int64_t lanes = machine.vector_floats;
  // Words of two bf16 stay while one half after the other is multiplied, and so does a mask.
  Machine left = machine;
  const bool halves = products_of(plan, has_bf16_dot(machine)) == Products::kHalves;
  if (halves) left.vector_registers--;
  check.rule("row_tile",
             fits(s.get("row_tile") + Value(halves ? 1 : 0), s.get("panel_vectors"), left),
             times(s.get("row_tile"), s.get("panel_vectors")) +
                 " accumulators and their operands do not fit " +
                 std::to_string(machine.vector_registers) + " registers");
  check.rule("task_rows", s.get("task_rows") % s.get("row_tile") == 0,
             "must be a multiple of row_tile");
  check.rule("loop_order", s.get("loop_order") == 0 || s.get("task_panels") > 1,
             "a task of one panel has no other order");
  if (width > 0) {
    const int64_t wide = padded_width(width, machine.vector_floats);
    check.rule("panel_vectors", wide % (s.get("panel_vectors") * lanes) == 0,
               "x " + std::to_string(lanes) + " lanes must divide the padded head width " +
                   std::to_string(wide));
    const Value panel = s.get("panel_vectors") * lanes;
    check.rule("task_panels", wide % panel != 0 || wide % (s.get("task_panels") * panel) == 0,
               "panels of " + panel.text() + " columns must divide the padded head width " +
                   std::to_string(wide));
  }
}

// The rules alone, over the parameters that are there.
void check_rules(const StageSchedule& stage, const Plan& plan, const Machine& machine,
                 std::vector<std::string>& problems) {
  if (stage.stage == "attention") {
    check_attention(stage, plan, machine, problems);
    return;
  }
  if (stage.stage == "decode") {
    check_decode(stage, plan, machine, problems);
    return;
  }
  int64_t width = 0;  // of a head; the output projection has none
  for (const Projection& projection : plan.projections) {
    if (projection_stage_name(projection) == stage.stage) width = projection.parts.front().width;
  }
  check_projection(stage, plan, width, machine, problems);
}

}  // namespace

std::vector<std::string> check_stage(const StageSchedule& stage, const Plan& plan,
                                     const Machine& machine) {
  std::vector<std::string> problems;
  if (Checker(stage, problems).table()) check_rules(stage, plan, machine, problems);
  return problems;
}

bool may_become_legal(const StageSchedule& stage, const Plan& plan, const Machine& machine) {
  std::vector<std::string> problems;
  check_rules(stage, plan, machine, problems);
  return problems.empty();
}

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
    const std::vector<std::string> broken = check_stage(schedule.stage(name), plan, machine);
    problems.insert(problems.end(), broken.begin(), broken.end());
  }
  return problems;
}

}  // namespace mha
