// What the database keeps, as rows of its tables and back.
#ifndef MHA_SCHEDULES_TUNER_DATABASE_ROWS_H_
#define MHA_SCHEDULES_TUNER_DATABASE_ROWS_H_

#include <string>
#include <vector>

#include "schedules/tuner/database.h"
#include "schedules/tuner/sqlite.h"

namespace mha {

// In the order of values_of().
inline constexpr char kSubjectColumns[] =
    "spec, lengths, target, machine, threads, generator, space";
inline constexpr char kTrialColumns[] =
    "stage, candidate, outcome, detail, against, seconds, against_seconds, disturbed, log_gain, "
    "half_width, score, strategy, seed, proposal, time";
inline constexpr char kCertificateColumns[] =
    "origin, schedule, faster, margin, error, low, log_gain, high, pair_log_gains, seconds, "
    "default_seconds, disturbed, machine, generator, space, time";

inline constexpr char kVariantsColumns[] =
    "lengths, origin, schedule, faster, margin, error, low, log_gain, high, pair_log_gains, "
    "seconds, default_seconds, disturbed, machine, generator, space, time";

using Values = std::vector<SqlValue>;
Values values_of(const Subject& subject);
Values values_of(const Trial& trial);
Values values_of(const CertifiedSchedule& certified);
Values values_of(const CertifiedVariants& certified);

// The other way round, from the first column on.
Subject read_subject(SqlStatement& row);
Trial read_trial(SqlConnection& connection, SqlStatement& row);
CertifiedSchedule read_certified(SqlConnection& connection, SqlStatement& row);
CertifiedVariants read_variants(SqlConnection& connection, SqlStatement& row);

// A hash of all of a row's content, its subject included.
std::string identity(const Values& subject, const Values& row);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_DATABASE_ROWS_H_
