// Files of records (schedules/record.h): one record put in, all others kept.
#ifndef MHA_TOOLS_MHA_TUNE_RECORD_FILE_H_
#define MHA_TOOLS_MHA_TUNE_RECORD_FILE_H_

#include <string>

#include "generator/ir/plan.h"
#include "schedules/schedule.h"

namespace mha {

// DIRECTORY/TARGET.yaml, where DIRECTORY is `schedules`, or mha-records/ beside the config. Throws
// UserError where it could not be written.
std::string record_path(const std::string& config, const std::string& schedules,
                        const std::string& target);

// Puts the record in the place of the one with its key and thread count, or in the order of keys;
// atomically.
void write_record(const std::string& path, const Plan& plan, const Machine& machine,
                  const Schedule& schedule, int threads);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_TUNE_RECORD_FILE_H_
