#include "generator/emit/autoschedule.h"

#include <fmt/format.h>
#include <link.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "generator/emit/scratch.h"
#include "generator/pipeline/pipeline.h"
#include "generator/spec/error.h"
#include "schedules/apply.h"

namespace mha {
namespace {

namespace hi = Halide::Internal;

// The folder of the libHalide.so that this process runs with, where its plugins lie as well.
std::string halide_folder() {
  std::string path;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* found) {
        const char* base = std::strrchr(info->dlpi_name, '/');
        if (base == nullptr || std::strncmp(base, "/libHalide.so", 13) != 0) return 0;
        *static_cast<std::string*>(found) = std::string(info->dlpi_name, base);
        return 1;
      },
      &path);
  if (path.empty()) throw SystemError("cannot find the folder of libHalide.so");
  return path;
}

// The parameters that a pipeline reads, by name: tensors and scalars.
class Parameters : public hi::IRVisitor {
 public:
  explicit Parameters(const Halide::Pipeline& pipeline) {
    std::map<std::string, hi::Function> functions;
    for (const Halide::Func& output : pipeline.outputs()) {
      functions.emplace(output.name(), output.function());
      for (const auto& [name, function] : hi::find_transitive_calls(output.function()))
        functions.emplace(name, function);
    }
    for (auto& [name, function] : functions) {
      function.accept(this);
      functions_.push_back(function);
    }
  }
  std::map<std::string, Halide::Parameter> found;

  // One task has one thread.
  void remove_parallel_loops() {
    for (hi::Function& function : functions_) {
      serial(function.definition());
      for (size_t i = 0; i < function.updates().size(); ++i)
        serial(function.update(static_cast<int>(i)));
    }
  }

 protected:
  using hi::IRVisitor::visit;
  void visit(const hi::Variable* op) override { note(op->param); }
  void visit(const hi::Call* op) override {
    note(op->param);
    IRVisitor::visit(op);
  }

 private:
  void note(const Halide::Parameter& parameter) {
    if (parameter.defined()) found.emplace(parameter.name(), parameter);
  }
  static void serial(hi::Definition& definition) {
    for (hi::Dim& dim : definition.schedule().dims()) {
      if (dim.for_type == hi::ForType::Parallel) dim.for_type = hi::ForType::Serial;
    }
  }
  std::vector<hi::Function> functions_;
};

void set_estimates(Parameters& parameters, const Stage& stage, const Program& program,
                   const Plan& plan) {
  for (size_t i = 0; i < stage.arguments.size(); ++i) {
    const auto at = parameters.found.find(stage.arguments[i].name);
    if (at == parameters.found.end()) continue;
    Halide::Parameter& parameter = at->second;
    const Operand& operand = stage.operands[i];
    if (operand.kind == Operand::kScalar) {
      // The first task; all keys, no offset.
      const Symbol symbol = static_cast<Symbol>(operand.index);
      const bool most = symbol < Symbol::kTask0 || symbol == Symbol::kSequenceKeys;
      const int64_t value = most ? symbol_bounds(symbol, stage, plan).max : 0;
      parameter.set_estimate(Halide::Expr(static_cast<int32_t>(value)));
      continue;
    }
    const std::vector<Bounds> extents = operand_extents(operand, program, plan);
    for (int d = 0; d < parameter.dimensions(); ++d) {
      parameter.set_min_constraint_estimate(d, 0);
      parameter.set_extent_constraint_estimate(d, static_cast<int32_t>(extents[d].max));
    }
  }
}

Halide::AutoschedulerParams parameters_of(const std::string& name, const Machine& machine) {
  if (name == "mullapudi2016") {
    return {"Mullapudi2016",
            {{"parallelism", "1"},
             {"last_level_cache_size", std::to_string(machine.l2_bytes)},
             {"balance", "40"}}};
  }
  // A seed of its own, or it takes the time.
  return {"Adams2019", {{"parallelism", "1"}, {"random_dropout_seed", "1"}}};
}

void autoschedule(Stage& stage, const Program& program, const Plan& plan, const Machine& machine,
                  const Halide::Target& target, const std::string& name) {
  Parameters parameters(stage.pipeline);
  set_estimates(parameters, stage, program, plan);
  Halide::Func output = stage.funcs.at("output");
  const std::vector<Bounds> extents = operand_extents(stage.operands.back(), program, plan);
  const std::vector<Halide::Var> dimensions = output.args();
  // A task writes one head of one sequence. Which one is no constant, as adams2019 wants bounds to
  // be, so that it does not see them.
  hi::FuncSchedule& schedule = output.function().schedule();
  const std::vector<hi::Bound> bounds = std::exchange(schedule.bounds(), {});
  schedule.estimates().clear();
  for (size_t d = 0; d < dimensions.size(); ++d) {
    output.set_estimate(dimensions[d], 0, d < 2 ? static_cast<int32_t>(extents[d].max) : 1);
  }
  Halide::load_plugin(halide_folder() + "/libautoschedule_" + name + ".so");
  stage.pipeline.apply_autoscheduler(target, parameters_of(name, machine));
  parameters.remove_parallel_loops();
  schedule.bounds() = bounds;
}

}  // namespace

const std::vector<std::string>& halide_autoschedulers() {
  static const std::vector<std::string> names = {"adams2019", "mullapudi2016"};
  return names;
}

Program autoscheduled_program(const Plan& plan, const Schedule& schedule, const Machine& machine,
                              const Halide::Target& target, const std::string& autoscheduler) {
  const bool alone = plan.outputs == std::vector<std::string>{"output"};
  if (plan.packed || !plan.queries().fixed() || !plan.keys().fixed() || !alone) {
    throw UserError(
        fmt::format("{} arranges attention of fixed lengths whose one output is "
                    "`output`",
                    autoscheduler));
  }
  Blocking blocking = blocking_of(schedule, machine);
  blocking.attention.textbook = true;
  Program program = build_program(plan, blocking);
  apply_schedule(program, plan, schedule, machine);
  for (Stage& stage : program.stages) {
    if (stage.name != "attention") continue;
    try {
      autoschedule(stage, program, plan, machine, target, autoscheduler);
    } catch (const Halide::Error& error) {  // which is no std::exception
      throw UserError(fmt::format("{}: {}", autoscheduler, error.what()));
    }
  }
  return program;
}

}  // namespace mha
