#include "schedules/tuner/ranges.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>

#include "generator/spec/error.h"
#include "schedules/tuner/answers.h"
#include "schedules/tuner/length_labs.h"
#include "schedules/tuner/length_rows.h"
#include "schedules/tuner/range_watch.h"

namespace mha {

namespace {

constexpr double kLater = 0.3;  // of the budget, at least, for what comes after the searches

const Schedule& schedule_at(const std::vector<LengthVariant>& variants, int64_t length) {
  for (const LengthVariant& variant : variants) {
    if (length <= variant.max_query_length) return variant.schedule;
  }
  return variants.back().schedule;
}

class RangeTuner {
 public:
  RangeTuner(const RangesProblem& problem, Database& database, const RangesOptions& options,
             TunerEvents& events, const TunerClock& clock)
      : problem_(problem),
        database_(database),
        options_(options),
        clock_(clock),
        watch_(events, clock, options.tuner.budget_seconds),
        threads_(problem.subject(problem.plan.query_length.max).threads),
        default_(default_variants(problem.plan, problem.machine, threads_)),
        labs_(problem, tuned_lengths(problem.plan, problem.machine, threads_, options.samples),
              options, clock),
        rows_(problem, labs_, database, options, watch_, clock, [this](size_t l) {
          watch_.report(result_.progress, Progress::Phase::kComparing, labs_.text(l));
        }) {}

  RangesResult run() {
    result_.variants = default_;
    result_.table = rows_.table();
    for (size_t l = 0; l < labs_.size(); ++l) {
      const size_t row = rows_.add(schedule_at(default_, labs_.length(l)));
      if (row == LengthRows::kNone) {
        result_.note = "the default for calls of " + std::to_string(labs_.length(l)) +
                       " queries cannot be measured by itself";
        return result_;
      }
      rows_.add_usual(row);
    }
    search();
    if (!watch_.stopped()) {
      result_.note =
          rows_.measure(labs_.certificates_seconds(options_.tuner.certificate.min_pairs));
    }
    result_.table = rows_.table();
    if (!watch_.stopped()) decide();
    rows_.discard();
    result_.stopped = watch_.stopped();
    if (result_.stopped) {
      result_.variants = default_;
      result_.certified = false;
      result_.note = "stopped before the schedules were compared";
    }
    return result_;
  }

 private:
  static constexpr double kNever = LengthRows::kNever;

  // What comes after the searches.
  double later_seconds() const {
    const CertificateOptions& certificate = options_.tuner.certificate;
    const double whole = options_.tuner.budget_seconds;
    const double rows = static_cast<double>(rows_.size() + labs_.size());
    const int pairs = (certificate.min_pairs + certificate.max_pairs) / 2;
    return std::clamp(rows * labs_.row_seconds() + labs_.certificates_seconds(pairs),
                      std::max(kLater, 1 - options_.share) * whole, 0.7 * whole);
  }

  // The longest first: how long the others will take is guessed from it.
  void search() {
    const size_t count = labs_.size();
    std::vector<Schedule> seeds = problem_.seeds;
    for (const LengthVariant& variant : default_) seeds.push_back(variant.schedule);
    std::vector<Schedule> found;
    for (size_t i = count; i-- > 0 && !watch_.stopped();) {
      TunerOptions share = options_.tuner;
      share.certify = false;  // against the default alone; what is chosen will be
      if (watch_.limited()) {
        share.budget_seconds =
            std::max((watch_.left() - later_seconds()) / static_cast<double>(i + 1), 0.1);
      }
      if (share.trials > 0) {
        share.trials = std::max<int64_t>(share.trials / static_cast<int64_t>(count), 1);
      }
      TunerProblem problem{problem_.plan, problem_.machine, labs_.subject(i), seeds};
      problem.start = rows_.schedule(rows_.usual(i));
      RangeWatch::Part events(watch_, labs_.text(i));
      const TunerResult search = tune(problem, labs_.lab(i), database_, share, events, clock_);
      labs_.set_call_seconds(i, search.progress.seconds);
      result_.searches[labs_.length(i)] = search;
      if (search.stopped) watch_.stop();
      result_.progress.trials += search.progress.trials;
      result_.progress.remembered += search.progress.remembered;
      for (const auto& [outcome, n] : search.progress.rejected) {
        result_.progress.rejected[outcome] += n;
      }
      seeds.push_back(search.best);
      found.push_back(search.best);
    }
    for (const Schedule& schedule : found) rows_.add(schedule);
    // All variants share packed weights: the same attention with the projections of the default
    // may stand beside it, and the default's attention beside the projections of the longest.
    const Schedule& longest = default_.back().schedule;
    for (const Schedule& schedule : found) rows_.add_joined(schedule, longest);
    for (const LengthVariant& variant : default_) {
      if (!found.empty()) rows_.add_joined(variant.schedule, found.front());
    }
  }

  // Asks at every length where the choice is not the default's. Where the answer is no, the default
  // is all that is left to be chosen there; then it is chosen again. Who chose other packed weights
  // gets a second question at each length.
  void decide() {
    LengthTable open = rows_.table();
    const size_t count = labs_.size();
    bool alike = true;
    for (const Schedule& one : open.candidates) {
      alike = alike && packed_differences(open.candidates.front(), one).empty();
    }
    const int most = alike ? 1 : 2;
    CertificateOptions options = options_.tuner.certificate;
    options.error /= static_cast<double>(most) * static_cast<double>(count);
    std::vector<int> asked(count);
    std::map<std::pair<size_t, size_t>, Certificate> passed;  // by length and row
    for (;;) {
      result_.chosen = choose_ranges(open, {.most = options_.most, .slack = options_.slack});
      std::vector<size_t> row(count, LengthRows::kNone), questions;
      for (const ChosenRange& range : result_.chosen.ranges) {
        for (size_t l = range.first; l <= range.last; ++l) row[l] = range.candidate;
      }
      if (result_.chosen.ranges.empty()) {
        result_.note = "no few schedules run at every length";
        return;
      }
      for (size_t l = 0; l < count; ++l) {
        if (row[l] != rows_.usual(l) && passed.count({l, row[l]}) == 0) questions.push_back(l);
      }
      if (questions.empty()) return accept(row, passed);
      for (size_t q = 0; q < questions.size(); ++q) {
        if (watch_.stopped()) return;
        const size_t l = questions[q], c = row[l];
        const auto answer = certificate(l, c, options, questions.size() - q);
        if (answer) result_.asked[labs_.length(l)] = *answer;
        const bool faster = answer && answer->faster;
        if (faster) passed[{l, c}] = *answer;
        if (faster && ++asked[l] < most) continue;
        for (size_t other = 0; other < open.candidates.size(); ++other) {
          const bool keep = other == rows_.usual(l) || passed.count({l, other}) > 0;
          if (!keep) open.seconds[other][l] = kNever;
        }
      }
    }
  }

  void accept(const std::vector<size_t>& row,
              const std::map<std::pair<size_t, size_t>, Certificate>& passed) {
    std::string keep;
    for (size_t l = 0; l < labs_.size(); ++l) {
      if (row[l] != rows_.usual(l)) {
        result_.certificates[labs_.length(l)] = passed.at({l, row[l]});
      } else {
        keep += (keep.empty() ? "" : ", ") + std::to_string(labs_.length(l));
      }
    }
    if (result_.certificates.empty()) {
      result_.note = result_.note.empty()
                         ? "at no length do fresh samples show that a schedule is faster"
                         : result_.note;
      return;
    }
    if (!keep.empty()) result_.note = "calls of " + keep + " queries keep the default";
    result_.variants = variants_of(result_.chosen, rows_.table());
    settle_variants(result_.variants, problem_.plan, problem_.machine);
    for (LengthVariant& variant : result_.variants) variant.schedule.origin = "record";
    result_.certified = true;
  }

  // Nothing when there is no time to ask, or when it fails.
  std::optional<Certificate> certificate(size_t l, size_t c, CertificateOptions options,
                                         size_t remaining) {
    const Subject& subject = labs_.subject(l);
    const Schedule& schedule = rows_.schedule(c);
    const auto known = known_answer(database_, subject, schedule, options.error);
    if (known) return known;
    if (watch_.limited()) {
      const double fit = (watch_.left() - 2 * labs_.build_seconds()) /
                         static_cast<double>(remaining) / std::max(labs_.pair_seconds(l), 1e-6);
      if (fit < options.min_pairs) {
        result_.note = "no time was left to certify what was found";
        return std::nullopt;
      }
      options.max_pairs = static_cast<int>(std::min<double>(fit, options.max_pairs));
    }
    watch_.report(result_.progress, Progress::Phase::kCertifying, labs_.text(l));
    const size_t usual = rows_.usual(l);
    try {
      rows_.build({c, usual});
      for (const size_t one : {c, usual}) {
        const Built& built = rows_.program(one);
        if (built.outcome != Outcome::kMeasured) throw RunnerFailure(built.outcome, built.detail);
      }
      Lab& lab = labs_.lab(l);
      return ask(
          database_, subject, schedule, [&] { return lab.start(rows_.program(c), labs_.limit(l)); },
          [&] { return lab.start(rows_.program(usual), options_.tuner.first_limit); }, options,
          clock_);
    } catch (const RunnerFailure& failure) {
      result_.note = "at " + std::to_string(labs_.length(l)) + " queries: " + failure.what();
      return std::nullopt;
    } catch (const std::runtime_error&) {
      if (watch_.stopped()) return std::nullopt;  // who ends it by a key may have ended the default
      throw;
    }
  }

  const RangesProblem& problem_;
  Database& database_;
  const RangesOptions& options_;
  const TunerClock& clock_;
  RangesResult result_;
  RangeWatch watch_;
  const int threads_;
  std::vector<LengthVariant> default_;
  LengthLabs labs_;
  LengthRows rows_;
};

}  // namespace

RangesResult tune_ranges(const RangesProblem& problem, Database& database,
                         const RangesOptions& options, TunerEvents& events,
                         const TunerClock& clock) {
  if (options.tuner.budget_seconds <= 0 && options.tuner.trials <= 0) {
    throw std::invalid_argument("a search without end");
  }
  return RangeTuner(problem, database, options, events, clock).run();
}

}  // namespace mha
