// What the files that arrange stages share. Private to schedules.
#ifndef MHA_SCHEDULES_STAGE_FUNCS_H_
#define MHA_SCHEDULES_STAGE_FUNCS_H_

#include <Halide.h>

#include <string>

#include "generator/pipeline/program.h"
#include "generator/spec/error.h"

namespace mha {

inline Halide::Func find(const Stage& stage, const std::string& name) {
  auto it = stage.funcs.find(name);
  if (it == stage.funcs.end()) throw InternalError("stage " + stage.name + " has no Func " + name);
  return it->second;
}

// Funcs inside a stage are computed in whole tiles (their buffers and operands are padded);
// Halide's default would shift the last tile inwards, onto other rows and off the alignment.
constexpr Halide::TailStrategy kRoundUp = Halide::TailStrategy::RoundUp;

}  // namespace mha

#endif  // MHA_SCHEDULES_STAGE_FUNCS_H_
