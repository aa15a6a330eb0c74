// What the tests of the database share: files of their own, random rows, a look at all rows.
#ifndef MHA_TESTS_TUNER_DATABASE_TOOLS_H_
#define MHA_TESTS_TUNER_DATABASE_TOOLS_H_

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cmath>
#include <filesystem>
#include <random>
#include <set>
#include <string>

#include "schedules/tuner/database.h"

namespace mha {

class DatabaseTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "mha_tuner_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string file(const std::string& name = "tune.db") const { return folder_ + "/" + name; }

  std::string folder_;
};

inline Subject subject_named(const std::string& spec = "attention B=1") {
  return {spec, "B=1 Lq=8 Lk=8", "zen4", "A 1/2/3", 1, "mha-gen 0.1.0", "01234567"};
}

inline Trial trial_named(const std::string& candidate, const std::string& stage = "attention") {
  Trial trial;
  trial.stage = stage;
  trial.candidate = candidate;
  trial.against = "x=0";
  trial.seconds = {1e-3, 1.5e-3};
  trial.against_seconds = {2e-3, 2.5e-3};
  trial.log_gain = 0.1;
  trial.half_width = 0.01;
  trial.score = 0.1;
  trial.strategy = "evolution";
  trial.time = "2026-01-31T12:00:00Z";
  return trial;
}

inline CertifiedSchedule certified(int64_t query_block, double low, bool faster = true) {
  CertifiedSchedule c;
  c.schedule.origin = "tuned";
  c.schedule.stages = {{"project_qkv", {{"row_tile", 8}, {"task_rows", 512}}},
                       {"attention", {{"query_block", query_block}, {"pack_keys", 0}}}};
  c.certificate.faster = faster;
  c.certificate.margin = 0.005;
  c.certificate.error = 0.005;
  c.certificate.low = low;
  c.certificate.log_gain = low + 0.01;
  c.certificate.high = low + 0.02;
  c.certificate.pair_log_gains = {low, low + 0.02};
  c.certificate.seconds = {1e-3};
  c.certificate.default_seconds = {1.1e-3};
  c.certificate.disturbed = 3;
  c.certificate.machine = "A 1/2/3";
  c.certificate.generator = "mha-gen 0.1.0";
  c.certificate.space = "01234567";
  c.certificate.time = "2026-01-31T13:00:00Z";
  return c;
}

// Two schedules for a range of lengths.
inline CertifiedVariants certified_variants(int64_t query_block, double low) {
  const CertifiedSchedule one = certified(query_block, low), other = certified(64, low);
  return {{{16, one.schedule}, {512, other.schedule}}, "B=1 Lq=16 Lk=16", one.certificate};
}

// The rows of `sql` as text, one string a row.
inline std::vector<std::string> query(const std::string& path, const std::string& sql) {
  std::vector<std::string> rows;
  sqlite3* handle = nullptr;
  EXPECT_EQ(sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE, nullptr), SQLITE_OK);
  sqlite3_stmt* statement = nullptr;
  EXPECT_EQ(sqlite3_prepare_v2(handle, sql.c_str(), -1, &statement, nullptr), SQLITE_OK)
      << sqlite3_errmsg(handle);
  while (sqlite3_step(statement) == SQLITE_ROW) {
    std::string text;
    for (int i = 0; i < sqlite3_column_count(statement); ++i) {
      const auto* value = reinterpret_cast<const char*>(sqlite3_column_text(statement, i));
      text += (i > 0 ? "|" : "") + std::string(value != nullptr ? value : "NULL");
    }
    rows.push_back(text);
  }
  sqlite3_finalize(statement);
  sqlite3_close(handle);
  return rows;
}

inline bool intact(const std::string& path) {
  return query(path, "PRAGMA integrity_check") == std::vector<std::string>{"ok"} &&
         query(path, "PRAGMA foreign_key_check").empty();
}

// Whether two trials agree in every field, bit for bit but for NaN and -0.
inline void expect_equal(const Trial& a, const Trial& b) {
  const auto same = [](double x, double y) { return x == y || (std::isnan(x) && std::isnan(y)); };
  EXPECT_EQ(a.stage, b.stage);
  EXPECT_EQ(a.candidate, b.candidate);
  EXPECT_EQ(a.outcome, b.outcome);
  EXPECT_EQ(a.detail, b.detail);
  EXPECT_EQ(a.against, b.against);
  EXPECT_EQ(a.seconds, b.seconds);
  EXPECT_EQ(a.against_seconds, b.against_seconds);
  EXPECT_EQ(a.disturbed, b.disturbed);
  EXPECT_TRUE(same(a.log_gain, b.log_gain)) << a.log_gain << " " << b.log_gain;
  EXPECT_TRUE(same(a.half_width, b.half_width)) << a.half_width << " " << b.half_width;
  EXPECT_TRUE(same(a.score, b.score)) << a.score << " " << b.score;
  EXPECT_EQ(a.strategy, b.strategy);
  EXPECT_EQ(a.seed, b.seed);
  EXPECT_EQ(a.index, b.index);
  EXPECT_EQ(a.time, b.time);
}

}  // namespace mha

#endif  // MHA_TESTS_TUNER_DATABASE_TOOLS_H_
