// Kernels with a fault in them, for the test that such faults are caught. A fault is put in between
// two steps of the generator, so that the product has nothing to do with it.
#ifndef MHA_TESTS_NUMERIC_FAULTY_KERNEL_H_
#define MHA_TESTS_NUMERIC_FAULTY_KERNEL_H_

#include <Halide.h>

#include <functional>
#include <string>

#include "generator/emit/generate.h"
#include "generator/ir/plan.h"
#include "generator/pipeline/program.h"
#include "generator/spec/spec.h"

namespace mha {

// What is changed on the way from the spec to the library; those left empty change nothing.
struct Alteration {
  std::function<void(Spec&)> spec;
  std::function<void(Plan&)> plan;
  std::function<void(Program&)> program;  // scheduled, before it is lowered
};

// The library for this machine, in a child process as generate() makes it.
Generated generate_altered(const Spec& spec, const Alteration& alteration);

// The stage of that name; throws InternalError for a program without it.
Stage& stage_named(Program& program, const std::string& name);

// Replaces parts of the definition of a Func in a stage: `rule` gives what stands in an
// expression's place, or an undefined one where it is to stay. Throws InternalError where no
// expression changes: the fault is none.
using ExprRule = std::function<Halide::Expr(const Halide::Expr&)>;
void change_func(Program& program, const std::string& stage, const std::string& func,
                 const ExprRule& rule);

// Ends a reduction of the Func one step early: the one over the domain of this name.
void shorten_reduction(Program& program, const std::string& stage, const std::string& func,
                       const std::string& domain);

// --- rules ---
// Constants within a thousandth of `value` are multiplied by `factor`.
ExprRule scaled_constant(double value, double factor);
// a <= b becomes a < b.
ExprRule strict_comparison();
// a > b becomes a >= b.
ExprRule weak_comparison();
// A choice becomes its first or its second value.
ExprRule always(bool first);
// Calls of a Func or reads of an input of this name become what `change` makes of them.
using CallChange = std::function<Halide::Expr(const Halide::Internal::Call*)>;
ExprRule changed_call(const std::string& name, const CallChange& change);
ExprRule constant_call(const std::string& name, float value);
// A read of an input with one of its arguments changed, or two of them swapped.
ExprRule changed_argument(const std::string& name, size_t argument,
                          const std::function<Halide::Expr(const Halide::Expr&)>& change);
ExprRule swapped_arguments(const std::string& name, size_t a, size_t b);
// A number that the stage is called with, by the end of its name: "first_row".
ExprRule changed_scalar(const std::string& name,
                        const std::function<Halide::Expr(const Halide::Expr&)>& change);

}  // namespace mha

#endif  // MHA_TESTS_NUMERIC_FAULTY_KERNEL_H_
