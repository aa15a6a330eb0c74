// Where a kernel's schedule comes from, for manifest.json and for people.
#ifndef MHA_GENERATOR_EMIT_PROVENANCE_H_
#define MHA_GENERATOR_EMIT_PROVENANCE_H_

#include <nlohmann/json.hpp>
#include <string>

#include "schedules/schedule.h"

namespace mha {

// {"file": ..., "certificate": {...}} of a record; empty for a default. Nothing in it depends on
// the machine that generates or on where folders lie.
nlohmann::ordered_json provenance_json(const Schedule& schedule);

// The same as indented lines, with a word on whether `here` (a Fingerprint::text()) is the machine
// of the certificate and `generator`, `space` are what it was made with.
std::string provenance_text(const Schedule& schedule, const std::string& here,
                            const std::string& generator, const std::string& space);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_PROVENANCE_H_
