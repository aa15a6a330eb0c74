#include "tests/numeric/faulty_kernel.h"

#include <cmath>

#include "generator/emit/child.h"
#include "generator/emit/compile.h"
#include "generator/emit/library.h"
#include "generator/ir/lower.h"
#include "generator/spec/error.h"
#include "schedules/apply.h"
#include "schedules/machine.h"
#include "schedules/schedule.h"

namespace mha {
namespace {

using Halide::Expr;
using Halide::Internal::Call;
using Halide::Internal::FloatImm;
using Halide::Internal::GT;
using Halide::Internal::IRMutator;
using Halide::Internal::LE;
using Halide::Internal::LT;
using Halide::Internal::Select;
using Halide::Internal::Variable;

class Changer : public IRMutator {
 public:
  explicit Changer(const ExprRule& rule) : rule_(rule) {}
  using IRMutator::mutate;
  Expr mutate(const Expr& expression) override {
    if (!expression.defined()) return expression;
    Expr changed = rule_(expression);
    if (!changed.defined()) return IRMutator::mutate(expression);
    ++changes_;
    return changed;
  }
  int changes() const { return changes_; }

 private:
  const ExprRule& rule_;
  int changes_ = 0;
};

Halide::Func func_named(Program& program, const std::string& stage, const std::string& func) {
  const auto& funcs = stage_named(program, stage).funcs;
  const auto found = funcs.find(func);
  if (found == funcs.end()) {
    throw InternalError("stage '" + stage + "' has no Func '" + func + "'");
  }
  return found->second;
}

// Halide appends "$1" and so on where a name comes twice.
std::string plain_name(const std::string& name) { return name.substr(0, name.find('$')); }

}  // namespace

Stage& stage_named(Program& program, const std::string& name) {
  for (Stage& stage : program.stages) {
    if (stage.name == name) return stage;
  }
  throw InternalError("the program has no stage '" + name + "'");
}

Generated generate_altered(const Spec& spec, const Alteration& alteration) {
  return run_in_child([&] {
    quiet_halide();
    Spec altered = spec;
    if (alteration.spec) alteration.spec(altered);
    const LowerResult lowered = lower(altered);
    if (!lowered.plan) throw InternalError("the altered spec has no plan");
    Plan plan = *lowered.plan;
    if (alteration.plan) alteration.plan(plan);
    const Machine machine = host_machine();
    const Schedule schedule = default_schedule(plan, machine, 2);
    try {
      Program program = scheduled_program(plan, schedule, machine);
      if (alteration.program) alteration.program(program);
      return make_library(altered, plan, machine, schedule, program, "", {});
    } catch (const Halide::Error& error) {  // which is no std::exception
      throw InternalError(std::string("Halide: ") + error.what());
    }
  });
}

void change_func(Program& program, const std::string& stage, const std::string& func,
                 const ExprRule& rule) {
  Changer changer(rule);
  func_named(program, stage, func).function().mutate(&changer);
  if (changer.changes() == 0) {
    throw InternalError("nothing to change in '" + func + "' of stage '" + stage + "'");
  }
}

void shorten_reduction(Program& program, const std::string& stage, const std::string& func,
                       const std::string& domain) {
  Halide::Internal::Function function = func_named(program, stage, func).function();
  bool found = false;
  for (int update = 0; update < static_cast<int>(function.updates().size()); ++update) {
    for (auto& variable : function.update(update).schedule().rvars()) {
      if (plain_name(variable.var) != domain) continue;
      variable.extent = variable.extent - 1;
      found = true;
    }
  }
  if (!found) throw InternalError("'" + func + "' has no reduction over " + domain);
}

ExprRule scaled_constant(double value, double factor) {
  return [=](const Expr& expression) -> Expr {
    const FloatImm* number = expression.as<FloatImm>();
    if (number == nullptr || std::abs(number->value / value - 1) > 1e-3) return {};
    return Expr(static_cast<float>(number->value * factor));
  };
}

ExprRule strict_comparison() {
  return [](const Expr& expression) -> Expr {
    const LE* comparison = expression.as<LE>();
    return comparison != nullptr ? comparison->a < comparison->b : Expr();
  };
}

ExprRule weak_comparison() {
  return [](const Expr& expression) -> Expr {
    if (const GT* comparison = expression.as<GT>()) return comparison->a >= comparison->b;
    const LT* mirrored = expression.as<LT>();
    return mirrored != nullptr ? mirrored->a <= mirrored->b : Expr();
  };
}

ExprRule always(bool first) {
  return [=](const Expr& expression) -> Expr {
    const Select* choice = expression.as<Select>();
    if (choice == nullptr) return {};
    return first ? choice->true_value : choice->false_value;
  };
}

ExprRule changed_call(const std::string& name, const CallChange& change) {
  return [=](const Expr& expression) -> Expr {
    const Call* call = expression.as<Call>();
    return call != nullptr && plain_name(call->name) == name ? change(call) : Expr();
  };
}

ExprRule constant_call(const std::string& name, float value) {
  return changed_call(name, [=](const Call* call) { return Halide::cast(call->type, value); });
}

ExprRule changed_argument(const std::string& name, size_t argument,
                          const std::function<Expr(const Expr&)>& change) {
  return changed_call(name, [=](const Call* call) {
    std::vector<Expr> args = call->args;
    args.at(argument) = change(args.at(argument));
    return Call::make(call->type, call->name, args, call->call_type, call->func, call->value_index,
                      call->image, call->param);
  });
}

ExprRule swapped_arguments(const std::string& name, size_t a, size_t b) {
  return changed_call(name, [=](const Call* call) {
    std::vector<Expr> args = call->args;
    std::swap(args.at(a), args.at(b));
    return Call::make(call->type, call->name, args, call->call_type, call->func, call->value_index,
                      call->image, call->param);
  });
}

ExprRule changed_scalar(const std::string& name, const std::function<Expr(const Expr&)>& change) {
  return [=](const Expr& expression) -> Expr {
    const Variable* variable = expression.as<Variable>();
    return variable != nullptr && variable->name.ends_with("_" + name) ? change(expression)
                                                                       : Expr();
  };
}

}  // namespace mha
