// Files of records (schedules/record.h) that mha-tune writes into.
#ifndef MHA_TOOLS_MHA_TUNE_RECORD_FILE_H_
#define MHA_TOOLS_MHA_TUNE_RECORD_FILE_H_

#include <string>
#include <vector>

#include "schedules/tuner/export.h"

namespace mha {

// DIRECTORY/TARGET.yaml, where DIRECTORY is `schedules`, or mha-records/ beside the config. Throws
// UserError where it could not be written.
std::string record_path(const std::string& config, const std::string& schedules,
                        const std::string& target);

// Merges the records into the file (merge_records()), atomically; a file that already says all of
// that is not touched.
Exported write_records(const std::string& path, const std::vector<NewRecord>& records,
                       const ExportOptions& options);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_TUNE_RECORD_FILE_H_
