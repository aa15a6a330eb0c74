// The tuner's loop in a laboratory that is not there: builds and calls take simulated time, and
// candidates fail as told.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <set>

#include "generator/spec/error.h"
#include "schedules/tuner/model.h"
#include "schedules/tuner/search.h"
#include "schedules/tuner/tuner.h"
#include "tests/tuner/problems.h"
#include "tests/tuner/simulated.h"

namespace mha {
namespace {

using Failing = std::function<std::optional<Outcome>(const Schedule&)>;

// A block of three stages on a simulated machine. Times are the cost model's, bent.
class SimulatedLab : public Lab {
 public:
  SimulatedLab(const Plan& plan, const Machine& machine, const SimulatedNoise& noise, uint64_t seed)
      : plan_(plan), clock_(noise, seed), default_(default_schedule(plan, machine, 1)) {
    for (const StageSchedule& stage : default_.stages) {
      problems_.push_back({plan, machine, 1, stage.stage, stage, {}, {}});
      models_.emplace_back(problems_.back());
    }
  }

  std::vector<Built> build(const std::vector<Candidate>& candidates) override {
    std::vector<Built> built;
    clock_.pass(0.5 * static_cast<double>((candidates.size() + 1) / 2));
    for (const Candidate& candidate : candidates) {
      ++builds;
      EXPECT_TRUE(check_schedule(candidate.schedule, plan_, machine_named("zen5")).empty());
      const std::optional<Outcome> failure = at_build ? at_build(candidate.schedule) : std::nullopt;
      if (failure) {
        built.push_back({*failure, "as told", ""});
        continue;
      }
      const std::string name = std::to_string(programs_.size());
      programs_[name] = candidate;
      built.push_back({Outcome::kMeasured, "", name});
    }
    return built;
  }

  std::unique_ptr<Runner> start(const Built& built, double slowest_call) override {
    ++starts;
    clock_.pass(0.1);
    const Candidate& candidate = programs_.at(built.program);
    if (at_start) {
      if (const auto failure = at_start(candidate.schedule))
        throw RunnerFailure(*failure, "as told");
    }
    double whole = 0;
    std::vector<double> seconds;
    for (size_t i = 0; i < models_.size(); ++i) {
      const StageSchedule& stage = candidate.schedule.stages[i];
      double time = models_[i].cost(stage) / 4e9;
      for (const auto& [name, value] : stage.params) {
        const size_t hash = std::hash<std::string>()(name + std::to_string(value));
        time *= 1 + 0.0002 * static_cast<double>(hash % 200);
      }
      seconds.push_back(candidate.autoscheduler.empty() ? time : 3 * time);
      whole += seconds.back();
    }
    if (whole > slowest_call) throw RunnerFailure(Outcome::kHang, "too slow");
    auto runner = std::make_unique<SimulatedRunner>(clock_, seconds);
    if (at_call) {
      if (const auto failure = at_call(candidate.schedule)) runner->fail_at(1, *failure);
    }
    return runner;
  }
  void discard(const Built&) override {}
  std::vector<std::string> stages() const override {
    std::vector<std::string> names;
    for (const StageSchedule& stage : default_.stages) names.push_back(stage.stage);
    return names;
  }

  TunerClock clock() {
    return {[this] { return clock_.now(); },
            [this] { return std::to_string(static_cast<int64_t>(1e6 + clock_.now())); }};
  }
  const Schedule& analytic() const { return default_; }

  Failing at_build, at_start, at_call;
  int64_t builds = 0, starts = 0;

 private:
  const Plan& plan_;
  SimulatedMachine clock_;
  Schedule default_;
  std::vector<StageProblem> problems_;
  std::vector<CostModel> models_;
  std::map<std::string, Candidate> programs_;
};

SimulatedNoise silence() {
  SimulatedNoise noise;
  noise.call = noise.process = noise.spikes = noise.drift = noise.peak = 0;
  return noise;
}

class Tune : public testing::Test {
 protected:
  Tune()
      : plan_(plan_of(kBlock)),
        machine_(machine_named("zen5")),
        folder_(std::filesystem::temp_directory_path() /
                ("mha-tune-test-" + std::to_string(getpid()))) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    subject_ = {"block", "B=1", "zen5", "none", 1, "mha-gen", "space"};
    options_.trials = 12;
    options_.seed = 3;
  }
  ~Tune() override { std::filesystem::remove_all(folder_); }

  std::string file(const std::string& name = "a.db") const { return (folder_ / name).string(); }
  SimulatedLab lab(uint64_t seed = 1) const { return {plan_, machine_, SimulatedNoise(), seed}; }
  TunerResult go(SimulatedLab& lab, Database& database, TunerEvents& events) const {
    return tune({plan_, machine_, subject_, {}}, lab, database, options_, events, lab.clock());
  }
  TunerResult go(SimulatedLab& lab, Database& database) const {
    TunerEvents silent;
    return go(lab, database, silent);
  }
  // Candidates by stage and place in the search.
  std::map<std::string, std::string> proposals(const Database& database) const {
    std::map<std::string, std::string> found;
    for (const Trial& trial : database.trials(subject_)) {
      if (trial.strategy == "default" || trial.strategy == "final") continue;
      found[trial.stage + " " + std::to_string(trial.index)] = trial.candidate;
    }
    return found;
  }

  Plan plan_;
  Machine machine_;
  std::filesystem::path folder_;
  Subject subject_;
  TunerOptions options_;
};

// Says stop after so many answers.
class StopAfter : public TunerEvents {
 public:
  explicit StopAfter(int64_t trials) : left_(trials) {}
  void measured(const Trial&) override { --left_; }
  bool stop() override { return left_ <= 0; }

 private:
  int64_t left_;
};

TEST_F(Tune, FindsAndCertifiesWhatIsFaster) {
  SimulatedLab lab = this->lab();
  Database database(file());
  const TunerResult result = go(lab, database);
  ASSERT_TRUE(result.certified) << result.note;
  EXPECT_TRUE(result.certified->certificate.faster);
  EXPECT_GT(result.certified->certificate.log_gain, 0.02);
  EXPECT_EQ(result.certified->certificate.machine, "none");
  EXPECT_EQ(result.schedule.stages, result.best.stages);
  EXPECT_NE(result.schedule.stages, lab.analytic().stages);
  EXPECT_EQ(database.best(subject_)->schedule.stages, result.schedule.stages);
  EXPECT_EQ(result.progress.trials, 3 * options_.trials);
  EXPECT_EQ(proposals(database).size(), static_cast<size_t>(3 * options_.trials));

  // Asked again, nothing is built, started or certified again.
  SimulatedLab other = this->lab(2);
  const TunerResult again = go(other, database);
  EXPECT_EQ(other.builds, 0);
  EXPECT_EQ(other.starts, 0);
  EXPECT_EQ(again.schedule.stages, result.schedule.stages);
  EXPECT_EQ(again.progress.remembered, 3 * options_.trials);
}

TEST_F(Tune, ReplayReproducesTheWinner) {
  SimulatedLab lab = this->lab();
  Database database(file());
  const TunerResult result = go(lab, database);
  const std::vector<Trial> stored = database.trials(subject_);
  for (const StageSchedule& stage : lab.analytic().stages) {
    const StageProblem problem{plan_, machine_, 1, stage.stage, stage, {}, {}};
    const ReplayResult replayed =
        replay(problem, "evolution", options_.seed, options_.trials, options_.batch, stored);
    EXPECT_EQ(replayed.winner, result.best.stage(stage.stage));
    EXPECT_EQ(replayed.skipped, 0);
    EXPECT_EQ(replayed.trials, options_.trials);
    EXPECT_GT(replay(problem, "random", 1, 5, 6, stored).skipped, 0);
  }
}

TEST_F(Tune, FinalsAreStoredAndRemembered) {
  Database database(file());
  SimulatedLab first = this->lab();
  const TunerResult result = go(first, database);
  const auto finals = [&] {
    std::map<std::string, int> count;
    for (const Trial& trial : database.trials(subject_)) {
      if (trial.strategy != "final") continue;
      ++count[trial.stage];
      EXPECT_EQ(trial.outcome, Outcome::kMeasured);
      EXPECT_GE(trial.seconds.size(), 2u);
    }
    return count;
  };
  const std::map<std::string, int> stored = finals();
  EXPECT_FALSE(stored.empty());
  for (const auto& [stage, count] : stored) {
    EXPECT_TRUE(stage.ends_with(" final")) << stage;
    EXPECT_LE(count, static_cast<int>(StageSearch::kFinalists));
  }
  SimulatedLab second = this->lab(2);
  EXPECT_EQ(go(second, database).best.stages, result.best.stages);
  EXPECT_EQ(second.builds, 0);
  EXPECT_EQ(finals(), stored);
}

// A lucky score with a wide interval is no better than a sure one, and the final decides.
TEST_F(Tune, TheFinalDecides) {
  SimulatedLab lab = this->lab();
  const StageSchedule analytic = lab.analytic().stage("attention");
  StageSearch search({plan_, machine_, 1, "attention", analytic, {}, {}}, "random", 1, false);
  std::vector<Proposal> proposals = search.next(8);
  ASSERT_EQ(proposals.size(), 8u);
  for (size_t i = 0; i < proposals.size(); ++i) {
    Trial trial;
    trial.score = i == 0 ? 0.3 : i == 1 ? 0.05 : 0.001 * static_cast<double>(i) - 0.004;
    trial.half_width = i == 0 ? 4.0 : 0.1;
    proposals[i].trial = trial;
  }
  search.settle(proposals);
  EXPECT_EQ(search.incumbent(), analytic) << "none is likely to be faster";
  std::vector<Proposal> finalists = search.finalists();
  ASSERT_EQ(finalists.size(), 5u);
  EXPECT_EQ(finalists[0].text, proposals[1].text);
  for (Proposal& finalist : finalists) {
    EXPECT_FALSE(finalist.trial);
    Trial trial;
    trial.score = finalist.text == proposals[7].text ? 0.02 : 0.01;
    trial.half_width = 0.01;
    finalist.trial = trial;
  }
  search.settle_final(finalists);
  EXPECT_EQ(search.incumbent(), proposals[7].schedule);
  EXPECT_EQ(search.score(), 0.02);
}

// A search that finds answers of another one counts them as its own, and so does its replay, which
// ends where the search did.
TEST_F(Tune, ReplayEndsWhereTheSearchDid) {
  Database database(file());
  options_.trials = 18;
  options_.strategy = "random";
  SimulatedLab first = this->lab();
  go(first, database);
  options_.strategy = "exhaustive";
  SimulatedLab second = this->lab();
  go(second, database);
  options_.strategy = "evolution";
  options_.seed = 4;
  SimulatedLab third = this->lab();
  const TunerResult result = go(third, database);
  const std::vector<Trial> stored = database.trials(subject_);
  for (const StageSchedule& stage : third.analytic().stages) {
    const StageProblem problem{plan_, machine_, 1, stage.stage, stage, {}, {}};
    const ReplayResult replayed =
        replay(problem, "evolution", options_.seed, 0, options_.batch, stored);
    EXPECT_EQ(replayed.winner, result.best.stage(stage.stage));
    EXPECT_EQ(replayed.trials, options_.trials);
    EXPECT_EQ(replayed.answered.size(), static_cast<size_t>(options_.trials));
    EXPECT_EQ(replayed.skipped, 0);
  }
}

// Stopped anywhere and taken up again, the search is the one that was never stopped.
TEST_F(Tune, IsTakenUpWhereItStopped) {
  SimulatedLab whole(plan_, machine_, silence(), 1);
  Database complete(file("complete.db"));
  const TunerResult expected = go(whole, complete);
  for (const int64_t stop : {14}) {
    Database database(file("stopped" + std::to_string(stop) + ".db"));
    SimulatedLab first(plan_, machine_, silence(), 1);
    StopAfter events(stop);
    const TunerResult cut = go(first, database, events);
    EXPECT_TRUE(cut.stopped);
    EXPECT_FALSE(cut.certified);
    EXPECT_LT(cut.progress.trials, stop + 4);
    SimulatedLab second(plan_, machine_, silence(), 1);
    const TunerResult result = go(second, database);
    EXPECT_EQ(proposals(database), proposals(complete)) << stop;
    EXPECT_EQ(result.best.stages, expected.best.stages) << stop;
    EXPECT_EQ(database.trials(subject_).size(), complete.trials(subject_).size()) << stop;
  }
}

TEST_F(Tune, EndsWithinItsBudget) {
  options_.trials = 0;
  for (const double budget : {5.0, 40.0}) {
    options_.budget_seconds = budget;
    SimulatedLab lab = this->lab();
    Database database(file("budget" + std::to_string(budget) + ".db"));
    const TunerResult result = go(lab, database);
    EXPECT_LE(lab.clock().now(), budget + 10);
    if (budget >= 20) {
      EXPECT_TRUE(result.certificate) << budget;
      EXPECT_GT(lab.clock().now(), 0.5 * budget);
    }
  }
}

TEST_F(Tune, TheDefaultStaysWhereNothingElseWorks) {
  options_.trials = 6;
  for (const Outcome outcome : {Outcome::kBuild, Outcome::kSpill, Outcome::kWrong, Outcome::kCrash,
                                Outcome::kHang, Outcome::kMemory, Outcome::kOutOfBounds}) {
    SimulatedLab lab = this->lab();
    const Failing fail = [&](const Schedule& schedule) -> std::optional<Outcome> {
      if (schedule.stages == lab.analytic().stages) return std::nullopt;
      return outcome;
    };
    if (outcome == Outcome::kBuild || outcome == Outcome::kSpill) lab.at_build = fail;
    if (outcome == Outcome::kWrong || outcome == Outcome::kOutOfBounds) lab.at_start = fail;
    if (outcome == Outcome::kCrash || outcome == Outcome::kHang || outcome == Outcome::kMemory) {
      lab.at_call = fail;
    }
    Database database(file(outcome_name(outcome)));
    const TunerResult result = go(lab, database);
    EXPECT_FALSE(result.certified);
    EXPECT_EQ(result.schedule.stages, lab.analytic().stages);
    EXPECT_FALSE(result.note.empty());
    EXPECT_EQ(result.progress.rejected.at(outcome), 3 * options_.trials) << outcome_name(outcome);
  }
}

// Of a candidate with a bad stage, the others are measured all the same.
TEST_F(Tune, OnlyTheStageToBlameIsRejected) {
  SimulatedLab lab = this->lab();
  lab.at_call = [&](const Schedule& schedule) -> std::optional<Outcome> {
    const StageSchedule& stage = schedule.stage("attention");
    if (stage == lab.analytic().stage("attention")) return std::nullopt;
    return Outcome::kCrash;
  };
  Database database(file());
  const TunerResult result = go(lab, database);
  int64_t rejected = 0, measured = 0;
  for (const Trial& trial : database.trials(subject_)) {
    if (trial.strategy == "default" || trial.strategy == "final") continue;
    const bool bad = trial.stage == "attention";
    EXPECT_EQ(trial.outcome, bad ? Outcome::kCrash : Outcome::kMeasured);
    ++(bad ? rejected : measured);
  }
  EXPECT_EQ(rejected, options_.trials);
  EXPECT_EQ(measured, 2 * options_.trials);
  EXPECT_TRUE(result.certified) << result.note;
}

TEST_F(Tune, WithoutADefaultThereIsNoSearch) {
  SimulatedLab lab = this->lab();
  lab.at_start = [](const Schedule&) { return Outcome::kWrong; };
  Database database(file());
  EXPECT_THROW(go(lab, database), SystemError);
  lab.at_start = nullptr;
  lab.at_build = [](const Schedule&) { return Outcome::kBuild; };
  EXPECT_THROW(go(lab, database), SystemError);
  EXPECT_TRUE(database.trials(subject_).empty());
}

TEST_F(Tune, AnAutoschedulerIsOneTrial) {
  options_.strategy = "adams2019";
  SimulatedLab lab = this->lab();
  Database database(file());
  const TunerResult result = go(lab, database);
  EXPECT_FALSE(result.certified);
  EXPECT_EQ(result.schedule.stages, lab.analytic().stages);
  const auto trial = database.find(subject_, "attention", "autoscheduler=adams2019");
  ASSERT_TRUE(trial);
  EXPECT_LT(trial->score, -0.5);
}

}  // namespace
}  // namespace mha
