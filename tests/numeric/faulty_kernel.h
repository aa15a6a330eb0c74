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
// Calls of a Func of this name become `value`.
ExprRule constant_call(const std::string& func, float value);

}  // namespace mha

#endif  // MHA_TESTS_NUMERIC_FAULTY_KERNEL_H_
