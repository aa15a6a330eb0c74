// A writer is killed at a random moment: nothing that it had reported as written is lost.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <random>

#include "schedules/tuner/database.h"
#include "tests/tuner/database_tools.h"

namespace mha {
namespace {

class DatabaseCrash : public DatabaseTest {};

TEST_F(DatabaseCrash, KeepsWhatWasReported) {
  using Clock = std::chrono::steady_clock;
  const int moments = std::getenv("MHA_TEST_TUNER_LONG") != nullptr ? 200 : 40;
  std::mt19937_64 random(static_cast<uint64_t>(getpid()));
  int64_t reported = 0, most_journals = 0;
  for (int moment = 0; moment < moments; ++moment) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const int64_t first = moment * int64_t{1000};
    const pid_t child = fork();
    if (child == 0) {
      Database database(file());
      for (int64_t i = first;; ++i) {
        Trial trial = trial_named("x=" + std::to_string(i));
        trial.seconds.assign(200, 1e-3);
        database.append(subject_named(), trial);
        if (write(ends[1], &i, sizeof i) != sizeof i) _exit(1);
      }
    }
    close(ends[1]);
    // From before the file is there until some rows are in it.
    usleep(static_cast<useconds_t>(random() % 40'000));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    std::vector<int64_t> rows;
    for (int64_t i; read(ends[0], &i, sizeof i) == sizeof i;) rows.push_back(i);
    close(ends[0]);
    most_journals += std::filesystem::exists(file() + "-journal");

    const auto start = Clock::now();
    const Database database(file());
    const size_t count = database.trials(subject_named()).size();
    EXPECT_LT(std::chrono::duration<double>(Clock::now() - start).count(), 2.0);
    for (int64_t i : rows) {
      ASSERT_TRUE(database.find(subject_named(), "attention", "x=" + std::to_string(i)))
          << "row " << i << " was lost";
    }
    reported += static_cast<int64_t>(rows.size());
    EXPECT_GE(count, static_cast<size_t>(reported));
    // At most one a moment was written and not yet reported.
    EXPECT_LE(count, static_cast<size_t>(reported) + moment + 1);
    ASSERT_TRUE(intact(file()));
  }
  EXPECT_GT(reported, 0);
  EXPECT_GT(most_journals, 0) << "no writer was killed while it wrote";
}

}  // namespace
}  // namespace mha
