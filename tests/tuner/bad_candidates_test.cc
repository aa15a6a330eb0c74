// Candidates that go wrong in every way there is: each is rejected for what it did, and the
// laboratory goes on.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <tuple>

#include "schedules/tuner/process_lab.h"
#include "tests/tuner/lab_case.h"

namespace mha {
namespace {

namespace fs = std::filesystem;

// Whole pages for each tensor, so that also while it is timed both of its ends touch a guard.
constexpr const char* kConfig =
    "{version: 1, name: a, op: attention, heads: 2, d_head: 64, query_length: 32}";

struct Kind {
  const char* name;
  Outcome outcome;
  int weight;
};
constexpr Kind kKinds[] = {
    {"wrong", Outcome::kWrong, 14},
    {"nan", Outcome::kWrong, 6},
    {"read_past", Outcome::kOutOfBounds, 8},
    {"write_past", Outcome::kOutOfBounds, 10},
    {"read_before", Outcome::kOutOfBounds, 8},
    {"write_before", Outcome::kOutOfBounds, 10},
    {"ill", Outcome::kCrash, 5},
    {"abort", Outcome::kCrash, 5},
    {"null", Outcome::kCrash, 5},
    {"exit", Outcome::kCrash, 5},
    {"exit_well", Outcome::kCrash, 3},
    {"kill", Outcome::kCrash, 3},
    {"overflow", Outcome::kCrash, 3},
    {"spin", Outcome::kHang, 4},
    {"sleep", Outcome::kHang, 3},
    {"memory", Outcome::kMemory, 8},
};

std::string folder_of_this_test(const char* name) {
  const std::string folder = testing::TempDir() + "mha_" + name;
  fs::remove_all(folder);
  fs::create_directories(folder);
  return folder;
}

LabOptions options_in(const std::string& folder, double slack) {
  LabOptions options;
  options.folder = folder;
  options.slack = slack;
  options.run_memory_bytes = uint64_t{640} << 20;
  options.link_with = {MHA_SABOTEUR, "-Wl,--wrap=mha_run"};
  return options;
}

// Checks it and times it for a while.
void use(Lab& lab, const Built& built) {
  const std::unique_ptr<Runner> runner = lab.start(built, 0.05);
  for (int i = 0; i < 3; ++i) {
    runner->stages(0.001);
    runner->whole(0.001);
  }
}

class BadCandidates : public testing::Test {
 protected:
  ~BadCandidates() override { unsetenv("MHA_SABOTAGE"); }
  static void sabotage(const std::string& kind, int call, unsigned seed) {
    const std::string text = kind + " " + std::to_string(call) + " " + std::to_string(seed);
    setenv("MHA_SABOTAGE", text.c_str(), 1);
  }
};

TEST_F(BadCandidates, AHundredAreRejectedForWhatTheyDid) {
  const std::string folder = folder_of_this_test("bad_candidates");
  {
    LabCase patient(kConfig, 1, options_in(folder, 5));
    const Built built = patient.build();
    ASSERT_EQ(built.outcome, Outcome::kMeasured) << built.detail;
    // Hangs are waited for: with less patience, as nothing else is asked of this one.
    LabCase hasty(kConfig, 1, options_in(folder, 0.2));
    unsetenv("MHA_SABOTAGE");
    ASSERT_NO_THROW(use(*patient.lab, built));

    std::vector<Kind> kinds;
    for (const Kind& kind : kKinds)
      kinds.insert(kinds.end(), static_cast<size_t>(kind.weight), kind);
    ASSERT_EQ(kinds.size(), 100u);
    std::mt19937 random(7);
    std::map<std::string, int> rejected;
    for (size_t i = 0; i < kinds.size(); ++i) {
      const Kind& kind = kinds[i];
      // One half while they are checked (the first two calls), the others later.
      const int call = static_cast<int>(random() % 2 == 0 ? 1 + random() % 2 : 3 + random() % 40);
      const unsigned seed = random() % 100000;
      sabotage(kind.name, call, seed);
      Lab& lab = kind.outcome == Outcome::kHang ? *hasty.lab : *patient.lab;
      const std::string what = "MHA_SABOTAGE='" + std::string(kind.name) + " " +
                               std::to_string(call) + " " + std::to_string(seed) + "'";
      try {
        use(lab, built);
        ADD_FAILURE() << what << " passes";
      } catch (const RunnerFailure& failure) {
        EXPECT_EQ(outcome_name(failure.outcome()), std::string(outcome_name(kind.outcome)))
            << what << ": " << failure.what();
        ++rejected[outcome_name(failure.outcome())];
      }
      // No process is left, and the laboratory goes on.
      EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << what;
      if (i % 10 != 0) continue;
      unsetenv("MHA_SABOTAGE");
      EXPECT_NO_THROW(use(*patient.lab, built)) << "after " << what;
    }
    for (const auto& [outcome, count] : rejected) RecordProperty(outcome, count);
  }
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(BadCandidates, TheMessageNamesTheTensor) {
  const std::string folder = folder_of_this_test("bad_messages");
  LabCase c(kConfig, 1, options_in(folder, 5));
  const Built built = c.build();
  ASSERT_EQ(built.outcome, Outcome::kMeasured) << built.detail;
  const auto message = [&](const char* kind, unsigned seed) -> std::string {
    sabotage(kind, 1, seed);
    try {
      use(*c.lab, built);
    } catch (const RunnerFailure& failure) {
      return failure.what();
    }
    return "passes";
  };
  EXPECT_EQ(message("write_past", 0), "writes 0 bytes past the end of query");
  EXPECT_EQ(message("read_past", 5), "reads 5 bytes past the end of key");
  EXPECT_EQ(message("read_before", 7), "reads 8 bytes before the start of output");
  EXPECT_EQ(message("write_input", 2), "writes value, which it may only read");
  EXPECT_EQ(message("exit", 0), "exited with status 3");
  EXPECT_EQ(message("ill", 0), "ended by signal 4 (SIGILL)");
  // Not the kernel's business, and not an answer either.
  EXPECT_EQ(message("print", 0), "passes");
}

TEST_F(BadCandidates, WritesBetweenAnOperandAndItsPageAreSeen) {
  const std::string folder = folder_of_this_test("bad_gaps");
  // No tensor fills its last page.
  LabCase c("{version: 1, name: a, op: attention, heads: 2, d_head: 64, query_length: 33}", 1,
            options_in(folder, 5));
  const Built built = c.build();
  ASSERT_EQ(built.outcome, Outcome::kMeasured) << built.detail;
  for (const auto& [kind, call, want] :
       {std::tuple("write_before", 1, "wrote 8 bytes before the start of output"),
        // Only the second call's operands have room behind them.
        std::tuple("write_past", 2, "wrote 7 bytes past the end of output"),
        // While it is timed.
        std::tuple("write_before", 20, "wrote 8 bytes before the start of output")}) {
    sabotage(kind, call, 7);
    try {
      use(*c.lab, built);
      ADD_FAILURE() << kind << " passes";
    } catch (const RunnerFailure& failure) {
      EXPECT_EQ(failure.outcome(), Outcome::kOutOfBounds);
      EXPECT_STREQ(failure.what(), want);
    }
  }
}

}  // namespace
}  // namespace mha
