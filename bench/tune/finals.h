// The best of a survey once more. The highest of some hundred scores is mostly the luckiest one:
// what is best, and what strategies lose against it, is told from longer races of the few that
// might be.
#ifndef MHA_BENCH_TUNE_FINALS_H_
#define MHA_BENCH_TUNE_FINALS_H_

#include <string>
#include <vector>

#include "schedules/tuner/database.h"
#include "schedules/tuner/runner.h"
#include "schedules/tuner/tuner.h"

namespace mha {

// Where finals are stored: beside the trials, under a subject of their own.
Subject finals_subject(const Subject& subject);

// Races the best of a stage, by their stored scores, against the default once more and stores what
// is not stored yet. `analytic`: of the whole kernel.
void run_finals(const std::string& stage, const Schedule& analytic, const Subject& subject,
                Lab& lab, Database& database, TunerEvents& events);

}  // namespace mha

#endif  // MHA_BENCH_TUNE_FINALS_H_
