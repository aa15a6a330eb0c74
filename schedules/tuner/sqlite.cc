#include "schedules/tuner/sqlite.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "generator/spec/error.h"

namespace mha {
namespace {

// How long to wait for other processes. A commit takes some milliseconds.
constexpr int kBusyMilliseconds = 60'000;

std::string quoted(const std::string& path) { return "the database '" + path + "'"; }

}  // namespace

SqlConnection::SqlConnection(const std::string& path, bool read_only, const char* vfs)
    : path_(path) {
  // A name like ":memory:" is a file like any other here.
  const std::string name = path.front() == ':' ? "./" + path : path;
  const int flags = read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  const int code = sqlite3_open_v2(name.c_str(), &handle_, flags | SQLITE_OPEN_EXRESCODE, vfs);
  try {
    if (code != SQLITE_OK) fail(code, "cannot be opened");
    sqlite3_busy_timeout(handle_, kBusyMilliseconds);
  } catch (...) {
    sqlite3_close(handle_);
    throw;
  }
}

SqlConnection::~SqlConnection() { sqlite3_close(handle_); }

void SqlConnection::execute(const char* sql) {
  SqlStatement statement(*this, sql);
  while (statement.step()) {
  }
}

void SqlConnection::fail(int code, const std::string& doing) const {
  const std::string head = quoted(path_) + " " + doing + ": ";
  const int error = sqlite3_system_errno(handle_);
  const std::string system = error != 0 ? std::string(" (") + std::strerror(error) + ")" : "";
  switch (code & 0xff) {
    case SQLITE_FULL:
      throw SystemError(head + "the disk is full");
    case SQLITE_IOERR:
      throw SystemError(head + "I/O error" + system);
    case SQLITE_NOMEM:
      throw SystemError(head + "out of memory");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      throw SystemError(head + "another process has kept it locked for more than a minute");
    case SQLITE_CANTOPEN:
      throw SystemError(head + "it or its journal does not open" + system);
    case SQLITE_NOTADB:
      throw UserError("'" + path_ + "' is no database of mha-tune: not an SQLite file");
    case SQLITE_CORRUPT:
    case SQLITE_ERROR:  // of our own SQL: the tables are not as we made them
    case SQLITE_CONSTRAINT:
      fail_damaged(sqlite3_errmsg(handle_));
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      throw UserError(head + "the file or its folder is read-only");
    default:
      throw InternalError(head + sqlite3_errmsg(handle_));
  }
}

void SqlConnection::fail_damaged(const std::string& what) const {
  throw UserError(quoted(path_) + " is damaged (" + what +
                  "): put a copy in its place, or delete it to start anew");
}

SqlStatement::SqlStatement(SqlConnection& connection, const std::string& sql,
                           const std::vector<SqlValue>& values)
    : connection_(connection) {
  const int code = sqlite3_prepare_v2(connection.handle(), sql.c_str(), -1, &statement_, nullptr);
  if (code != SQLITE_OK) connection.fail(code, "cannot be read");
  for (size_t i = 0; i < values.size(); ++i) {
    const int at = static_cast<int>(i) + 1;
    int bound = SQLITE_OK;
    if (const auto* integer = std::get_if<int64_t>(&values[i])) {
      bound = sqlite3_bind_int64(statement_, at, *integer);
    } else if (const auto* real = std::get_if<double>(&values[i])) {
      bound = sqlite3_bind_double(statement_, at, *real);
    } else if (const auto* text = std::get_if<std::string>(&values[i])) {
      bound = sqlite3_bind_text64(statement_, at, text->data(), text->size(), SQLITE_TRANSIENT,
                                  SQLITE_UTF8);
    } else {
      const auto& reals = std::get<std::vector<double>>(values[i]);
      // No bytes at a null pointer would be NULL.
      bound = sqlite3_bind_blob64(statement_, at, reals.empty() ? "" : (const void*)reals.data(),
                                  reals.size() * sizeof(double), SQLITE_TRANSIENT);
    }
    if (bound != SQLITE_OK) {
      sqlite3_finalize(statement_);
      connection.fail(bound, "cannot be written");
    }
  }
}

bool SqlStatement::step() {
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  connection_.fail(code,
                   sqlite3_stmt_readonly(statement_) ? "cannot be read" : "cannot be written");
}

double SqlStatement::real(int column) {
  if (sqlite3_column_type(statement_, column) == SQLITE_NULL) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  return sqlite3_column_double(statement_, column);
}

std::string SqlStatement::text(int column) {
  const unsigned char* text = sqlite3_column_text(statement_, column);
  if (text == nullptr) return "";
  return {reinterpret_cast<const char*>(text),
          static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

std::vector<double> SqlStatement::reals(int column) {
  const void* bytes = sqlite3_column_blob(statement_, column);
  const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_, column));
  if (size % sizeof(double) != 0) connection_.fail_damaged("a list of numbers is cut short");
  std::vector<double> reals(size / sizeof(double));
  if (size > 0) std::memcpy(reals.data(), bytes, size);
  return reals;
}

void SqlTransaction::commit() {
  connection_.execute("COMMIT");
  committed_ = true;
}

SqlTransaction::~SqlTransaction() {
  if (committed_) return;
  // Where this fails too, the journal stays, and the next one to open the file rolls back.
  sqlite3_exec(connection_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

}  // namespace mha
