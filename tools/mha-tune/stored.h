// What mha-tune does without a machine: reading its database.
#ifndef MHA_TOOLS_MHA_TUNE_STORED_H_
#define MHA_TOOLS_MHA_TUNE_STORED_H_

#include "schedules/tuner/database.h"
#include "tools/common/console.h"
#include "tools/mha-tune/options.h"

namespace mha {

// What there is, a line a subject.
int list_subjects(const Database& database, Console& console);
// Adds the rows of other files.
int merge_databases(const TuneOptions& options, Database& database, Console& console);
// Writes the certified schedules of a target and machine into --schedules.
int export_records(const TuneOptions& options, const Database& database, Console& console);
// Runs the strategy of --config on its stored trials.
int replay_search(const TuneOptions& options, const Database& database, Console& console);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_TUNE_STORED_H_
