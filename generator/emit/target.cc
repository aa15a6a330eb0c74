#include "generator/emit/target.h"

#include <algorithm>
#include <array>
#include <vector>

#include "generator/spec/error.h"

namespace mha {
namespace {

using Halide::Target;

struct Row {
  const char* target;
  Target::Processor tune;
  std::vector<Target::Feature> features;
};

// One row a named target of schedules/machine.cc. Halide knows no SSE4.2, so that v2 is compiled
// for SSE4.1.
const std::array<Row, 6>& rows() {
  static const std::vector<Target::Feature> v3 = {Target::SSE41, Target::AVX, Target::AVX2,
                                                  Target::FMA, Target::F16C};
  static const auto with = [](std::vector<Target::Feature> base,
                              std::initializer_list<Target::Feature> more) {
    base.insert(base.end(), more);
    return base;
  };
  static const std::vector<Target::Feature> v4 = with(v3, {Target::AVX512, Target::AVX512_Skylake});
  static const std::vector<Target::Feature> zen4 =
      with(v4, {Target::AVX512_Cannonlake, Target::AVX512_Zen4});
  static const std::array<Row, 6> table = {{
      {"x86-64-v2", Target::ProcessorGeneric, {Target::SSE41}},
      {"x86-64-v3", Target::ProcessorGeneric, v3},
      {"x86-64-v4", Target::ProcessorGeneric, v4},
      {"zen4", Target::ZnVer4, zen4},
      {"zen5", Target::ZnVer5, with(zen4, {Target::AVXVNNI, Target::AVX512_Zen5})},
      {"sapphirerapids", Target::ProcessorGeneric,
       with(zen4, {Target::AVXVNNI, Target::AVX512_SapphireRapids})},
  }};
  return table;
}

}  // namespace

Halide::Target halide_target(const Machine& machine, Sanitizer sanitizer) {
  const auto& table = rows();
  const auto row = std::find_if(table.begin(), table.end(),
                                [&](const Row& r) { return machine.target == r.target; });
  if (row == table.end()) {
    throw InternalError("no code generation for the target '" + machine.target + "'");
  }
  Target target(Target::Linux, Target::X86, 64, row->tune, row->features);
  target.set_features(
      {Target::NoRuntime, Target::NoAsserts, Target::NoBoundsQuery, Target::UserContext});
  if (sanitizer == Sanitizer::kAddress) target.set_feature(Target::ASAN);
  if (sanitizer == Sanitizer::kThread) target.set_feature(Target::TSAN);
  return target;
}

}  // namespace mha
