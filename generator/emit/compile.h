// One stage through Halide: its lowered form, its object, and what --emit shows of it.
#ifndef MHA_GENERATOR_EMIT_COMPILE_H_
#define MHA_GENERATOR_EMIT_COMPILE_H_

#include <Halide.h>

#include <map>
#include <set>
#include <string>

#include "generator/pipeline/program.h"

namespace mha {

// From here on Halide throws its errors and keeps its warnings to itself.
void quiet_halide();

// The stage as a module with one function, `function_name`, and its argv wrapper.
Halide::Module lower_stage(const Stage& stage, const std::string& function_name,
                           const Halide::Target& target);

// The bytes of the wanted outputs. `kinds` are "object" and the names of emit_kinds() but mlir.
std::map<std::string, std::string> compile_stage(const Halide::Module& module,
                                                 const std::set<std::string>& kinds);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_COMPILE_H_
