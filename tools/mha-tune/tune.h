// Tuning of one config, from the file to the record.
#ifndef MHA_TOOLS_MHA_TUNE_TUNE_H_
#define MHA_TOOLS_MHA_TUNE_TUNE_H_

#include <memory>
#include <string>
#include <vector>

#include "generator/emit/generate.h"
#include "generator/spec/spec.h"
#include "schedules/tuner/database.h"
#include "schedules/tuner/report.h"
#include "schedules/tuner/tuner.h"
#include "tools/common/console.h"
#include "tools/mha-tune/options.h"

namespace mha {

// One config with everything that is known before anything is measured.
struct TuneJob {
  Spec spec;
  Generation generation;
  GenerateOptions generate;
  std::string record;  // the file of records that the winner goes into
};

// All configs; throws UserError with everything that is wrong with any of them, or with the
// options: before any work.
std::vector<TuneJob> tune_jobs(const TuneOptions& options);

// What a measurement of this job is about.
Subject subject_of(const TuneJob& job, const TuneOptions& options, const std::string& machine);

// Certified schedules of other shapes, the most alike first, that were known before the first trial
// of this subject: a search that is taken up again has the same ones.
std::vector<Schedule> seeds_of(const Subject& subject, const Database& database);

// Measures and writes the record. Returns the entry for --json, and adds what --report says of it.
nlohmann::ordered_json tune_one(const TuneJob& job, const TuneOptions& options, Database& database,
                                Console& console, std::vector<ReportInput>* reports = nullptr);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_TUNE_TUNE_H_
