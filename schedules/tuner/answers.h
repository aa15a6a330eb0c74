// Certificates on their way into the database. A question that was answered is not asked again
// until the answer pleases.
#ifndef MHA_SCHEDULES_TUNER_ANSWERS_H_
#define MHA_SCHEDULES_TUNER_ANSWERS_H_

#include <limits>
#include <optional>

#include "schedules/tuner/database.h"
#include "schedules/tuner/tuner.h"

namespace mha {

// What is known of a schedule: the last answer that was "no", or "yes" with no more than this
// error.
std::optional<Certificate> known_answer(const Database& database, const Subject& subject,
                                        const Schedule& schedule,
                                        double error = std::numeric_limits<double>::infinity());

// certify(), and stores the answer. Throws what that throws.
Certificate ask(Database& database, const Subject& subject, const Schedule& schedule,
                const Start& start_candidate, const Start& start_default,
                const CertificateOptions& options, const TunerClock& clock);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_ANSWERS_H_
