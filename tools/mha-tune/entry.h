// What the tuning of one length and that of a range say of themselves, and what both are given.
#ifndef MHA_TOOLS_MHA_TUNE_ENTRY_H_
#define MHA_TOOLS_MHA_TUNE_ENTRY_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/mha-tune/tune.h"

namespace mha {

std::string threads_text(int threads);  // "1 thread"
nlohmann::ordered_json certificate_json(const Certificate& certificate);
nlohmann::ordered_json schedule_json(const Schedule& schedule);

// Of a search with calls of so many queries; 0: the largest.
ReportInput report_input(const TuneJob& job, const TuneOptions& options, const Subject& subject,
                         const Database& database, const TunerResult& result,
                         int64_t query_length = 0);

// `spent`: seconds of the budget that are gone: the reference and the first program count.
TunerOptions tuner_options(const TuneOptions& options, double spent);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_TUNE_ENTRY_H_
