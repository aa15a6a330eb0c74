// SQLite with errors as exceptions: the little of it that the database needs.
#ifndef MHA_SCHEDULES_TUNER_SQLITE_H_
#define MHA_SCHEDULES_TUNER_SQLITE_H_

#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace mha {

// Doubles that must come back bit for bit travel as blobs.
using SqlValue = std::variant<int64_t, double, std::string, std::vector<double>>;

// One connection. Failures are UserError where the file is to blame (no database, damaged, not
// writable), SystemError where the system is (disk full, I/O, locked for too long), each with the
// file's name.
class SqlConnection {
 public:
  // An empty file or none is a database without tables. `vfs` names one of SQLite's own, nullptr
  // the system's.
  SqlConnection(const std::string& path, bool read_only, const char* vfs);
  ~SqlConnection();
  SqlConnection(const SqlConnection&) = delete;
  SqlConnection& operator=(const SqlConnection&) = delete;

  void execute(const char* sql);
  // Throws what the last error asks for. `doing`: "cannot be read".
  [[noreturn]] void fail(int code, const std::string& doing) const;
  [[noreturn]] void fail_damaged(const std::string& what) const;
  sqlite3* handle() const { return handle_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  sqlite3* handle_ = nullptr;
};

class SqlStatement {
 public:
  SqlStatement(SqlConnection& connection, const std::string& sql,
               const std::vector<SqlValue>& values = {});
  ~SqlStatement() { sqlite3_finalize(statement_); }
  SqlStatement(const SqlStatement&) = delete;
  SqlStatement& operator=(const SqlStatement&) = delete;

  bool step();  // whether there is a row
  int64_t integer(int column) { return sqlite3_column_int64(statement_, column); }
  double real(int column);  // NULL is NaN
  std::string text(int column);
  std::vector<double> reals(int column);

 private:
  SqlConnection& connection_;
  sqlite3_stmt* statement_ = nullptr;
};

// BEGIN IMMEDIATE ... COMMIT: all that happens in between, or nothing.
class SqlTransaction {
 public:
  explicit SqlTransaction(SqlConnection& connection) : connection_(connection) {
    connection_.execute("BEGIN IMMEDIATE");
  }
  ~SqlTransaction();
  SqlTransaction(const SqlTransaction&) = delete;
  SqlTransaction& operator=(const SqlTransaction&) = delete;
  void commit();

 private:
  SqlConnection& connection_;
  bool committed_ = false;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_SQLITE_H_
