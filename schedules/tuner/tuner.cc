#include "schedules/tuner/tuner.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <stdexcept>
#include <utility>

#include "generator/spec/error.h"
#include "schedules/space.h"
#include "schedules/tuner/search.h"
#include "schedules/tuner/statistics.h"

namespace mha {
namespace {

constexpr int kDefaultSlices = 5;          // in which the default is timed at first
constexpr double kCertificateShare = 0.3;  // of the budget at most
constexpr int kIncumbentFailures = 3;      // in a row, after which the search gives up

constexpr char kNotShown[] =
    "fresh samples do not show that the best schedule is faster than the default";

class Tuner {
 public:
  Tuner(const TunerProblem& problem, Lab& lab, Database& database, const TunerOptions& options,
        TunerEvents& events, const TunerClock& clock)
      : problem_(problem),
        lab_(lab),
        database_(database),
        options_(options),
        events_(events),
        clock_(clock),
        began_(clock.now()),
        default_(problem.start
                     ? *problem.start
                     : default_schedule(problem.plan, problem.machine, problem.subject.threads)) {
    default_.origin = "default";
  }

  TunerResult run() {
    const std::vector<std::string> timed = lab_.stages();
    for (size_t i = 0; i < timed.size(); ++i) stage_index_[timed[i]] = static_cast<int>(i);
    remember_default();
    const auto& automatic = autoscheduler_names();
    if (std::find(automatic.begin(), automatic.end(), options_.strategy) != automatic.end()) {
      try_autoscheduler();
    } else {
      open_searches();
      search();
    }
    return finish();
  }

 private:
  // A proposal of one stage on its way through the lab.
  struct Job {
    std::string stage;
    std::string text;  // of the trial
    int64_t index = 0;
    const StageSchedule* schedule = nullptr;  // null: the incumbent's
    Proposal* proposal = nullptr;
  };

  double elapsed() const { return clock_.now() - began_; }
  double left() const { return options_.budget_seconds - elapsed(); }
  bool over() {
    if (!stopped_) stopped_ = events_.stop();
    return stopped_ || (options_.budget_seconds > 0 && left() < reserve());
  }

  // --- what is known at the start ---

  void remember_default() {
    for (const StageSchedule& stage : default_.stages) {
      const auto trial = database_.find(problem_.subject, stage.stage, candidate_text(stage));
      if (trial && !trial->seconds.empty()) seconds_[stage.stage] = median(trial->seconds);
    }
  }

  void open_searches() {
    for (const StageSchedule& stage : default_.stages) {
      if (stage_index_.count(stage.stage) == 0) continue;
      const auto subspace = problem_.subspaces.find(stage.stage);
      if (!problem_.subspaces.empty() && subspace == problem_.subspaces.end()) continue;
      StageProblem problem = stage_problem(problem_.plan, problem_.machine,
                                           problem_.subject.threads, stage, problem_.seeds);
      if (subspace != problem_.subspaces.end()) problem.subspace = subspace->second;
      searches_.emplace_back(problem, options_.strategy, options_.seed, !options_.survey);
    }
  }

  // --- the loop ---

  void search() {
    while (!over()) {
      std::vector<std::vector<Proposal>> batches;
      std::vector<std::vector<Job>> waiting;
      bool any = false;
      for (StageSearch& search : searches_) {
        int64_t wanted = options_.batch;
        if (options_.trials > 0) wanted = std::min(wanted, options_.trials - search.answered());
        batches.push_back(search.next(static_cast<int>(std::max<int64_t>(wanted, 0))));
        waiting.emplace_back();
        for (Proposal& proposal : batches.back()) {
          any = true;
          proposal.trial = database_.find(problem_.subject, search.stage(), proposal.text);
          if (proposal.trial) {
            ++progress_.remembered;
            count(*proposal.trial);
          } else {
            waiting.back().push_back(
                {search.stage(), proposal.text, proposal.index, &proposal.schedule, &proposal});
          }
        }
      }
      if (!any) break;  // used up
      const bool complete = measure(zipped(waiting));
      for (size_t i = 0; i < searches_.size(); ++i) searches_[i].settle(batches[i]);
      report(Progress::Phase::kRacing);
      if (!complete) break;
    }
  }

  // One job of each stage to a candidate.
  static std::vector<std::vector<Job>> zipped(const std::vector<std::vector<Job>>& stages) {
    std::vector<std::vector<Job>> candidates;
    for (const std::vector<Job>& jobs : stages) {
      for (size_t i = 0; i < jobs.size(); ++i) {
        if (i == candidates.size()) candidates.emplace_back();
        candidates[i].push_back(jobs[i]);
      }
    }
    return candidates;
  }

  Schedule best() const {
    Schedule schedule = default_;
    for (StageSchedule& stage : schedule.stages) {
      for (const StageSearch& search : searches_) {
        if (search.stage() == stage.stage) stage = search.incumbent();
      }
    }
    return schedule;
  }

  double best_score(const std::string& stage) const {
    for (const StageSearch& search : searches_) {
      if (search.stage() == stage) return search.score();
    }
    return 0;
  }

  Candidate candidate(const std::vector<Job>& jobs) const {
    Candidate candidate{incumbent_, ""};
    for (const Job& job : jobs) {
      if (job.schedule == nullptr) {
        candidate.autoscheduler = options_.strategy;
        continue;
      }
      for (StageSchedule& stage : candidate.schedule.stages) {
        if (stage.stage == job.stage) stage = *job.schedule;
      }
    }
    return candidate;
  }

  // False when the time was up before all had an answer.
  bool measure(std::vector<std::vector<Job>> candidates) {
    if (candidates.empty()) return true;
    need_incumbent();
    bool complete = true;
    // Rejected candidates of several stages are tried again stage by stage.
    while (!candidates.empty() && !over()) {
      const double began = clock_.now();
      size_t fit = candidates.size();
      if (options_.budget_seconds > 0) {
        const double each =
            candidate_seconds_ > 0 ? candidate_seconds_ : build_seconds_ + start_seconds_;
        fit = std::min(
            fit, static_cast<size_t>(std::max(0.0, (left() - reserve()) / std::max(each, 1e-6))));
      }
      if (fit == 0) break;
      // What does not fit now is not dropped for being split: the time is up for all of it.
      complete = complete && fit == candidates.size();
      candidates.resize(fit);
      report(Progress::Phase::kBuilding);
      std::vector<Candidate> programs;
      for (const auto& jobs : candidates) programs.push_back(candidate(jobs));
      const std::vector<Built> built = lab_.build(programs);
      std::vector<std::vector<Job>> split;
      for (size_t i = 0; i < candidates.size(); ++i) {
        if (over()) {
          complete = false;
        } else if (!attempt(candidates[i], built.at(i))) {
          for (const Job& job : candidates[i]) split.push_back({job});
        }
        lab_.discard(built.at(i));
      }
      candidate_seconds_ = (clock_.now() - began) / static_cast<double>(fit);
      candidates = std::move(split);
    }
    return complete && candidates.empty();
  }

  // False: one of its stages is to blame, and it is not known which.
  bool attempt(const std::vector<Job>& jobs, const Built& built) {
    report(Progress::Phase::kRacing);
    Outcome outcome = built.outcome;
    std::string detail = built.detail;
    if (outcome == Outcome::kMeasured) {
      try {
        const std::vector<RaceResult> results = raced(jobs, built);
        for (size_t i = 0; i < results.size(); ++i) store(jobs[i], measured(jobs[i], results[i]));
        return true;
      } catch (const RunnerFailure& failure) {
        outcome = failure.outcome();
        detail = failure.what();
      }
    }
    // Who ends the search by a key may have ended the candidate with it.
    if (events_.stop()) return true;
    if (jobs.size() > 1) return false;
    Trial trial;
    trial.outcome = outcome;
    trial.detail = detail;
    store(jobs.front(), trial);
    return true;
  }

  std::vector<RaceResult> raced(const std::vector<Job>& jobs, const Built& built) {
    std::vector<int> indices;
    for (const Job& job : jobs) indices.push_back(stage_index_.at(job.stage));
    for (int failures = 0;; ++failures) {
      const std::unique_ptr<Runner> runner = started(built);
      try {
        return race(*runner, *running_, indices, options_.race);
      } catch (const RunnerFailure&) {
        throw;
      } catch (const UserError&) {
        throw;
      } catch (const SystemError&) {
        throw;
      } catch (const std::runtime_error& error) {
        // The incumbent ended: by a memory killer or a user, for it ran well before.
        if (failures + 1 == kIncumbentFailures) {
          throw SystemError(std::string("the best schedule so far keeps failing: ") + error.what());
        }
        running_ = started(incumbent_built_);
      }
    }
  }

  std::unique_ptr<Runner> started(const Built& built) {
    const double began = clock_.now();
    std::unique_ptr<Runner> runner = lab_.start(built, limit());
    start_seconds_ = std::max(0.7 * start_seconds_, clock_.now() - began);
    return runner;
  }

  double whole_seconds() const {
    double sum = 0;
    for (const auto& [stage, seconds] : seconds_) sum += seconds;
    return sum;
  }

  // The best so far over the default, as far as stages tell.
  double whole_gain() const {
    double best = 0;
    for (const auto& [stage, seconds] : seconds_) best += seconds * std::exp(-best_score(stage));
    return best > 0 ? std::log(whole_seconds() / best) : 0;
  }

  double limit() const { return call_limit(whole_seconds() * std::exp(-whole_gain()), options_); }

  // --- the incumbent: what candidates are raced against ---

  void need_incumbent() {
    if (!running_) {
      report(Progress::Phase::kStarting);
      start_default();
    }
    const Schedule wanted = best();
    if (options_.survey || wanted.stages == incumbent_.stages) return;
    const Built built = build_one(wanted);
    if (built.outcome == Outcome::kMeasured) {
      try {
        take(built, wanted, started(built));
        for (const StageSearch& search : searches_) against_score_[search.stage()] = search.score();
        return;
      } catch (const RunnerFailure&) {
      }
    }
    // Each stage did well by itself, and together they fail: what was raced against before, will
    // do.
    lab_.discard(built);
  }

  void start_default() {
    const Built built = build_one(default_);
    if (built.outcome != Outcome::kMeasured) {
      throw SystemError(std::string("the default schedule cannot be measured: ") +
                        outcome_name(built.outcome) + ": " + built.detail);
    }
    try {
      take(built, default_, started(built));
      time_default();
    } catch (const RunnerFailure& failure) {
      throw SystemError(std::string("the default schedule cannot be measured: ") +
                        outcome_name(failure.outcome()) + ": " + failure.what());
    }
  }

  Built build_one(const Schedule& schedule) {
    const double began = clock_.now();
    Built built = lab_.build({Candidate{schedule, ""}}).at(0);
    build_seconds_ = std::max(build_seconds_, clock_.now() - began);
    return built;
  }

  void take(const Built& built, const Schedule& schedule, std::unique_ptr<Runner> runner) {
    if (running_) lab_.discard(incumbent_built_);
    running_ = std::move(runner);
    incumbent_built_ = built;
    incumbent_ = schedule;
  }

  // Times the default by itself, and stores that as its trial: the zero of all scores.
  void time_default() {
    std::vector<Slice> slices;
    for (int i = 0; i < kDefaultSlices; ++i) {
      slices.push_back(running_->stages(options_.race.slice_seconds));
    }
    for (const StageSchedule& stage : default_.stages) {
      const auto index = stage_index_.find(stage.stage);
      if (index == stage_index_.end()) continue;
      Trial trial;
      trial.against = candidate_text(stage);
      for (const Slice& slice : slices) trial.seconds.push_back(slice.seconds.at(index->second));
      trial.against_seconds = trial.seconds;
      seconds_[stage.stage] = median(trial.seconds);
      trial.stage = stage.stage;
      trial.candidate = candidate_text(stage);
      trial.strategy = "default";
      trial.time = clock_.time();
      database_.append(problem_.subject, trial);
    }
  }

  // --- trials ---

  Trial measured(const Job& job, const RaceResult& result) const {
    Trial trial;
    trial.against = candidate_text(incumbent_.stage(job.stage));
    trial.seconds = result.seconds;
    trial.against_seconds = result.against_seconds;
    trial.disturbed = result.disturbed;
    trial.log_gain = result.log_gain;
    trial.half_width = result.half_width;
    const auto score = against_score_.find(job.stage);
    trial.score = (score == against_score_.end() ? 0 : score->second) + result.log_gain;
    return trial;
  }

  void store(const Job& job, Trial trial) {
    trial.stage = job.stage;
    trial.candidate = job.text;
    trial.strategy = options_.strategy;
    trial.seed = options_.seed;
    trial.index = job.index;
    trial.time = clock_.time();
    if (!database_.append(problem_.subject, trial)) {
      // Another process was faster: its answer is the one that counts.
      trial = database_.find(problem_.subject, job.stage, job.text).value_or(trial);
    }
    if (job.proposal != nullptr) job.proposal->trial = trial;
    count(trial);
    report(Progress::Phase::kRacing);
  }

  void count(const Trial& trial) {
    ++progress_.trials;
    if (trial.outcome != Outcome::kMeasured) ++progress_.rejected[trial.outcome];
    events_.measured(trial);
  }

  void try_autoscheduler() {
    const Job job{"attention", "autoscheduler=" + options_.strategy, 0, nullptr, nullptr};
    if (const auto trial = database_.find(problem_.subject, job.stage, job.text)) {
      ++progress_.remembered;
      count(*trial);
      return;
    }
    measure({{job}});
  }

  void report(Progress::Phase phase) {
    progress_.phase = phase;
    progress_.elapsed_seconds = elapsed();
    progress_.seconds = whole_seconds();
    progress_.log_gain = whole_gain();
    int64_t pruned = 0;
    for (const StageSearch& search : searches_) pruned += search.pruned();
    if (pruned > 0) progress_.rejected[Outcome::kPruned] = pruned;
    if (options_.budget_seconds > 0) progress_.seconds_left = std::max(left(), 0.0);
    events_.progress(progress_);
  }

  // --- the certificate ---

  double pair_seconds() const {
    return 2 * start_seconds_ + 2.6 * options_.certificate.rounds *
                                    std::max(options_.certificate.slice_seconds, whole_seconds());
  }

  CertificateOptions certificate_options() const {
    CertificateOptions options = options_.certificate;
    if (options_.budget_seconds > 0 && pair_seconds() > 0) {
      const double most = kCertificateShare * options_.budget_seconds / pair_seconds();
      options.max_pairs =
          static_cast<int>(std::clamp<double>(most, options.min_pairs, options.max_pairs));
    }
    return options;
  }

  // Seconds at the end of the budget that are for the certificate.
  double reserve() const {
    if (!options_.certify) return 0;
    return certificate_options().max_pairs * pair_seconds() + 2 * build_seconds_;
  }

  TunerResult finish() {
    TunerResult result;
    result.best = best();
    for (const StageSearch& search : searches_) result.scores[search.stage()] = search.score();
    const bool found = result.best.stages != default_.stages;
    // A question that was answered is not asked again until the answer pleases.
    std::optional<Certificate> known;
    for (const CertifiedSchedule& one : database_.certificates(problem_.subject)) {
      if (one.schedule.stages == result.best.stages) known = one.certificate;
    }
    if (!found) {
      result.note = "no schedule was surely faster than the default";
    } else if (known) {
      result.certificate = known;
      if (!known->faster) result.note = kNotShown;
    } else if (!options_.certify) {
      result.note = "the best schedule is not certified by itself";
    } else if (options_.survey) {
      result.note = "nothing is certified in a survey";
    } else if (!stopped_) {
      certify_best(result);
    } else {
      result.note = "stopped before the best schedule was certified";
    }
    result.certified = database_.best(problem_.subject);
    result.schedule = result.certified ? result.certified->schedule : default_;
    result.schedule.origin = result.certified ? "record" : "default";
    result.stopped = stopped_;
    report(progress_.phase);
    result.progress = progress_;
    return result;
  }

  void certify_best(TunerResult& result) {
    report(Progress::Phase::kCertifying);
    running_.reset();  // nothing of ours may disturb
    const std::vector<Built> built =
        lab_.build({Candidate{result.best, ""}, Candidate{default_, ""}});
    if (built.at(1).outcome != Outcome::kMeasured) {
      throw SystemError("the default schedule cannot be measured: " + built.at(1).detail);
    }
    try {
      if (built.at(0).outcome != Outcome::kMeasured) {
        throw RunnerFailure(built.at(0).outcome, built.at(0).detail);
      }
      Certificate certificate = certify([&] { return started(built[0]); },
                                        [&] { return started(built[1]); }, certificate_options());
      certificate.machine = problem_.subject.machine;
      certificate.generator = problem_.subject.generator;
      certificate.space = problem_.subject.space;
      certificate.time = clock_.time();
      result.certificate = certificate;
      CertifiedSchedule certified{result.best, certificate};
      certified.schedule.origin = "record";
      database_.append(problem_.subject, certified);
      if (!certificate.faster) result.note = kNotShown;
    } catch (const RunnerFailure& failure) {
      result.note = std::string("the best stages fail together: ") +
                    outcome_name(failure.outcome()) + ": " + failure.what();
    }
    for (const Built& one : built) lab_.discard(one);
  }

  const TunerProblem& problem_;
  Lab& lab_;
  Database& database_;
  const TunerOptions& options_;
  TunerEvents& events_;
  const TunerClock& clock_;
  double began_;
  Schedule default_;
  std::map<std::string, int> stage_index_;  // in Slice::seconds
  std::vector<StageSearch> searches_;
  std::map<std::string, double> seconds_;  // of the default's stages

  std::unique_ptr<Runner> running_;
  Built incumbent_built_;
  Schedule incumbent_;                           // that is running
  std::map<std::string, double> against_score_;  // of its stages

  Progress progress_;
  bool stopped_ = false;
  // How long things take here.
  double build_seconds_ = 0, start_seconds_ = 0, candidate_seconds_ = 0;
};

}  // namespace

const std::vector<std::string>& autoscheduler_names() {
  static const std::vector<std::string> names = {"mullapudi2016", "adams2019"};
  return names;
}

double call_limit(double best_seconds, const TunerOptions& options) {
  constexpr double kSlowerThanBest = 10, kLeast = 0.25;
  if (best_seconds <= 0) return options.first_limit;
  return std::clamp(kSlowerThanBest * best_seconds, kLeast, options.first_limit);
}

TunerClock system_clock() {
  return {
      [] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
            .count();
      },
      [] {
        const std::time_t now = std::time(nullptr);
        std::tm utc{};
        gmtime_r(&now, &utc);
        char text[32];
        std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
        return std::string(text);
      }};
}

TunerResult tune(const TunerProblem& problem, Lab& lab, Database& database,
                 const TunerOptions& options, TunerEvents& events, const TunerClock& clock) {
  if (options.budget_seconds <= 0 && options.trials <= 0) {
    throw std::invalid_argument("a search without end");
  }
  return Tuner(problem, lab, database, options, events, clock).run();
}

}  // namespace mha
