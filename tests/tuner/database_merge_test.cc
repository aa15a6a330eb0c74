// Merging is the union of sets, for random databases (a thousand in the long run); and nothing
// crosses from one target or machine to another.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "schedules/tuner/database.h"
#include "tests/tuner/database_tools.h"
#include "tests/tuner/faulty_vfs.h"

namespace mha {
namespace {

namespace fs = std::filesystem;

// The rows, whatever their order.
const char kRows[] =
    "SELECT s.spec, s.lengths, s.target, s.machine, s.threads, s.generator, s.space, t.id, "
    "t.stage, t.candidate, t.detail, t.score, t.time FROM trial t JOIN subject s ON t.subject = "
    "s.number UNION ALL SELECT s.spec, s.lengths, s.target, s.machine, s.threads, s.generator, "
    "s.space, c.id, c.schedule, c.low, c.high, c.log_gain, c.time FROM certificate c JOIN subject "
    "s ON c.subject = s.number UNION ALL SELECT s.spec, s.lengths, s.target, s.machine, s.threads, "
    "s.generator, s.space, v.id, v.schedule, v.low, v.high, v.log_gain, v.time FROM variants v "
    "JOIN "
    "subject s ON v.subject = s.number ORDER BY 1, 2, 3, 4, 5, 6, 7, 8";

class DatabaseMerge : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    faults() = {.sync = false};
  }
  void TearDown() override {
    faults() = {};
    DatabaseTest::TearDown();
  }

  Subject random_subject() {
    Subject s = subject_named(random_() % 4 == 0 ? "block" : "attention");
    if (random_() % 3 == 0) s.target = "zen5";
    if (random_() % 3 == 0) s.machine = "B 1/2/3";
    if (random_() % 8 == 0) s.threads = 2;
    if (random_() % 8 == 0) s.space = "abcdef01";
    return s;
  }

  // Small numbers, so that files agree, differ and contradict each other often. A row's `detail`
  // names its subject.
  void fill(const std::string& path) {
    Database database(path, faulty_vfs());
    for (uint64_t i = random_() % 12; i > 0; --i) {
      const Subject subject = random_subject();
      if (random_() % 4 == 0) {
        CertifiedSchedule c = certified(static_cast<int64_t>(random_() % 2), 0.1);
        c.certificate.low = 0.01 * static_cast<double>(random_() % 3);
        c.certificate.machine = subject.machine;
        c.certificate.time = subject.target;
        database.append(subject, c);
        continue;
      }
      if (random_() % 4 == 0) {
        database.append(subject, certified_variants(static_cast<int64_t>(random_() % 2), 0.1));
        continue;
      }
      Trial trial = trial_named("x=" + std::to_string(random_() % 3));
      trial.detail = subject.target + " " + subject.machine;
      trial.score = 0.1 * static_cast<double>(random_() % 2);
      trial.time = "2026-01-0" + std::to_string(1 + random_() % 2) + "T00:00:00Z";
      database.append(subject, trial);
    }
  }

  std::string copy(const std::string& from, const std::string& to) {
    fs::copy_file(from, file(to), fs::copy_options::overwrite_existing);
    return file(to);
  }
  // The merge of two files, as a third.
  std::string merged(const std::string& a, const std::string& b, const std::string& to) {
    const std::string path = copy(a, to);
    Database(path, faulty_vfs()).merge(b);
    return path;
  }

  // What a reader sees, whatever the order.
  std::vector<std::string> view(const std::string& path) {
    std::vector<std::string> lines;
    const Database database(path, faulty_vfs());
    for (const Subject& s : database.subjects()) {
      const std::string head = s.spec + s.target + s.machine + std::to_string(s.threads) + s.space;
      for (const Trial& t : database.trials(s)) {
        EXPECT_EQ(t.detail, s.target + " " + s.machine);
        const auto found = database.find(s, t.stage, t.candidate);
        EXPECT_TRUE(found && found->score == t.score && found->time == t.time);
        lines.push_back(head + t.candidate + t.time + std::to_string(t.score));
      }
      const auto best = database.best(s);
      if (!best) continue;
      EXPECT_EQ(best->certificate.machine, s.machine);
      EXPECT_EQ(best->certificate.time, s.target);
      lines.push_back(head + best->schedule.text() + std::to_string(best->certificate.low));
    }
    std::sort(lines.begin(), lines.end());
    EXPECT_EQ(std::adjacent_find(lines.begin(), lines.end()), lines.end());
    return lines;
  }

  std::mt19937_64 random_{20260131};
};

TEST_F(DatabaseMerge, TheLawsOfSets) {
  // Three databases a round.
  const int rounds = std::getenv("MHA_TEST_TUNER_LONG") != nullptr ? 334 : 34;
  for (int i = 0; i < rounds; ++i) {
    SCOPED_TRACE(i);
    for (const char* name : {"a", "b", "c"}) {
      fs::remove(file(name));
      fill(file(name));
    }
    const std::string a = file("a"), b = file("b"), c = file("c");
    const std::string ab = merged(a, b, "ab"), ba = merged(b, a, "ba");
    EXPECT_EQ(query(ab, kRows), query(ba, kRows)) << "commutative";
    const std::string ab_c = merged(ab, c, "ab_c");
    const std::string a_bc = merged(a, merged(b, c, "bc"), "a_bc");
    EXPECT_EQ(query(ab_c, kRows), query(a_bc, kRows)) << "associative";
    EXPECT_EQ(query(merged(a, a, "aa"), kRows), query(a, kRows)) << "idempotent";
    EXPECT_EQ(query(merged(ab_c, b, "ab_cb"), kRows), query(ab_c, kRows)) << "idempotent";
    EXPECT_EQ(view(ab), view(ba));
    EXPECT_EQ(view(ab_c), view(a_bc));
    // All rows of both, and no other.
    std::vector<std::string> rows = query(a, kRows), of_b = query(b, kRows);
    rows.insert(rows.end(), of_b.begin(), of_b.end());
    std::sort(rows.begin(), rows.end());
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
    std::vector<std::string> both = query(ab, kRows);
    std::sort(both.begin(), both.end());
    EXPECT_EQ(both, rows);
    if (HasFailure()) return;
  }
}

TEST_F(DatabaseMerge, WithItselfWhileItIsOpen) {
  fill(file("a"));
  Database database(file("a"), faulty_vfs());
  const auto before = query(file("a"), kRows);
  database.merge(file("a"));
  EXPECT_EQ(query(file("a"), kRows), before);
}

// Two measurements of one candidate: both are kept, the earlier one is shown, whoever was merged
// into whom.
TEST_F(DatabaseMerge, KeepsBothOfTwoThatDiffer) {
  Trial early = trial_named("x=1"), late = early;
  early.score = 0.5;
  late.time = "2026-02-01T00:00:00Z";
  Database a(file("a")), b(file("b"));
  a.append(subject_named(), late);
  b.append(subject_named(), early);
  a.merge(file("b"));
  b.merge(file("a"));
  for (const Database* database : {&a, &b}) {
    ASSERT_EQ(database->trials(subject_named()).size(), 1u);
    expect_equal(database->trials(subject_named())[0], early);
    expect_equal(*database->find(subject_named(), "attention", "x=1"), early);
  }
  EXPECT_EQ(query(file("a"), "SELECT count(*) FROM trial"), std::vector<std::string>{"2"});
  EXPECT_FALSE(a.append(subject_named(), late));
}

}  // namespace
}  // namespace mha
