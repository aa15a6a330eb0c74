// What a survey has measured, also of an older schedule space.
#ifndef MHA_BENCH_TUNE_STORED_TRIALS_H_
#define MHA_BENCH_TUNE_STORED_TRIALS_H_

#include <vector>

#include "schedules/tuner/database.h"

namespace mha {

// Candidates are called as they are now: those that were measured before there was some parameter
// have its neutral value (ParamInfo).
std::vector<Trial> stored_trials(Database& database, const Subject& subject);

}  // namespace mha

#endif  // MHA_BENCH_TUNE_STORED_TRIALS_H_
