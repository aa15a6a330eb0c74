// The files beside the archive by which C, C++, CMake and pkg-config find and use it.
#ifndef MHA_GENERATOR_EMIT_HEADER_H_
#define MHA_GENERATOR_EMIT_HEADER_H_

#include <string>

#include "generator/ir/plan.h"
#include "generator/pipeline/program.h"

namespace mha {

// NAME.h: C11 and C++; says what the kernel computes, the shape of every operand, and how it is
// called. `variant` is one line on the target and the schedule's origin.
std::string c_header(const Plan& plan, const Program& program, const std::string& variant);

// NAME-config.cmake: the imported target NAME::NAME. Relocatable.
std::string cmake_config(const std::string& name);

// NAME.pc. Relocatable.
std::string pkg_config(const std::string& name, const std::string& version);

// "[B, Lq, 8, 64]": a tensor's shape in the letters of the header. Lengths that are fixed are
// numbers.
std::string shape_text(const TensorInfo& tensor, const Plan& plan);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_HEADER_H_
