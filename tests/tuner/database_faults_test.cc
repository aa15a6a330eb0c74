// A disk that is full, and one that fails: at each operation of the file system in turn, until
// the call gets by without it. Each time the call says so, and the file holds what it held before.
#include <gtest/gtest.h>

#include <functional>

#include "generator/spec/error.h"
#include "schedules/tuner/database.h"
#include "tests/tuner/database_tools.h"
#include "tests/tuner/faulty_vfs.h"

namespace mha {
namespace {

namespace fs = std::filesystem;

const char kRows[] =
    "SELECT id FROM trial UNION ALL SELECT id FROM certificate UNION ALL SELECT spec FROM subject "
    "ORDER BY 1";

// What a fault leaves behind does not depend on what is durable: no time is spent on that.
const Faults kNone = {.sync = false};

class DatabaseFaults : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    faults() = kNone;
    Database database(file("before"), faulty_vfs());
    for (int i = 0; i < 20; ++i) {
      database.append(subject_named(), trial_named("x=" + std::to_string(i)));
    }
    Database other(file("other"), faulty_vfs());
    for (int i = 10; i < 50; ++i) {
      Trial trial = trial_named("y=" + std::to_string(i));
      trial.detail.assign(500, 'a');
      other.append(subject_named("another"), trial);
    }
  }
  void TearDown() override {
    faults() = {};
    DatabaseTest::TearDown();
  }

  // `call` on a copy of `start` (no file where it is empty), with a fault after 0, 1, 2, ... .
  void each_fault(const std::string& start, const std::function<void(Database&)>& call) {
    for (const int code : {SQLITE_FULL, SQLITE_IOERR}) {
      for (const bool forever : {true, false}) {
        bool done = false;
        int n = 0;
        for (; !done; ++n) {
          SCOPED_TRACE("fault " + std::to_string(n) + (forever ? " and all later" : " alone") +
                       (code == SQLITE_FULL ? ", full" : ", I/O"));
          ASSERT_LT(n, 1000);
          done = one_fault(start, call, n, forever, code);
          if (HasFailure()) return;
        }
        EXPECT_GT(n, 4);
      }
    }
  }

  // Whether the call got by.
  bool one_fault(const std::string& start, const std::function<void(Database&)>& call, int n,
                 bool forever, int code) {
    const std::string path = file("copy");
    fs::remove(path);
    fs::remove(path + "-journal");
    std::vector<std::string> before;
    if (!start.empty()) {
      fs::copy_file(file(start), path);
      before = query(path, kRows);
    }
    faults() = {.after = n, .forever = forever, .code = code, .sync = false};
    bool failed = false;
    std::string message;
    try {
      Database database(path, faulty_vfs());
      call(database);
    } catch (const SystemError& error) {
      failed = true;
      message = error.what();
    }
    const bool met = faults().count > n;
    faults() = kNone;
    if (!failed) {
      // A fault that SQLite can do without (a journal that is cut, say) may pass unseen.
      EXPECT_TRUE(intact(path));
      return !met;
    }
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_TRUE(message.find("full") != std::string::npos ||
                message.find("I/O error") != std::string::npos ||
                message.find("does not open") != std::string::npos)
        << message;
    if (fs::exists(path)) {
      EXPECT_TRUE(intact(path));
    }
    if (!start.empty()) {
      EXPECT_EQ(query(path, kRows), before);
    }
    // Once there is space again, the same call succeeds.
    Database again(path, faulty_vfs());
    call(again);
    EXPECT_TRUE(intact(path));
    return false;
  }
};

TEST_F(DatabaseFaults, WhileItIsMade) {
  each_fault("", [](Database&) {});
}

TEST_F(DatabaseFaults, WhileATrialIsAdded) {
  each_fault("before", [](Database& database) {
    EXPECT_TRUE(database.append(subject_named("new"), trial_named("x=1")));
  });
}

TEST_F(DatabaseFaults, WhileACertificateIsAdded) {
  each_fault("before", [](Database& database) {
    EXPECT_TRUE(database.append(subject_named(), certified(8, 0.1)));
  });
}

TEST_F(DatabaseFaults, WhileAnotherIsMerged) {
  each_fault("before", [&](Database& database) {
    database.merge(file("other"));
    EXPECT_EQ(database.trials(subject_named("another")).size(), 40u);
  });
}

// The open database goes on once the disk has space again.
TEST_F(DatabaseFaults, TheSameConnectionGoesOn) {
  Database database(file("before"), faulty_vfs());
  int added = 0;
  for (int n = 0; n < 30; ++n) {
    faults() = {.after = n % 10, .forever = n % 2 == 0, .code = SQLITE_FULL, .sync = false};
    const Trial trial = trial_named("z=" + std::to_string(n));
    bool reported = false;
    try {
      reported = database.append(subject_named(), trial);
    } catch (const SystemError&) {
    }
    faults() = kNone;
    if (!reported) {
      EXPECT_TRUE(database.append(subject_named(), trial)) << n;
    }
    EXPECT_EQ(database.trials(subject_named()).size(), 20u + ++added);
  }
  EXPECT_TRUE(intact(file("before")));
}

}  // namespace
}  // namespace mha
