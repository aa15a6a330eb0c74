// Tuning of one config whose query length is a range.
#ifndef MHA_TOOLS_MHA_TUNE_RANGE_H_
#define MHA_TOOLS_MHA_TUNE_RANGE_H_

#include <vector>

#include "tools/mha-tune/tune.h"

namespace mha {

// tune_one() of such a config; a report for each length that was searched.
nlohmann::ordered_json tune_range(const TuneJob& job, const TuneOptions& options,
                                  Database& database, Console& console,
                                  std::vector<ReportInput>* reports);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_TUNE_RANGE_H_
