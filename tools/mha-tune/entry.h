// What the tuning of one length and that of a range say of themselves, and what both are given.
#ifndef MHA_TOOLS_MHA_TUNE_ENTRY_H_
#define MHA_TOOLS_MHA_TUNE_ENTRY_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/mha-tune/tune.h"

namespace mha {

std::string job_text(const TuneJob& job, const TuneOptions& options);  // "NAME, zen4, 1 thread"
nlohmann::ordered_json certificate_json(const Certificate& certificate);
nlohmann::ordered_json schedule_json(const Schedule& schedule);

// What an entry for --json begins with, up to the gains of the stages, and ends with.
nlohmann::ordered_json entry_head(const TuneJob& job, const TuneOptions& options,
                                  const Subject& subject, const Progress& progress, double seconds,
                                  const std::map<std::string, double>& scores);
void add_ending(nlohmann::ordered_json& entry, const std::string& note, bool stopped);

// Writes a record_text() into the job's file, also in the place of another machine's, because this
// one measured; says in the entry where, or to the user why not.
void write_winner(const TuneJob& job, const Subject& subject, const std::string& record,
                  Console& console, nlohmann::ordered_json& entry);

// The same for people; `winner`: whole lines, empty when the default stays.
void print_summary(const TuneJob& job, const TuneOptions& options, const Progress& progress,
                   double seconds, const std::string& winner, const std::string& note, bool stopped,
                   Console& console);

// Of a search with calls of so many queries; 0: the largest.
ReportInput report_input(const TuneJob& job, const TuneOptions& options, const Subject& subject,
                         const Database& database, const TunerResult& result,
                         int64_t query_length = 0);

// `spent`: seconds of the budget that are gone: the reference and the first program count.
TunerOptions tuner_options(const TuneOptions& options, double spent);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_TUNE_ENTRY_H_
