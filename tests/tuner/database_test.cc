// What goes in comes out, for its own subject; files that are none are refused; many processes
// share a file.
#include "schedules/tuner/database.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <limits>

#include "generator/spec/error.h"
#include "tests/tuner/database_tools.h"

namespace mha {
namespace {

namespace fs = std::filesystem;

class DatabaseFile : public DatabaseTest {
 protected:
  // What opening the file says; empty when it opens.
  std::string refusal(const std::string& path) const {
    try {
      Database database(path);
    } catch (const UserError& error) {
      std::string text = error.what();
      for (size_t at; (at = text.find(folder_)) != std::string::npos;) {
        text.replace(at, folder_.size(), "DIR");
      }
      return text;
    }
    return "";
  }
};

TEST_F(DatabaseFile, GivesBackWhatWasWritten) {
  std::mt19937_64 random(7);
  const auto number = [&] {
    switch (random() % 8) {
      case 0:
        return 0.0;
      case 1:
        return std::numeric_limits<double>::infinity();
      case 2:
        return std::numeric_limits<double>::quiet_NaN();
      case 3:
        return std::numeric_limits<double>::denorm_min();
      case 4:
        return -3.0;
      default:
        return std::ldexp(static_cast<double>(random()), static_cast<int>(random() % 200) - 160);
    }
  };
  std::vector<Trial> trials;
  for (int i = 0; i < 20; ++i) {
    Trial t = trial_named("x=" + std::to_string(i), i % 2 == 0 ? "attention" : "project_out");
    t.outcome = static_cast<Outcome>(i % 9);
    t.detail = std::string("a 'quote'; \"another\"\n\0 and a zero", 34);
    t.seconds.assign(random() % 4, 0.1 * (i + 1) / 3);
    t.against_seconds.assign(random() % 4, -0.0);
    t.disturbed = static_cast<int>(random() % 10);
    t.log_gain = number();
    t.half_width = number();
    t.score = number();
    t.seed = random();
    t.index = i;
    trials.push_back(t);
  }
  {
    Database database(file());
    for (const Trial& t : trials) EXPECT_TRUE(database.append(subject_named(), t));
    EXPECT_TRUE(database.append(subject_named(), certified(64, 0.02)));
    EXPECT_TRUE(database.append(subject_named(), certified(32, 0.05)));
    EXPECT_TRUE(database.append(subject_named(), certified(16, 0.09, false)));
    EXPECT_FALSE(database.append(subject_named(), certified(32, 0.05)));
  }
  const Database database(file());
  const std::vector<Trial> found = database.trials(subject_named());
  ASSERT_EQ(found.size(), trials.size());
  for (size_t i = 0; i < trials.size(); ++i) {
    expect_equal(found[i], trials[i]);
    const auto one = database.find(subject_named(), trials[i].stage, trials[i].candidate);
    ASSERT_TRUE(one.has_value());
    expect_equal(*one, trials[i]);
  }
  EXPECT_FALSE(database.find(subject_named(), "attention", "x=1").has_value());
  const auto best = database.best(subject_named());
  ASSERT_TRUE(best.has_value());
  const CertifiedSchedule wanted = certified(32, 0.05);
  EXPECT_EQ(best->schedule.origin, wanted.schedule.origin);
  EXPECT_EQ(best->schedule.stages, wanted.schedule.stages);
  const Certificate &a = best->certificate, &b = wanted.certificate;
  EXPECT_TRUE(a.faster);
  EXPECT_EQ(std::tie(a.margin, a.error, a.low, a.log_gain, a.high),
            std::tie(b.margin, b.error, b.low, b.log_gain, b.high));
  EXPECT_EQ(std::tie(a.pair_log_gains, a.seconds, a.default_seconds, a.disturbed),
            std::tie(b.pair_log_gains, b.seconds, b.default_seconds, b.disturbed));
  EXPECT_EQ(std::tie(a.machine, a.generator, a.space, a.time),
            std::tie(b.machine, b.generator, b.space, b.time));
  EXPECT_EQ(database.certificates(subject_named()).size(), 3u);
  EXPECT_EQ(query(file(), "PRAGMA journal_mode"), std::vector<std::string>{"delete"});
}

TEST_F(DatabaseFile, MeasuresNothingTwice) {
  Database one(file()), other(file());
  Trial first = trial_named("x=1"), second = first;
  second.score = 7;
  EXPECT_TRUE(one.append(subject_named(), first));
  EXPECT_FALSE(one.append(subject_named(), first));
  EXPECT_FALSE(other.append(subject_named(), second));
  ASSERT_EQ(other.trials(subject_named()).size(), 1u);
  expect_equal(other.trials(subject_named())[0], first);
  // The same parameters of another stage are another candidate.
  EXPECT_TRUE(other.append(subject_named(), trial_named("x=1", "project_out")));
  EXPECT_EQ(one.trials(subject_named()).size(), 2u);
}

// Another spec, length, target, machine, thread count, generator or space: another subject.
TEST_F(DatabaseFile, KeepsSubjectsApart) {
  Database database(file());
  std::vector<Subject> subjects(8, subject_named());
  subjects[1].spec = "block";
  subjects[2].lengths = "B=1 Lq=9 Lk=8";
  subjects[3].target = "zen5";
  subjects[4].machine = "A 1/2/4";
  subjects[5].threads = 2;
  subjects[6].generator = "mha-gen 0.2.0";
  subjects[7].space = "01234568";
  for (size_t i = 0; i < subjects.size(); ++i) {
    EXPECT_TRUE(database.trials(subjects[i]).empty());
    EXPECT_FALSE(database.best(subjects[i]).has_value());
    Trial trial = trial_named("x=1");
    trial.detail = std::to_string(i);
    EXPECT_TRUE(database.append(subjects[i], trial));
    EXPECT_TRUE(database.append(subjects[i], certified(static_cast<int64_t>(i), 0.1)));
  }
  for (size_t i = 0; i < subjects.size(); ++i) {
    ASSERT_EQ(database.trials(subjects[i]).size(), 1u);
    EXPECT_EQ(database.trials(subjects[i])[0].detail, std::to_string(i));
    EXPECT_EQ(database.find(subjects[i], "attention", "x=1")->detail, std::to_string(i));
    EXPECT_EQ(database.best(subjects[i])->schedule.stage("attention").get("query_block"), i);
  }
  std::sort(subjects.begin(), subjects.end());
  EXPECT_EQ(database.subjects(), subjects);
}

TEST_F(DatabaseFile, RefusesWhatIsNoDatabaseOfOurs) {
  EXPECT_EQ(refusal(""), "the name of the database is empty");
  EXPECT_EQ(refusal(folder_), "the database 'DIR' is a folder");
  EXPECT_EQ(refusal(file("none/tune.db")),
            "the database 'DIR/none/tune.db' cannot be made: there is no folder 'DIR/none'");
  EXPECT_EQ(refusal("/dev/null"), "the database '/dev/null' is not a regular file");
  ASSERT_EQ(mkfifo(file("pipe").c_str(), 0600), 0);
  EXPECT_EQ(refusal(file("pipe")), "the database 'DIR/pipe' is not a regular file");
  std::ofstream(file("text")) << std::string(5000, 'a');
  EXPECT_EQ(refusal(file("text")), "'DIR/text' is no database of mha-tune: not an SQLite file");
  std::ofstream(file("short")) << "a";
  EXPECT_EQ(refusal(file("short")), "'DIR/short' is no database of mha-tune: not an SQLite file");
  std::ofstream(file("foreign"));
  query(file("foreign"), "CREATE TABLE mine (x)");
  EXPECT_EQ(refusal(file("foreign")),
            "'DIR/foreign' is no database of mha-tune: it is another application's SQLite file");
  std::ofstream(file("newer"));
  query(file("newer"), "PRAGMA application_id = 1296580948");
  query(file("newer"), "PRAGMA user_version = 3");
  EXPECT_EQ(refusal(file("newer")),
            "the database 'DIR/newer' was made by a newer mha-tune (schema 3, this one reads 2)");
  // An empty file is a database that was never begun.
  std::ofstream(file("empty"));
  EXPECT_EQ(refusal(file("empty")), "");
  EXPECT_EQ(refusal(file("empty")), "");
  Database database(file());
  EXPECT_THROW(database.merge(file("gone")), UserError);
  EXPECT_THROW(database.merge(file("foreign")), UserError);
  EXPECT_FALSE(fs::exists(file("gone")));
}

TEST_F(DatabaseFile, KeepsWhatARangeOfLengthsGot) {
  const CertifiedVariants early = certified_variants(32, 0.02);
  CertifiedVariants late = certified_variants(48, 0.01);
  late.certificate.time = "2026-02-01T00:00:00Z";
  {
    Database database(file());
    EXPECT_FALSE(database.variants(subject_named()));
    EXPECT_TRUE(database.append(subject_named(), late));
    EXPECT_TRUE(database.append(subject_named(), early));
    EXPECT_FALSE(database.append(subject_named(), early));
  }
  const Database database(file());
  const auto found = database.variants(subject_named());
  ASSERT_TRUE(found);
  EXPECT_EQ(found->lengths, late.lengths);
  ASSERT_EQ(found->variants.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(found->variants[i].max_query_length, late.variants[i].max_query_length);
    EXPECT_EQ(found->variants[i].schedule.stages, late.variants[i].schedule.stages);
  }
  EXPECT_EQ(found->certificate.pair_log_gains, late.certificate.pair_log_gains);
  EXPECT_EQ(found->certificate.time, late.certificate.time);
  EXPECT_FALSE(database.variants(subject_named("another")));
  // Text that is none.
  for (const char* text : {"", "to 5", "to x:\nattention: a=1\n", "attention: a=1\n"}) {
    query(file(), std::string("UPDATE variants SET schedule = '") + text + "'");
    EXPECT_THROW(database.variants(subject_named()), UserError) << text;
  }
}

// Files of the first schema had no table of variants.
TEST_F(DatabaseFile, ReadsItsFirstSchema) {
  Database(file("old")).append(subject_named(), trial_named("x=1"));
  query(file("old"), "DROP TABLE variants");
  query(file("old"), "PRAGMA user_version = 1");
  Database other(file("other"));
  other.merge(file("old"));
  EXPECT_EQ(other.trials(subject_named()).size(), 1u);
  Database database(file("old"));
  EXPECT_EQ(database.trials(subject_named()).size(), 1u);
  EXPECT_TRUE(database.append(subject_named(), certified_variants(32, 0.02)));
  other.merge(file("old"));
  EXPECT_TRUE(other.variants(subject_named()));
}

// A page is overwritten: an error that says so, or all rows; never a crash and never wrong rows.
TEST_F(DatabaseFile, DamageIsAnError) {
  {
    Database database(file());
    for (int i = 0; i < 100; ++i) database.append(subject_named(), trial_named(std::to_string(i)));
  }
  std::ifstream in(file(), std::ios::binary);
  const std::string good{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  std::mt19937_64 random(3);
  int refused = 0;
  for (int i = 0; i < 60; ++i) {
    std::string bad = good;
    if (i % 2 == 0) {
      bad.resize(random() % bad.size());
    } else {
      for (int k = 0; k < 64; ++k) bad[random() % bad.size()] = static_cast<char>(random());
    }
    std::ofstream(file("bad"), std::ios::binary | std::ios::trunc) << bad;
    try {
      Database database(file("bad"));
      database.trials(subject_named());
      database.append(subject_named(), trial_named("another"));
    } catch (const UserError&) {
      ++refused;
    } catch (const SystemError&) {
      ++refused;
    }
    fs::remove(file("bad-journal"));
  }
  EXPECT_GT(refused, 30);
}

TEST_F(DatabaseFile, NeedsPermission) {
  {
    Database database(file());
  }
  ASSERT_EQ(chmod(file().c_str(), 0444), 0);
  fs::create_directory(file("folder"));
  ASSERT_EQ(chmod(file("folder").c_str(), 0555), 0);
  ASSERT_EQ(chmod(folder_.c_str(), 0755), 0);
  // The superuser may write anywhere.
  const pid_t child = fork();
  if (child == 0) {
    if (getuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(9);
    if (refusal(file()) != "the database 'DIR/tune.db' cannot be written: no permission") _exit(1);
    if (refusal(file("folder/a.db")) !=
        "the database 'DIR/folder/a.db' cannot be made: no permission to write into its folder") {
      _exit(2);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

// Eight processes add what each of them finds; some of the candidates are everybody's.
TEST_F(DatabaseFile, ManyProcessesShareAFile) {
  const bool all = std::getenv("MHA_TEST_TUNER_LONG") != nullptr;
  const int processes = 8, trials = all ? 500 : 30;
  std::vector<pid_t> children;
  for (int p = 0; p < processes; ++p) {
    const pid_t child = fork();
    if (child == 0) {
      int added = 0;
      try {
        Database database(file());
        for (int i = 0; i < trials; ++i) {
          const std::string mine = std::to_string(p) + "/" + std::to_string(i);
          added += database.append(subject_named(), trial_named("x=" + mine));
          if (database.find(subject_named(), "attention", "x=" + mine) == std::nullopt) _exit(3);
          if (i % 10 == 0) database.append(subject_named("shared"), trial_named(mine.substr(2)));
        }
      } catch (const std::exception& error) {
        fprintf(stderr, "%s\n", error.what());
        _exit(2);
      }
      _exit(added == trials ? 0 : 1);
    }
    children.push_back(child);
  }
  for (pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_TRUE(intact(file()));
  const Database database(file());
  EXPECT_EQ(database.trials(subject_named()).size(), static_cast<size_t>(processes * trials));
  EXPECT_EQ(database.trials(subject_named("shared")).size(), static_cast<size_t>(trials / 10));
}

// Nobody takes a file that another process is making for another application's.
TEST_F(DatabaseFile, ManyProcessesMakeAFile) {
  for (int round = 0; round < 25; ++round) {
    const std::string path = file() + std::to_string(round);
    std::vector<pid_t> children;
    for (int process = 0; process < 6; ++process) {
      const pid_t child = fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        try {
          const Database database(path);
        } catch (const std::exception& error) {
          fprintf(stderr, "%s\n", error.what());
          _exit(2);
        }
        _exit(0);
      }
      children.push_back(child);
    }
    for (const pid_t child : children) {
      int status = 0;
      waitpid(child, &status, 0);
      EXPECT_EQ(status, 0);
    }
  }
}

}  // namespace
}  // namespace mha
