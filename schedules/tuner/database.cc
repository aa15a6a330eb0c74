#include "schedules/tuner/database.h"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <sstream>
#include <string_view>
#include <utility>

#include "generator/spec/error.h"
#include "schedules/hash.h"
#include "schedules/tuner/sqlite.h"

namespace mha {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kApplication = 0x4d484154;  // "MHAT"
constexpr int64_t kSchema = 1;

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
constexpr char kSubjectColumns[] = "spec, lengths, target, machine, threads, generator, space";
constexpr char kTrialColumns[] =
    "stage, candidate, outcome, detail, against, seconds, against_seconds, disturbed, log_gain, "
    "half_width, score, strategy, seed, proposal, time";
constexpr char kCertificateColumns[] =
    "origin, schedule, faster, margin, error, low, log_gain, high, pair_log_gains, seconds, "
    "default_seconds, disturbed, machine, generator, space, time";

using Values = std::vector<SqlValue>;

Values values_of(const Subject& s) {
  return {s.spec, s.lengths, s.target, s.machine, int64_t{s.threads}, s.generator, s.space};
}

Subject read_subject(SqlStatement& row) {
  return {row.text(0), row.text(1), row.text(2), row.text(3), static_cast<int>(row.integer(4)),
          row.text(5), row.text(6)};
}

Values values_of(const Trial& t) {
  return {t.stage,
          t.candidate,
          std::string(outcome_name(t.outcome)),
          t.detail,
          t.against,
          t.seconds,
          t.against_seconds,
          int64_t{t.disturbed},
          t.log_gain,
          t.half_width,
          t.score,
          t.strategy,
          std::bit_cast<int64_t>(t.seed),
          t.index,
          t.time};
}

Trial read_trial(SqlConnection& connection, SqlStatement& row) {
  Trial t;
  t.stage = row.text(0);
  t.candidate = row.text(1);
  try {
    t.outcome = outcome_of(row.text(2));
  } catch (const std::out_of_range& error) {
    connection.fail_damaged(error.what());
  }
  t.detail = row.text(3);
  t.against = row.text(4);
  t.seconds = row.reals(5);
  t.against_seconds = row.reals(6);
  t.disturbed = static_cast<int>(row.integer(7));
  t.log_gain = row.real(8);
  t.half_width = row.real(9);
  t.score = row.real(10);
  t.strategy = row.text(11);
  t.seed = std::bit_cast<uint64_t>(row.integer(12));
  t.index = row.integer(13);
  t.time = row.text(14);
  return t;
}

Values values_of(const CertifiedSchedule& certified) {
  const Certificate& c = certified.certificate;
  return {certified.schedule.origin,
          certified.schedule.text(),
          int64_t{c.faster},
          c.margin,
          c.error,
          c.low,
          c.log_gain,
          c.high,
          c.pair_log_gains,
          c.seconds,
          c.default_seconds,
          int64_t{c.disturbed},
          c.machine,
          c.generator,
          c.space,
          c.time};
}

// Reads Schedule::text() back.
std::vector<StageSchedule> read_stages(SqlConnection& connection, const std::string& text) {
  std::vector<StageSchedule> stages;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (!word.ends_with(':')) connection.fail_damaged("no schedule: " + line);
    StageSchedule stage{word.substr(0, word.size() - 1), {}};
    while (words >> word) {
      const size_t equals = word.find('=');
      int64_t value = 0;
      std::istringstream number(equals == std::string::npos ? "" : word.substr(equals + 1));
      if (!(number >> value) || number.peek() != EOF) {
        connection.fail_damaged("no schedule: " + line);
      }
      stage.params.emplace_back(word.substr(0, equals), value);
    }
    stages.push_back(std::move(stage));
  }
  return stages;
}

CertifiedSchedule read_certified(SqlConnection& connection, SqlStatement& row) {
  CertifiedSchedule certified;
  certified.schedule.origin = row.text(0);
  certified.schedule.stages = read_stages(connection, row.text(1));
  Certificate& c = certified.certificate;
  c.faster = row.integer(2) != 0;
  c.margin = row.real(3);
  c.error = row.real(4);
  c.low = row.real(5);
  c.log_gain = row.real(6);
  c.high = row.real(7);
  c.pair_log_gains = row.reals(8);
  c.seconds = row.reals(9);
  c.default_seconds = row.reals(10);
  c.disturbed = static_cast<int>(row.integer(11));
  c.machine = row.text(12);
  c.generator = row.text(13);
  c.space = row.text(14);
  c.time = row.text(15);
  return certified;
}

void add_value(Hash& hash, int64_t value) { hash.add(value); }
void add_value(Hash& hash, const std::string& text) { hash.add(text); }
// As SQLite gives it back: one NaN, one zero.
void add_value(Hash& hash, double value) {
  hash.add(std::isnan(value) ? int64_t{-1} : std::bit_cast<int64_t>(value == 0 ? 0.0 : value));
}
void add_value(Hash& hash, const std::vector<double>& values) {
  hash.add(static_cast<int64_t>(values.size()));
  hash.mix({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double)});
}

std::string identity(const Values& subject, const Values& row) {
  Hash hash;
  for (const Values* values : {&subject, &row}) {
    for (const SqlValue& value : *values) {
      std::visit([&](const auto& v) { add_value(hash, v); }, value);
    }
  }
  return hash.text();
}

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
    const int64_t version = pragma("user_version");
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
  if (!state_->fresh) return;
  SqlTransaction transaction(connection);
  // Another process may have been faster.
  if (state_->pragma("application_id") == kApplication) return;
  for (const char* table : kTables) connection.execute(table);
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
  std::vector<std::pair<const Subject*, Values>> trials, certificates;
  for (const Subject& subject : subjects) {
    other.each("trial", kTrialColumns, subject, "ORDER BY number", {}, [&](SqlStatement& trial) {
      trials.emplace_back(&subject, values_of(read_trial(other.connection, trial)));
    });
    other.each("certificate", kCertificateColumns, subject, "ORDER BY number", {},
               [&](SqlStatement& certificate) {
                 certificates.emplace_back(
                     &subject, values_of(read_certified(other.connection, certificate)));
               });
  }
  SqlTransaction transaction(state_->connection);
  for (const auto& [subject, values] : trials) {
    state_->add_row("trial", kTrialColumns, *subject, values);
  }
  for (const auto& [subject, values] : certificates) {
    state_->add_row("certificate", kCertificateColumns, *subject, values);
  }
  transaction.commit();
}

}  // namespace mha
