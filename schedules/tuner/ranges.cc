#include "schedules/tuner/ranges.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>

#include "generator/spec/error.h"
#include "schedules/tuner/statistics.h"
#include "schedules/tuner/timed_lab.h"

namespace mha {

namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kLater = 0.3;  // of the budget, at least, for what comes after the searches
// Trials of whole calls: cells of the table.
constexpr char kCall[] = "call", kTable[] = "table";

const Schedule& schedule_at(const std::vector<LengthVariant>& variants, int64_t length) {
  for (const LengthVariant& variant : variants) {
    if (length <= variant.max_query_length) return variant.schedule;
  }
  return variants.back().schedule;
}

// "attention: query_block=64 ...; project_out: ..."
std::string call_text(const Schedule& schedule) {
  std::string text;
  for (const StageSchedule& stage : schedule.stages) {
    text += (text.empty() ? "" : "; ") + stage.stage + ": " + candidate_text(stage);
  }
  return text;
}

// A search as a part of more: says which part, and counts on from what was before.
class PartEvents : public TunerEvents {
 public:
  PartEvents(TunerEvents& all, std::string part, double offset, double budget)
      : all_(all), part_(std::move(part)), offset_(offset), budget_(budget) {}
  void progress(const Progress& progress) override {
    Progress mine = progress;
    mine.part = part_;
    mine.elapsed_seconds += offset_;
    if (budget_ > 0) mine.seconds_left = std::max(budget_ - mine.elapsed_seconds, 0.0);
    all_.progress(mine);
  }
  void measured(const Trial& trial) override { all_.measured(trial); }
  bool stop() override { return all_.stop(); }

 private:
  TunerEvents& all_;
  std::string part_;
  double offset_, budget_;
};

class RangeTuner {
 public:
  RangeTuner(const RangesProblem& problem, Database& database, const RangesOptions& options,
             TunerEvents& events, const TunerClock& clock)
      : problem_(problem),
        database_(database),
        options_(options),
        events_(events),
        clock_(clock),
        began_(clock.now()) {}

  RangesResult run() {
    const Plan& plan = problem_.plan;
    const int threads = problem_.subject(plan.query_length.max).threads;
    default_ = default_variants(plan, problem_.machine, threads);
    result_.variants = default_;
    lengths_ = tuned_lengths(plan, problem_.machine, threads, options_.samples);
    result_.table.lengths = lengths_;
    for (const int64_t length : lengths_) {
      labs_.push_back(std::make_unique<TimedLab>(problem_.lab(length), clock_));
      subjects_.push_back(problem_.subject(length));
    }
    for (const int64_t length : lengths_) {
      usual_.push_back(add(schedule_at(default_, length)));
      if (usual_.back() == kNone) {
        result_.note = "the default for calls of " + std::to_string(length) +
                       " queries cannot be measured by itself";
        return result_;
      }
    }
    search();
    if (!stopped()) measure();
    if (!stopped()) decide();
    for (size_t c = 0; c < programs_.size(); ++c) labs_.front()->discard(programs_[c]);
    if (stopped()) {
      result_.variants = default_;
      result_.certified = false;
      result_.note = "stopped before the schedules were compared";
    }
    return result_;
  }

 private:
  static constexpr size_t kNone = std::numeric_limits<size_t>::max();

  bool stopped() { return result_.stopped = result_.stopped || events_.stop(); }
  bool limited() const { return options_.tuner.budget_seconds > 0; }
  double left() const { return options_.tuner.budget_seconds - (clock_.now() - began_); }

  std::string part(size_t l) const {
    return std::to_string(lengths_[l]) + (lengths_[l] == 1 ? " query (" : " queries (") +
           std::to_string(l + 1) + " of " + std::to_string(lengths_.size()) + ")";
  }

  void report(Progress::Phase phase, size_t l) {
    Progress progress = result_.progress;
    progress.phase = phase;
    progress.part = part(l);
    progress.elapsed_seconds = clock_.now() - began_;
    if (limited()) progress.seconds_left = std::max(left(), 0.0);
    events_.progress(progress);
  }

  // The row of a schedule in the table.
  size_t add(const Schedule& schedule) {
    std::vector<Schedule>& rows = result_.table.candidates;
    for (size_t c = 0; c < rows.size(); ++c) {
      if (rows[c].stages == schedule.stages) return c;
    }
    if (!check_schedule(schedule, problem_.plan, problem_.machine).empty()) return kNone;
    rows.push_back(schedule);
    return rows.size() - 1;
  }

  // --- how long things take ---

  double build_seconds() const {
    double most = 0;
    for (const auto& lab : labs_) most = std::max(most, lab->build_seconds());
    return most;
  }
  double start_seconds(size_t l) const {
    double most = labs_[l]->start_seconds();
    for (const auto& lab : labs_) most = most > 0 ? most : lab->start_seconds();
    return most;
  }
  double call_seconds(size_t l) const {
    const auto search = result_.searches.find(lengths_[l]);
    if (search != result_.searches.end()) return search->second.progress.seconds;
    const auto longest = result_.searches.find(lengths_.back());
    if (longest == result_.searches.end()) return 0;
    return longest->second.progress.seconds * static_cast<double>(lengths_[l]) /
           static_cast<double>(lengths_.back());
  }
  double limit(size_t l) const { return call_limit(call_seconds(l), options_.tuner); }
  // Of one candidate at one length.
  double cell_seconds(size_t l) const {
    return start_seconds(l) +
           options_.rounds * std::max(options_.tuner.race.slice_seconds, call_seconds(l));
  }
  double pair_seconds(size_t l) const {
    const CertificateOptions& certificate = options_.tuner.certificate;
    return 2 * start_seconds(l) +
           2.6 * certificate.rounds * std::max(certificate.slice_seconds, call_seconds(l));
  }
  // For the certificates of all lengths, if each gets so many pairs.
  double certificates_seconds(int pairs) const {
    double sum = 0;
    for (size_t l = 0; l < lengths_.size(); ++l) sum += pairs * pair_seconds(l);
    return sum;
  }
  double row_seconds() const {
    double sum = build_seconds();
    for (size_t l = 0; l < lengths_.size(); ++l) sum += cell_seconds(l);
    return sum;
  }
  // What comes after the searches.
  double later_seconds() const {
    const CertificateOptions& certificate = options_.tuner.certificate;
    const double whole = options_.tuner.budget_seconds;
    const double rows = static_cast<double>(result_.table.candidates.size() + lengths_.size());
    const int pairs = (certificate.min_pairs + certificate.max_pairs) / 2;
    return std::clamp(rows * row_seconds() + certificates_seconds(pairs),
                      std::max(kLater, 1 - options_.share) * whole, 0.7 * whole);
  }

  // --- the searches ---

  // The longest first: how long the others will take is guessed from it.
  void search() {
    const size_t count = lengths_.size();
    std::vector<Schedule> seeds = problem_.seeds;
    for (const LengthVariant& variant : default_) seeds.push_back(variant.schedule);
    std::vector<Schedule> found;
    for (size_t i = count; i-- > 0 && !stopped();) {
      TunerOptions share = options_.tuner;
      share.certify = false;  // against the default alone; what is chosen will be
      if (limited()) {
        share.budget_seconds =
            std::max((left() - later_seconds()) / static_cast<double>(i + 1), 0.1);
      }
      if (share.trials > 0) {
        share.trials = std::max<int64_t>(share.trials / static_cast<int64_t>(count), 1);
      }
      TunerProblem problem{problem_.plan, problem_.machine, subjects_[i], seeds};
      problem.start = result_.table.candidates[usual_[i]];
      PartEvents events(events_, part(i), clock_.now() - began_, options_.tuner.budget_seconds);
      const TunerResult search = tune(problem, *labs_[i], database_, share, events, clock_);
      result_.searches[lengths_[i]] = search;
      result_.stopped = result_.stopped || search.stopped;
      result_.progress.trials += search.progress.trials;
      result_.progress.remembered += search.progress.remembered;
      for (const auto& [outcome, n] : search.progress.rejected) {
        result_.progress.rejected[outcome] += n;
      }
      seeds.push_back(search.best);
      found.push_back(search.best);
    }
    for (const Schedule& schedule : found) add(schedule);
    // All variants share packed weights: the same attention with the projections of the default
    // may stand beside it, and the default's attention beside the projections of the longest.
    const Schedule& longest = default_.back().schedule;
    for (const Schedule& schedule : found) add_joined(schedule, longest);
    for (const LengthVariant& variant : default_) {
      if (!found.empty()) add_joined(variant.schedule, found.front());
    }
  }

  void add_joined(const Schedule& attention, const Schedule& projections) {
    if (packed_differences(attention, projections).empty()) return;
    Schedule joined = projections;
    for (StageSchedule& stage : joined.stages) {
      if (stage.stage == "attention") stage = attention.stage("attention");
    }
    add(joined);
  }

  // --- the table ---

  // A trial of its own: seconds beside those of the default, in rounds.
  std::optional<Trial> known(size_t c, size_t l) const {
    return database_.find(subjects_[l], kCall, call_text(result_.table.candidates[c]));
  }

  void measure() {
    LengthTable& table = result_.table;
    std::vector<size_t> wanted;  // rows that lack a cell
    for (size_t c = 0; c < table.candidates.size(); ++c) {
      bool all = true;
      for (size_t l = 0; l < lengths_.size(); ++l) all = all && known(c, l);
      if (!all) wanted.push_back(c);
    }
    if (limited() && row_seconds() > 0) {
      const double time = left() - certificates_seconds(options_.tuner.certificate.min_pairs);
      const size_t fit = static_cast<size_t>(std::max(time / row_seconds(), 0.0));
      if (wanted.size() > fit) {
        wanted.resize(fit);
        if (fit <= default_.size()) result_.note = "no time was left to compare what was found";
      }
    }
    if (!wanted.empty()) report(Progress::Phase::kComparing, 0);
    build(wanted);
    table.seconds.assign(table.candidates.size(), std::vector<double>(lengths_.size(), kNever));
    for (size_t l = 0; l < lengths_.size() && !stopped(); ++l) {
      try {
        measure_at(l, wanted);
      } catch (const RunnerFailure& failure) {
        if (!stopped()) {
          throw SystemError(std::string("the default schedule fails: ") + failure.what());
        }
      }
      double usual = call_seconds(l);
      if (const auto trial = known(usual_[l], l); trial && !trial->seconds.empty()) {
        usual = median(trial->seconds);
      }
      if (usual <= 0) usual = 1;
      for (size_t c = 0; c < table.candidates.size(); ++c) {
        const auto trial = known(c, l);
        if (trial && trial->outcome == Outcome::kMeasured) {
          table.seconds[c][l] = usual * std::exp(-trial->log_gain);
        }
      }
      table.seconds[usual_[l]][l] = usual;
    }
  }

  void build(const std::vector<size_t>& rows) {
    programs_.resize(result_.table.candidates.size());
    std::vector<size_t> missing;
    std::vector<Candidate> candidates;
    for (const size_t c : rows) {
      if (!programs_[c].program.empty() || programs_[c].outcome != Outcome::kMeasured) continue;
      missing.push_back(c);
      candidates.push_back({result_.table.candidates[c], ""});
    }
    if (missing.empty()) return;
    const std::vector<Built> built = labs_.front()->build(candidates);
    for (size_t i = 0; i < missing.size(); ++i) programs_[missing[i]] = built.at(i);
  }

  const Built& program(size_t c) {
    build({c});
    return programs_[c];
  }

  // Processes that take turns, one round after another, each beside the default.
  void measure_at(size_t l, const std::vector<size_t>& wanted) {
    std::vector<size_t> rows;
    for (const size_t c : wanted) {
      if (!known(c, l)) rows.push_back(c);
    }
    if (rows.empty()) return;
    const double cost = cell_seconds(l) * static_cast<double>(rows.size() + 1);
    if (limited() && left() < cost) return;
    report(Progress::Phase::kComparing, l);
    const std::unique_ptr<Runner> usual = started_usual(l);
    std::vector<std::unique_ptr<Runner>> runners;
    std::vector<Trial> trials(rows.size());
    const auto reject = [&](size_t i, Outcome outcome, const std::string& detail) {
      trials[i].outcome = outcome;
      trials[i].detail = detail;
      runners[i].reset();
    };
    for (size_t i = 0; i < rows.size(); ++i) {
      runners.emplace_back();
      const Built& built = programs_[rows[i]];
      try {
        if (built.outcome != Outcome::kMeasured) throw RunnerFailure(built.outcome, built.detail);
        runners[i] = labs_[l]->start(built, limit(l));
      } catch (const RunnerFailure& failure) {
        reject(i, failure.outcome(), failure.what());
      }
    }
    const double slice = options_.tuner.race.slice_seconds;
    for (int round = 0; round < options_.rounds; ++round) {
      const double base = usual->whole(slice).seconds.at(0);
      for (size_t i = 0; i < rows.size(); ++i) {
        if (!runners[i]) continue;
        try {
          trials[i].seconds.push_back(runners[i]->whole(slice).seconds.at(0));
          trials[i].against_seconds.push_back(base);
        } catch (const RunnerFailure& failure) {
          reject(i, failure.outcome(), failure.what());
        }
      }
    }
    if (stopped()) return;  // who ends it by a key may have ended the processes with it
    for (size_t i = 0; i < rows.size(); ++i) store(rows[i], l, trials[i]);
  }

  void store(size_t c, size_t l, Trial trial) {
    trial.stage = kCall;
    trial.candidate = call_text(result_.table.candidates[c]);
    trial.against = call_text(result_.table.candidates[usual_[l]]);
    trial.strategy = kTable;
    trial.seed = options_.tuner.seed;
    trial.index = static_cast<int64_t>(c);
    trial.time = clock_.time();
    if (trial.outcome != Outcome::kMeasured) {
      trial.seconds.clear();
      trial.against_seconds.clear();
    }
    std::vector<double> gains;
    for (size_t i = 0; i < trial.seconds.size(); ++i) {
      gains.push_back(std::log(trial.against_seconds[i] / trial.seconds[i]));
    }
    if (!gains.empty()) trial.log_gain = trial.score = median(gains);
    database_.append(subjects_[l], trial);
  }

  std::unique_ptr<Runner> started_usual(size_t l) {
    const Built& built = program(usual_[l]);
    if (built.outcome != Outcome::kMeasured) throw RunnerFailure(built.outcome, built.detail);
    return labs_[l]->start(built, options_.tuner.first_limit);
  }

  // --- the choice and its certificates ---

  // Asks at every length where the choice is not the default's. Where the answer is no, the default
  // is all that is left to be chosen there; then it is chosen again. Who chose other packed weights
  // gets a second question at each length.
  void decide() {
    LengthTable open = result_.table;
    const size_t count = lengths_.size();
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
      std::vector<size_t> row(count, kNone), questions;
      for (const ChosenRange& range : result_.chosen.ranges) {
        for (size_t l = range.first; l <= range.last; ++l) row[l] = range.candidate;
      }
      if (result_.chosen.ranges.empty()) {
        result_.note = "no few schedules run at every length";
        return;
      }
      for (size_t l = 0; l < count; ++l) {
        if (row[l] != usual_[l] && passed.count({l, row[l]}) == 0) questions.push_back(l);
      }
      if (questions.empty()) return accept(row, passed);
      for (size_t q = 0; q < questions.size(); ++q) {
        if (stopped()) return;
        const size_t l = questions[q], c = row[l];
        const auto answer = certificate(l, c, options, questions.size() - q);
        if (answer) result_.asked[lengths_[l]] = *answer;
        const bool faster = answer && answer->faster;
        if (faster) passed[{l, c}] = *answer;
        if (faster && ++asked[l] < most) continue;
        for (size_t other = 0; other < open.candidates.size(); ++other) {
          const bool keep = other == usual_[l] || passed.count({l, other}) > 0;
          if (!keep) open.seconds[other][l] = kNever;
        }
      }
    }
  }

  void accept(const std::vector<size_t>& row,
              const std::map<std::pair<size_t, size_t>, Certificate>& passed) {
    std::string keep;
    for (size_t l = 0; l < lengths_.size(); ++l) {
      if (row[l] != usual_[l]) {
        result_.certificates[lengths_[l]] = passed.at({l, row[l]});
      } else {
        keep += (keep.empty() ? "" : ", ") + std::to_string(lengths_[l]);
      }
    }
    if (result_.certificates.empty()) {
      result_.note = result_.note.empty()
                         ? "at no length do fresh samples show that a schedule is faster"
                         : result_.note;
      return;
    }
    if (!keep.empty()) result_.note = "calls of " + keep + " queries keep the default";
    result_.variants = variants_of(result_.chosen, result_.table);
    settle_variants(result_.variants, problem_.plan, problem_.machine);
    for (LengthVariant& variant : result_.variants) variant.schedule.origin = "record";
    result_.certified = true;
  }

  // Nothing when there is no time to ask, or when it fails.
  std::optional<Certificate> certificate(size_t l, size_t c, CertificateOptions options,
                                         size_t remaining) {
    const Schedule& schedule = result_.table.candidates[c];
    // A question that was answered is not asked again until the answer pleases.
    std::optional<Certificate> answer;
    for (const CertifiedSchedule& one : database_.certificates(subjects_[l])) {
      if (one.schedule.stages != schedule.stages) continue;
      if (!one.certificate.faster || one.certificate.error <= options.error * (1 + 1e-9)) {
        answer = one.certificate;
      }
    }
    if (answer) return answer;
    if (limited()) {
      const double fit = (left() - 2 * build_seconds()) / static_cast<double>(remaining) /
                         std::max(pair_seconds(l), 1e-6);
      if (fit < options.min_pairs) {
        result_.note = "no time was left to certify what was found";
        return std::nullopt;
      }
      options.max_pairs = static_cast<int>(std::min<double>(fit, options.max_pairs));
    }
    report(Progress::Phase::kCertifying, l);
    Lab& lab = *labs_[l];
    CertifiedSchedule certified{schedule, {}};
    certified.schedule.origin = "record";
    try {
      build({c, usual_[l]});
      for (const size_t one : {c, usual_[l]}) {
        const Built& built = programs_[one];
        if (built.outcome != Outcome::kMeasured) throw RunnerFailure(built.outcome, built.detail);
      }
      certified.certificate = certify(
          [&] { return lab.start(programs_[c], limit(l)); },
          [&] { return lab.start(programs_[usual_[l]], options_.tuner.first_limit); }, options);
    } catch (const RunnerFailure& failure) {
      result_.note = "at " + std::to_string(lengths_[l]) + " queries: " + failure.what();
      return std::nullopt;
    } catch (const std::runtime_error&) {
      if (stopped()) return std::nullopt;  // who ends it by a key may have ended the default
      throw;
    }
    Certificate& mine = certified.certificate;
    mine.machine = subjects_[l].machine;
    mine.generator = subjects_[l].generator;
    mine.space = subjects_[l].space;
    mine.time = clock_.time();
    database_.append(subjects_[l], certified);
    return mine;
  }

  const RangesProblem& problem_;
  Database& database_;
  const RangesOptions& options_;
  TunerEvents& events_;
  const TunerClock& clock_;
  const double began_;
  RangesResult result_;
  std::vector<LengthVariant> default_;
  // By length.
  std::vector<int64_t> lengths_;
  std::vector<std::unique_ptr<TimedLab>> labs_;
  std::vector<Subject> subjects_;
  std::vector<size_t> usual_;    // the row of the default
  std::vector<Built> programs_;  // by row; those that were needed
};

}  // namespace

std::vector<int64_t> tuned_lengths(const Plan& plan, const Machine& machine, int threads,
                                   size_t most) {
  std::vector<int64_t> lengths = sample_lengths(plan.query_length, most);
  const std::vector<LengthVariant> variants = default_variants(plan, machine, threads);
  const auto changes = [&](int64_t length) {
    return std::any_of(variants.begin(), variants.end(),
                       [&](const LengthVariant& v) { return v.max_query_length == length; });
  };
  for (const LengthVariant& variant : variants) {
    const int64_t to = variant.max_query_length;
    if (std::binary_search(lengths.begin(), lengths.end(), to)) continue;
    // The nearest one between the ends gives way; one that is such a length itself does not.
    auto nearest = lengths.end();
    double least = std::numeric_limits<double>::infinity();
    for (auto it = lengths.begin() + 1; it + 1 < lengths.end(); ++it) {
      if (changes(*it)) continue;
      const double distance =
          std::fabs(std::log(static_cast<double>(*it) / static_cast<double>(to)));
      if (distance < least) {
        least = distance;
        nearest = it;
      }
    }
    const double near = std::log(2.0);
    if (nearest != lengths.end() && least < near) {
      *nearest = to;
    } else {
      lengths.push_back(to);
    }
    std::sort(lengths.begin(), lengths.end());
  }
  return lengths;
}

RangesResult tune_ranges(const RangesProblem& problem, Database& database,
                         const RangesOptions& options, TunerEvents& events,
                         const TunerClock& clock) {
  if (options.tuner.budget_seconds <= 0 && options.tuner.trials <= 0) {
    throw std::invalid_argument("a search without end");
  }
  return RangeTuner(problem, database, options, events, clock).run();
}

}  // namespace mha
