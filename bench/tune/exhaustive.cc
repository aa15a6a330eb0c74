// exhaustive: spaces of a few hundred schedules measured as a whole, and how near to their best the
// strategies come within 64 trials, by replaying them on what was measured.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bench/tune/command.h"
#include "bench/tune/finals.h"
#include "bench/tune/stored_trials.h"
#include "bench/tune/survey_table.h"
#include "generator/emit/version.h"
#include "generator/ir/lower.h"
#include "generator/spec/error.h"
#include "generator/spec/parse.h"
#include "schedules/record.h"
#include "schedules/space.h"
#include "schedules/tuner/candidates.h"
#include "schedules/tuner/database.h"
#include "schedules/tuner/fingerprint.h"
#include "schedules/tuner/model.h"
#include "schedules/tuner/process_lab.h"
#include "schedules/tuner/search.h"
#include "schedules/tuner/tuner.h"
#include "tools/common/cli.h"
#include "tools/mha-tune/progress.h"
#include "tools/mha-tune/workload.h"

namespace mha {
namespace {

// What must be reached.
constexpr int64_t kLeast = 300;  // legal candidates of a pair
constexpr int kTrials = 64;
constexpr double kLoss = 0.03;
constexpr double kPruned = 1.0 / 3;

constexpr int kSeeds = 20;
constexpr int kBatch = 16;
constexpr int64_t kAll = 100000;

using Subspace = std::vector<std::pair<std::string, std::vector<int64_t>>>;

// One config with its subspaces.
struct Survey {
  Spec spec;
  Plan plan;
  Machine machine = host_machine();
  Schedule analytic;
  std::map<std::string, Subspace> subspaces;

  explicit Survey(const SurveyShape& shape) {
    const ParseResult parsed = parse_spec_text(shape.config, "survey.yaml");
    if (!parsed.spec) throw DiagnosedError(format_diagnostics(parsed.problems, parsed.text));
    spec = *parsed.spec;
    plan = *lower(spec).plan;
    analytic = default_schedule(plan, machine, 1);
    for (const auto& [stage, given] : shape.subspaces) {
      Subspace subspace = given;
      // Parameters that the table does not know stay as they are.
      for (const auto& [name, value] : analytic.stage(stage).params) {
        if (std::none_of(given.begin(), given.end(),
                         [&, param = name](const auto& one) { return one.first == param; })) {
          subspace.emplace_back(name, std::vector<int64_t>{value});
        }
      }
      subspaces[stage] = subspace;
    }
  }

  StageProblem problem(const std::string& stage) const {
    return {plan, machine, 1, stage, analytic.stage(stage), {}, subspaces.at(stage)};
  }
};

struct Figures {
  std::string name, stage, best;
  int64_t legal = 0, measured = 0, rejected = 0, pruned = 0, finals = 0;
  bool best_pruned = false, replayed = false;
  double gain = 0;  // log gain of the exhaustive best over the default
  double evolution = 0, evolution_worst = 0, random = 0, random_worst = 0;  // losses, mean of seeds
  // Of the candidate that a search takes that knows all of them.
  double taken = 0;
};

class Exhaustive : public BenchCommand {
 public:
  const char* name() const override { return "exhaustive"; }
  const char* summary() const override {
    return "Measures 12 spaces as a whole, and how near the strategies come to their best.";
  }
  void declare(CLI::App& app) override {
    app.add_option("--database", database_, "Where the measurements are kept, and taken up again")
        ->type_name("FILE")
        ->capture_default_str();
    app.add_option("--shapes", only_, "Only the configs whose name contains this")
        ->type_name("TEXT");
    app.add_option("--most", most_, "Candidates of each stage that are measured (0: all)");
    app.add_flag("--evaluate", evaluate_, "Measure nothing, evaluate what there is");
    app.add_option("--space", space_, "With --evaluate: what was measured of this schedule space")
        ->type_name("SIGNATURE")
        ->capture_default_str();
  }

  int run(Console& console) override {
    Database database(database_);
    catch_signals();
    std::vector<Figures> all;
    for (const SurveyShape& shape : survey_shapes()) {
      const Survey survey(shape);
      if (survey.spec.name.find(only_) == std::string::npos) continue;
      Subject subject = subject_of(survey);
      if (!evaluate_ && space_ != space_signature())
        throw UserError("--space is for --evaluate: what is measured now is of this space");
      if (!evaluate_) measure(survey, subject, database, console);
      if (signalled()) throw SystemError("stopped; the same command goes on");
      for (const auto& [stage, subspace] : survey.subspaces) {
        all.push_back(figures(survey, stage, stored_trials(database, subject),
                              stored_trials(database, finals_subject(subject))));
        if (!console.json()) print(all.back(), console);
      }
    }
    return conclude(all, console);
  }

 private:
  Subject subject_of(const Survey& survey) const {
    return {plan_key(survey.plan),
            lengths_text(survey.spec, max_lengths(survey.spec), 1),
            survey.machine.target,
            fingerprint().text(),
            1,
            generator_version(),
            space_};
  }

  void measure(const Survey& survey, const Subject& subject, Database& database, Console& console) {
    GenerateOptions generate;
    generate.targets = {"host"};
    generate.threads = 1;
    ProcessLab lab(survey.spec, stage_names(survey.plan), generate,
                   make_workload(survey.spec, max_lengths(survey.spec), 1, 1), {});
    TunerProblem problem{survey.plan, survey.machine, subject, {}, survey.subspaces};
    TunerOptions options;
    options.strategy = "random";  // all in the end; a part of it is a fair sample
    options.trials = most_ > 0 ? most_ : kAll;
    options.survey = true;
    options.batch = kBatch;
    options.race.min_rounds = 4;
    options.race.max_rounds = 8;
    ProgressLine line(console, survey.spec.name);
    if (tune(problem, lab, database, options, line).stopped || most_ > 0) return;
    for (const auto& [stage, subspace] : survey.subspaces) {
      run_finals(stage, survey.analytic, subject, lab, database, line);
    }
  }

  // The figures of one pair from what is stored.
  static Figures figures(const Survey& survey, const std::string& stage,
                         const std::vector<Trial>& trials, const std::vector<Trial>& finals) {
    const StageProblem problem = survey.problem(stage);
    const CostModel model(problem);
    const std::vector<StageSchedule> legal = Candidates(problem).all(kAll).value();
    std::map<std::string, const Trial*> known;
    for (const Trial& trial : trials) {
      if (trial.stage == stage) known[trial.candidate] = &trial;
    }
    const std::map<std::string, double> scores = judged(stage, trials, finals);
    Figures f;
    f.name = survey.spec.name;
    f.stage = stage;
    f.legal = static_cast<int64_t>(legal.size());
    for (const Trial& trial : finals) f.finals += trial.stage == stage;
    double best = -10;
    for (const StageSchedule& schedule : legal) {
      const bool pruned = model.prunes(schedule).has_value();
      f.pruned += pruned;
      const auto found = known.find(candidate_text(schedule));
      if (found == known.end()) continue;
      if (found->second->outcome != Outcome::kMeasured) {
        ++f.rejected;
        continue;
      }
      ++f.measured;
      if (scores.at(found->first) > best) {
        best = scores.at(found->first);
        f.best = found->first;
        f.best_pruned = pruned;
      }
    }
    f.gain = best;
    const auto loss = [&](const std::string& strategy, uint64_t seed, bool prune) {
      const ReplayResult result =
          replay(problem, strategy, seed, kTrials, TunerOptions().batch, trials, prune);
      return std::max(0.0, 1 - std::exp(winner_score(result, scores, f.finals > 0) - best));
    };
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
      const double found = loss("evolution", seed, true);
      f.evolution += found / kSeeds;
      f.evolution_worst = std::max(f.evolution_worst, found);
      const double by_chance = loss("random", seed, false);
      f.random += by_chance / kSeeds;
      f.random_worst = std::max(f.random_worst, by_chance);
    }
    // The search that made the trials, again: the same proposals in the same order.
    const ReplayResult again = replay(problem, "random", 0, 0, kBatch, trials, false);
    int64_t stored = 0;
    for (const auto& [candidate, trial] : known) stored += trial->strategy == "random";
    f.replayed = again.trials == stored;
    for (size_t i = 0; i < again.answered.size(); ++i) {
      f.replayed = f.replayed && known.at(again.answered[i])->index == static_cast<int64_t>(i);
    }
    f.taken = 1 - std::exp(winner_score(again, scores, f.finals > 0) - best);
    return f;
  }

  // By candidate: scores of the finals, and of those that were not in them their own, but none
  // above the last of the finals. The default has its place.
  static std::map<std::string, double> judged(const std::string& stage,
                                              const std::vector<Trial>& trials,
                                              const std::vector<Trial>& finals) {
    std::map<std::string, double> scores, of_finals;
    double last = 10;
    for (const Trial& trial : finals) {
      if (trial.stage != stage || trial.outcome != Outcome::kMeasured) continue;
      of_finals[trial.candidate] = trial.score;
      last = std::min(last, trial.score);
    }
    for (const Trial& trial : trials) {
      if (trial.stage != stage || trial.outcome != Outcome::kMeasured) continue;
      const auto found = of_finals.find(trial.candidate);
      scores[trial.candidate] = found != of_finals.end()      ? found->second
                                : trial.strategy == "default" ? 0
                                                              : std::min(trial.score, last);
    }
    return scores;
  }

  // The best of a search's incumbent and its finalists, as the finals tell. Without finals the
  // search has none either: the scores that chose the finalists cannot judge them.
  static double winner_score(const ReplayResult& result,
                             const std::map<std::string, double>& scores, bool finals) {
    double best = scores.at(candidate_text(result.winner));
    if (!finals) return best;
    for (const StageSchedule& finalist : result.finalists) {
      best = std::max(best, scores.at(candidate_text(finalist)));
    }
    return best;
  }

  static void print(const Figures& f, Console& console) {
    console.print(fmt::format(
        "{}, {}: {} legal, {} measured, {} rejected, {} in finals; best {:+.1f} % against the "
        "default\n"
        "  64 trials lose: evolution {:.2f} % (worst of {} seeds {:.2f} %), random {:.2f} % (worst "
        "{:.2f} %)\n"
        "  knowing all, a search loses {:.2f} %; a replay {}\n"
        "  the model prunes {:.0f} %{}\n  best: {}\n",
        f.name, f.stage, f.legal, f.measured, f.rejected, f.finals, 100 * std::expm1(f.gain),
        100 * f.evolution, kSeeds, 100 * f.evolution_worst, 100 * f.random, 100 * f.random_worst,
        100 * f.taken, f.replayed ? "makes the same proposals" : "DIFFERS",
        100.0 * static_cast<double>(f.pruned) / static_cast<double>(f.legal),
        f.best_pruned ? ", THE BEST AMONG THEM" : "", f.best));
  }

  static int conclude(const std::vector<Figures>& all, Console& console) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    double evolution = 0, worst = 0, random = 0;
    int64_t legal = 0, pruned = 0;
    bool reached = !all.empty();
    for (const Figures& f : all) {
      rows.push_back({{"name", f.name},
                      {"stage", f.stage},
                      {"legal", f.legal},
                      {"measured", f.measured},
                      {"finals", f.finals},
                      {"rejected", f.rejected},
                      {"pruned", f.pruned},
                      {"best_pruned", f.best_pruned},
                      {"gain", std::exp(f.gain)},
                      {"evolution_loss", f.evolution},
                      {"evolution_worst", f.evolution_worst},
                      {"random_loss", f.random},
                      {"random_worst", f.random_worst},
                      {"taken_loss", f.taken},
                      {"replayed", f.replayed}});
      evolution += f.evolution / static_cast<double>(all.size());
      random += f.random / static_cast<double>(all.size());
      worst = std::max(worst, f.evolution);
      legal += f.legal;
      pruned += f.pruned;
      reached = reached && f.legal >= kLeast && f.measured + f.rejected >= f.legal - 1 &&
                f.evolution <= kLoss && !f.best_pruned && f.replayed;
    }
    const double share =
        static_cast<double>(pruned) / static_cast<double>(std::max<int64_t>(legal, 1));
    reached = reached && share >= kPruned;
    if (console.json()) {
      console.print_json({{"pairs", rows}, {"pruned_share", share}, {"reached", reached}});
    } else {
      console.print(fmt::format(
          "{} pairs: within 64 trials evolution loses {:.2f} % (worst pair {:.2f} %), random "
          "search {:.2f} %; {:.0f} % pruned: {}\n",
          all.size(), 100 * evolution, 100 * worst, 100 * random, 100 * share,
          reached ? "reached" : "NOT REACHED"));
    }
    return reached ? kExitDone : kExitFailure;
  }

  std::string database_ = "survey.db", only_, space_ = space_signature();
  int64_t most_ = 0;
  bool evaluate_ = false;
};

}  // namespace

std::unique_ptr<BenchCommand> exhaustive_command() { return std::make_unique<Exhaustive>(); }

}  // namespace mha
