#include "schedules/tuner/tuner.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "generator/spec/error.h"
#include "schedules/space.h"
#include "schedules/tuner/answers.h"
#include "schedules/tuner/budget.h"
#include "schedules/tuner/incumbent.h"
#include "schedules/tuner/jobs.h"
#include "schedules/tuner/search.h"
#include "schedules/tuner/trial_book.h"

namespace mha {
namespace {

constexpr int kDefaultSlices = 5;  // in which the default is timed at first

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
        default_(problem.start
                     ? *problem.start
                     : default_schedule(problem.plan, problem.machine, problem.subject.threads)),
        incumbent_(lab, clock),
        trials_(database, problem.subject, options, events, clock),
        budget_(options, clock, incumbent_, trials_) {
    default_.origin = "default";
  }

  TunerResult run() {
    const std::vector<std::string> timed = lab_.stages();
    for (size_t i = 0; i < timed.size(); ++i) stage_index_[timed[i]] = static_cast<int>(i);
    trials_.remember_default(default_);
    const auto& automatic = autoscheduler_names();
    if (std::find(automatic.begin(), automatic.end(), options_.strategy) != automatic.end()) {
      try_autoscheduler();
    } else {
      open_searches();
      search();
      if (options_.certify && !options_.survey) finals();
    }
    return finish();
  }

 private:
  bool over() {
    if (!stopped_) stopped_ = events_.stop();
    return stopped_ || budget_.spent(finals_);
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
          proposal.trial = trials_.remembered(search.stage(), proposal.text);
          if (!proposal.trial) {
            waiting.back().push_back(job_of(search, proposal));
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

  // The few best of each stage once more, longer: after many short races the highest score is
  // mostly the luckiest.
  void finals() {
    finals_ = true;
    std::vector<std::vector<Proposal>> batches;
    std::vector<std::vector<Job>> waiting;
    for (const StageSearch& search : searches_) {
      batches.push_back(search.finalists());
      waiting.emplace_back();
      for (Proposal& proposal : batches.back()) {
        proposal.trial = trials_.remembered_final(search.stage(), proposal.text);
        if (!proposal.trial) waiting.back().push_back(job_of(search, proposal));
      }
    }
    if (!over()) measure(zipped(waiting));
    for (size_t i = 0; i < searches_.size(); ++i) searches_[i].settle_final(batches[i]);
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
        const double each = candidate_seconds_ > 0
                                ? candidate_seconds_
                                : incumbent_.build_seconds() + incumbent_.start_seconds();
        fit = std::min(fit, static_cast<size_t>(budget_.free(finals_) / std::max(each, 1e-6)));
      }
      if (fit == 0) break;
      // What does not fit now is not dropped for being split: the time is up for all of it.
      complete = complete && fit == candidates.size();
      candidates.resize(fit);
      report(Progress::Phase::kBuilding);
      std::vector<Candidate> programs;
      for (const auto& jobs : candidates)
        programs.push_back(candidate_of(jobs, incumbent_.schedule(), options_.strategy));
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
    return incumbent_.race(built, indices, finals_ ? options_.final_race : options_.race, limit());
  }

  // The best so far over the default, as far as stages tell.
  double whole_gain() const {
    double best = 0;
    for (const auto& [stage, seconds] : trials_.default_seconds())
      best += seconds * std::exp(-best_score(stage));
    return best > 0 ? std::log(trials_.whole_seconds() / best) : 0;
  }

  std::unique_ptr<Runner> start(const Built& built) { return incumbent_.start(built, limit()); }

  double limit() const {
    return call_limit(trials_.whole_seconds() * std::exp(-whole_gain()), options_);
  }

  // --- the incumbent ---

  void need_incumbent() {
    if (!incumbent_.running()) {
      report(Progress::Phase::kStarting);
      start_default();
    }
    const Schedule wanted = best();
    if (options_.survey || wanted.stages == incumbent_.schedule().stages) return;
    try {
      incumbent_.replace(wanted, limit());
      for (const StageSearch& search : searches_) against_score_[search.stage()] = search.score();
    } catch (const RunnerFailure&) {
      // Each stage did well by itself, and together they fail: what was raced against before, will
      // do.
    }
  }

  void start_default() {
    try {
      incumbent_.replace(default_, limit());
      time_default();
    } catch (const RunnerFailure& failure) {
      throw SystemError(std::string("the default schedule cannot be measured: ") +
                        outcome_name(failure.outcome()) + ": " + failure.what());
    }
  }

  // Times the default by itself.
  void time_default() {
    std::vector<Slice> slices;
    for (int i = 0; i < kDefaultSlices; ++i) {
      slices.push_back(incumbent_.runner().stages(options_.race.slice_seconds));
    }
    for (const StageSchedule& stage : default_.stages) {
      const auto index = stage_index_.find(stage.stage);
      if (index == stage_index_.end()) continue;
      std::vector<double> seconds;
      for (const Slice& slice : slices) seconds.push_back(slice.seconds.at(index->second));
      trials_.store_default(stage, seconds);
    }
  }

  // --- trials ---

  Trial measured(const Job& job, const RaceResult& result) const {
    Trial trial;
    trial.against = candidate_text(incumbent_.schedule().stage(job.stage));
    trial.seconds = result.seconds;
    trial.against_seconds = result.against_seconds;
    trial.disturbed = result.disturbed;
    trial.log_gain = result.log_gain;
    trial.half_width = result.half_width;
    const auto score = against_score_.find(job.stage);
    trial.score = (score == against_score_.end() ? 0 : score->second) + result.log_gain;
    return trial;
  }

  void store(const Job& job, const Trial& trial) {
    const Trial stored = finals_ ? trials_.store_final(job.stage, job.text, job.index, trial)
                                 : trials_.store(job.stage, job.text, job.index, trial);
    if (job.proposal != nullptr) job.proposal->trial = stored;
    report(Progress::Phase::kRacing);
  }

  void try_autoscheduler() {
    const Job job{"attention", "autoscheduler=" + options_.strategy, 0, nullptr, nullptr};
    if (!trials_.remembered(job.stage, job.text)) measure({{job}});
  }

  void report(Progress::Phase phase) {
    Progress& progress = trials_.progress();
    progress.phase = phase;
    progress.elapsed_seconds = budget_.elapsed();
    progress.seconds = trials_.whole_seconds();
    progress.log_gain = whole_gain();
    int64_t pruned = 0;
    for (const StageSearch& search : searches_) pruned += search.pruned();
    if (pruned > 0) progress.rejected[Outcome::kPruned] = pruned;
    if (options_.budget_seconds > 0) progress.seconds_left = std::max(budget_.left(), 0.0);
    events_.progress(progress);
  }

  // --- the certificate ---

  TunerResult finish() {
    TunerResult result;
    result.best = best();
    for (const StageSearch& search : searches_) result.scores[search.stage()] = search.score();
    const bool found = result.best.stages != default_.stages;
    const std::optional<Certificate> known = known_answer(database_, problem_.subject, result.best);
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
    report(trials_.progress().phase);
    result.progress = trials_.progress();
    return result;
  }

  void certify_best(TunerResult& result) {
    report(Progress::Phase::kCertifying);
    incumbent_.stop();  // nothing of ours may disturb
    const std::vector<Built> built =
        lab_.build({Candidate{result.best, ""}, Candidate{default_, ""}});
    if (built.at(1).outcome != Outcome::kMeasured) {
      throw SystemError("the default schedule cannot be measured: " + built.at(1).detail);
    }
    try {
      if (built.at(0).outcome != Outcome::kMeasured) {
        throw RunnerFailure(built.at(0).outcome, built.at(0).detail);
      }
      const Certificate certificate = ask(
          database_, problem_.subject, result.best, [&] { return start(built[0]); },
          [&] { return start(built[1]); }, budget_.certificate(), clock_);
      result.certificate = certificate;
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
  Schedule default_;
  std::map<std::string, int> stage_index_;  // in Slice::seconds
  std::vector<StageSearch> searches_;

  Incumbent incumbent_;
  std::map<std::string, double> against_score_;  // of its stages

  TrialBook trials_;
  Budget budget_;
  bool stopped_ = false;
  bool finals_ = false;           // have begun
  double candidate_seconds_ = 0;  // from its build to its answer
};

}  // namespace

const std::vector<std::string>& autoscheduler_names() {
  static const std::vector<std::string> names = {"mullapudi2016", "adams2019"};
  return names;
}

TunerResult tune(const TunerProblem& problem, Lab& lab, Database& database,
                 const TunerOptions& options, TunerEvents& events, const TunerClock& clock) {
  if (options.budget_seconds <= 0 && options.trials <= 0) {
    throw std::invalid_argument("a search without end");
  }
  return Tuner(problem, lab, database, options, events, clock).run();
}

}  // namespace mha
