// Which spaces `mha_bench_tune exhaustive` measures as a whole.
#ifndef MHA_BENCH_TUNE_SURVEY_TABLE_H_
#define MHA_BENCH_TUNE_SURVEY_TABLE_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace mha {

struct SurveyShape {
  std::string config;
  // By stage: its subspace, as StageProblem has it.
  std::map<std::string, std::vector<std::pair<std::string, std::vector<int64_t>>>> subspaces;
};

const std::vector<SurveyShape>& survey_shapes();

}  // namespace mha

#endif  // MHA_BENCH_TUNE_SURVEY_TABLE_H_
