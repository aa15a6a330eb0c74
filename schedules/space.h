// The parameters of every stage with their ranges: one table that printing, records, legality and
// search read.
#ifndef MHA_SCHEDULES_SPACE_H_
#define MHA_SCHEDULES_SPACE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "schedules/schedule.h"

namespace mha {

struct ParamInfo {
  std::string name;
  std::vector<int64_t> values;  // every legal value by itself, ascending
  std::string meaning;
  // What a record without it means: of parameters that came later, to do as was done before.
  std::optional<int64_t> neutral = std::nullopt;
};

// The stages of a plan in order, by the names that build_program() uses. Which packs exist depends
// on the attention stage's own pack_keys and pack_values. "decode" stands for "decode_shared" and
// "merge" too.
std::vector<std::string> stage_names(const Plan& plan);

// The parameters of a stage of this kind: "attention", "decode", or any "project_...".
const std::vector<ParamInfo>& stage_space(const std::string& stage);

// Names the parameters, their values and their rules: schedules of another signature were made for
// other spaces. Eight hexadecimal digits.
std::string space_signature();

}  // namespace mha

#endif  // MHA_SCHEDULES_SPACE_H_
