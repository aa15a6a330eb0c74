#include "schedules/tuner/database.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "generator/spec/error.h"
#include "schedules/tuner/database_rows.h"
#include "schedules/tuner/sqlite.h"

namespace mha {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kApplication = 0x4d484154;  // "MHAT"
constexpr int64_t kSchema = 2;                // 1 had no table of variants

// Lists of doubles are blobs, in the order of bytes of the machine (little-endian, as all targets
// are). `id` is the identity of a row's content.
constexpr const char* kTables[] = {
    "CREATE TABLE subject ("
    "  number INTEGER PRIMARY KEY, spec TEXT NOT NULL, lengths TEXT NOT NULL, target TEXT NOT NULL,"
    "  machine TEXT NOT NULL, threads INTEGER NOT NULL, generator TEXT NOT NULL,"
    "  space TEXT NOT NULL,"
    "  UNIQUE (spec, lengths, target, machine, threads, generator, space)) STRICT",
    "CREATE TABLE trial ("
    "  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
    "  subject INTEGER NOT NULL REFERENCES subject, stage TEXT NOT NULL, candidate TEXT NOT NULL,"
    "  outcome TEXT NOT NULL, detail TEXT NOT NULL, against TEXT NOT NULL, seconds BLOB NOT NULL,"
    "  against_seconds BLOB NOT NULL, disturbed INTEGER NOT NULL, log_gain REAL, half_width REAL,"
    "  score REAL, strategy TEXT NOT NULL, seed INTEGER NOT NULL, proposal INTEGER NOT NULL,"
    "  time TEXT NOT NULL) STRICT",
    "CREATE INDEX trial_candidate ON trial (subject, stage, candidate)",
    "CREATE TABLE certificate ("
    "  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
    "  subject INTEGER NOT NULL REFERENCES subject, origin TEXT NOT NULL, schedule TEXT NOT NULL,"
    "  faster INTEGER NOT NULL, margin REAL, error REAL, low REAL, log_gain REAL, high REAL,"
    "  pair_log_gains BLOB NOT NULL, seconds BLOB NOT NULL, default_seconds BLOB NOT NULL,"
    "  disturbed INTEGER NOT NULL, machine TEXT NOT NULL, generator TEXT NOT NULL,"
    "  space TEXT NOT NULL, time TEXT NOT NULL) STRICT",
    "CREATE INDEX certificate_subject ON certificate (subject)",
};
constexpr char kVariantsTable[] =
    "CREATE TABLE variants ("
    "  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
    "  subject INTEGER NOT NULL REFERENCES subject, lengths TEXT NOT NULL, origin TEXT NOT NULL,"
    "  schedule TEXT NOT NULL, faster INTEGER NOT NULL, margin REAL, error REAL, low REAL,"
    "  log_gain REAL, high REAL, pair_log_gains BLOB NOT NULL, seconds BLOB NOT NULL,"
    "  default_seconds BLOB NOT NULL, disturbed INTEGER NOT NULL, machine TEXT NOT NULL,"
    "  generator TEXT NOT NULL, space TEXT NOT NULL, time TEXT NOT NULL) STRICT";
// What opening would say too, but worse.
void check_path(const std::string& path) {
  std::error_code error;
  if (path.empty()) throw UserError("the name of the database is empty");
  const fs::file_status status = fs::status(path, error);
  const std::string head = "the database '" + path + "' ";
  if (status.type() == fs::file_type::directory) throw UserError(head + "is a folder");
  if (status.type() == fs::file_type::not_found) {
    const fs::path folder = fs::absolute(path).parent_path();
    if (!fs::is_directory(folder, error)) {
      throw UserError(head + "cannot be made: there is no folder '" + folder.string() + "'");
    }
    if (access(folder.c_str(), W_OK) != 0) {
      throw UserError(head + "cannot be made: no permission to write into its folder");
    }
    return;
  }
  if (status.type() != fs::file_type::regular) throw UserError(head + "is not a regular file");
  // SQLite would take a file that is shorter than a page for an empty one, and write over it. What
  // has a journal is its own, cut short.
  const uintmax_t size = fs::file_size(path, error);
  if (!error && size > 0 && size < 512 && !fs::exists(path + "-journal", error)) {
    throw UserError("'" + path + "' is no database of mha-tune: not an SQLite file");
  }
  if (access(path.c_str(), R_OK) != 0) throw UserError(head + "cannot be read: no permission");
}

std::string placeholders(size_t count) {
  std::string text = "?";
  for (size_t i = 1; i < count; ++i) text += ", ?";
  return text;
}

}  // namespace

struct Database::State {
  State(const std::string& path, bool read_only, const char* vfs)
      : connection(path, read_only, vfs) {
    // One look: another process may be making the file.
    connection.execute("BEGIN");
    const int64_t application = pragma("application_id");
    version = pragma("user_version");
    const int64_t tables = number("SELECT count(*) FROM sqlite_schema");
    connection.execute("COMMIT");
    // A file that was being made when its maker was killed has no tables.
    fresh = application == 0 && version == 0 && tables == 0;
    if (!fresh && application != kApplication) {
      throw UserError("'" + path +
                      "' is no database of mha-tune: it is another application's SQLite file");
    }
    if (version > kSchema) {
      throw UserError("the database '" + path + "' was made by a newer mha-tune (schema " +
                      std::to_string(version) + ", this one reads " + std::to_string(kSchema) +
                      ")");
    }
  }

  int64_t pragma(const std::string& name) { return number("PRAGMA " + name); }

  int64_t number(const std::string& query) {
    SqlStatement row(connection, query);
    return row.step() ? row.integer(0) : 0;
  }

  // Of this subject, which it adds if need be; only in a transaction.
  int64_t subject_number(const Subject& subject, bool add) {
    const std::string where =
        "spec = ? AND lengths = ? AND target = ? AND machine = ? AND threads = ? AND generator = ? "
        "AND space = ?";
    const Values values = values_of(subject);
    SqlStatement row(connection, "SELECT number FROM subject WHERE " + where, values);
    if (row.step()) return row.integer(0);
    if (!add) return -1;
    insert("subject", kSubjectColumns, values);
    return sqlite3_last_insert_rowid(connection.handle());
  }

  void insert(const std::string& table, const std::string& columns, const Values& values) {
    SqlStatement(
        connection,
        "INSERT INTO " + table + " (" + columns + ") VALUES (" + placeholders(values.size()) + ")",
        values)
        .step();
  }

  // True when the row was not there.
  bool add_row(const std::string& table, const std::string& columns, const Subject& subject,
               const Values& values) {
    Values row = {identity(values_of(subject), values)};
    if (SqlStatement(connection, "SELECT 1 FROM " + table + " WHERE id = ?", row).step()) {
      return false;
    }
    row.emplace_back(subject_number(subject, true));
    row.insert(row.end(), values.begin(), values.end());
    insert(table, "id, subject, " + columns, row);
    return true;
  }

  // Calls `read` for each row of the subject that `more` (SQL and its values) lets through.
  template <typename Read>
  void each(const std::string& table, const std::string& columns, const Subject& subject,
            const std::string& more, const Values& values, const Read& read) {
    Values all = {subject_number(subject, false)};
    all.insert(all.end(), values.begin(), values.end());
    SqlStatement row(connection,
                     "SELECT " + columns + " FROM " + table + " AS t WHERE subject = ? " + more,
                     all);
    while (row.step()) read(row);
  }

  SqlConnection connection;
  bool fresh = false;
  int64_t version = 0;
};

Database::Database(const std::string& path, const char* vfs) {
  check_path(path);
  state_ = std::make_unique<State>(path, false, vfs);
  SqlConnection& connection = state_->connection;
  if (sqlite3_db_readonly(connection.handle(), "main") != 0) {
    throw UserError("the database '" + path + "' cannot be written: no permission");
  }
  connection.execute("PRAGMA journal_mode = DELETE");
  connection.execute("PRAGMA synchronous = FULL");
  if (state_->version == kSchema) return;
  SqlTransaction transaction(connection);
  // Another process may have been faster.
  if (state_->pragma("user_version") == kSchema) return;
  if (state_->pragma("application_id") != kApplication) {
    for (const char* table : kTables) connection.execute(table);
  }
  connection.execute(kVariantsTable);
  connection.execute(("PRAGMA application_id = " + std::to_string(kApplication)).c_str());
  connection.execute(("PRAGMA user_version = " + std::to_string(kSchema)).c_str());
  transaction.commit();
}

Database::~Database() = default;

bool Database::append(const Subject& subject, const Trial& trial) {
  SqlTransaction transaction(state_->connection);
  // No constraint of the table: merging may bring a second measurement.
  const Values candidate = {state_->subject_number(subject, false), trial.stage, trial.candidate};
  if (SqlStatement(state_->connection,
                   "SELECT 1 FROM trial WHERE subject = ? AND stage = ? AND candidate = ?",
                   candidate)
          .step()) {
    return false;
  }
  state_->add_row("trial", kTrialColumns, subject, values_of(trial));
  transaction.commit();
  return true;
}

bool Database::append(const Subject& subject, const CertifiedSchedule& certified) {
  SqlTransaction transaction(state_->connection);
  if (!state_->add_row("certificate", kCertificateColumns, subject, values_of(certified))) {
    return false;
  }
  transaction.commit();
  return true;
}

bool Database::append(const Subject& subject, const CertifiedVariants& certified) {
  SqlTransaction transaction(state_->connection);
  if (!state_->add_row("variants", kVariantsColumns, subject, values_of(certified))) return false;
  transaction.commit();
  return true;
}

std::vector<Trial> Database::trials(const Subject& subject) const {
  std::vector<Trial> trials;
  state_->each("trial", kTrialColumns, subject,
               "AND NOT EXISTS (SELECT 1 FROM trial AS o WHERE o.subject = t.subject AND "
               "o.stage = t.stage AND o.candidate = t.candidate AND (o.time, o.id) < "
               "(t.time, t.id)) ORDER BY number",
               {},
               [&](SqlStatement& row) { trials.push_back(read_trial(state_->connection, row)); });
  return trials;
}

std::optional<Trial> Database::find(const Subject& subject, const std::string& stage,
                                    const std::string& candidate) const {
  std::optional<Trial> found;
  state_->each("trial", kTrialColumns, subject,
               "AND stage = ? AND candidate = ? ORDER BY time, id LIMIT 1", {stage, candidate},
               [&](SqlStatement& row) { found = read_trial(state_->connection, row); });
  return found;
}

std::optional<CertifiedSchedule> Database::best(const Subject& subject) const {
  std::optional<CertifiedSchedule> best;
  state_->each("certificate", kCertificateColumns, subject,
               "AND faster ORDER BY low DESC, id LIMIT 1", {},
               [&](SqlStatement& row) { best = read_certified(state_->connection, row); });
  return best;
}

std::vector<CertifiedSchedule> Database::certificates(const Subject& subject) const {
  std::vector<CertifiedSchedule> all;
  state_->each("certificate", kCertificateColumns, subject, "ORDER BY number", {},
               [&](SqlStatement& row) { all.push_back(read_certified(state_->connection, row)); });
  return all;
}

std::optional<CertifiedVariants> Database::variants(const Subject& subject) const {
  std::optional<CertifiedVariants> latest;
  state_->each("variants", kVariantsColumns, subject, "ORDER BY time DESC, id LIMIT 1", {},
               [&](SqlStatement& row) { latest = read_variants(state_->connection, row); });
  return latest;
}

std::vector<Subject> Database::subjects() const {
  std::vector<Subject> subjects;
  SqlStatement row(state_->connection, "SELECT " + std::string(kSubjectColumns) + " FROM subject");
  while (row.step()) subjects.push_back(read_subject(row));
  std::sort(subjects.begin(), subjects.end());
  return subjects;
}

void Database::merge(const std::string& path) {
  if (!fs::exists(path)) throw UserError("there is no database '" + path + "'");
  check_path(path);
  // All of it is read before anything is written: the two may be one file.
  State other(path, true, nullptr);
  if (other.fresh) return;
  std::vector<Subject> subjects;
  SqlStatement row(other.connection,
                   "SELECT " + std::string(kSubjectColumns) + " FROM subject ORDER BY number");
  while (row.step()) subjects.push_back(read_subject(row));
  std::vector<std::pair<const Subject*, Values>> trials, certificates, variants;
  for (const Subject& subject : subjects) {
    other.each("trial", kTrialColumns, subject, "ORDER BY number", {}, [&](SqlStatement& trial) {
      trials.emplace_back(&subject, values_of(read_trial(other.connection, trial)));
    });
    other.each("certificate", kCertificateColumns, subject, "ORDER BY number", {},
               [&](SqlStatement& certificate) {
                 certificates.emplace_back(
                     &subject, values_of(read_certified(other.connection, certificate)));
               });
    if (other.version < kSchema) continue;
    other.each(
        "variants", kVariantsColumns, subject, "ORDER BY number", {}, [&](SqlStatement& chosen) {
          variants.emplace_back(&subject, values_of(read_variants(other.connection, chosen)));
        });
  }
  SqlTransaction transaction(state_->connection);
  for (const auto& [subject, values] : trials) {
    state_->add_row("trial", kTrialColumns, *subject, values);
  }
  for (const auto& [subject, values] : certificates) {
    state_->add_row("certificate", kCertificateColumns, *subject, values);
  }
  for (const auto& [subject, values] : variants) {
    state_->add_row("variants", kVariantsColumns, *subject, values);
  }
  transaction.commit();
}

}  // namespace mha
