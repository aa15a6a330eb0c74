#include "schedules/tuner/ranges.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "generator/spec/error.h"

namespace mha {

namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

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
        events_(events),
        clock_(clock),
        default_(default_variants(problem.plan, problem.machine,
                                  problem.subject(problem.plan.query_length.max).threads)) {}

  RangesResult run() {
    RangesResult result;
    result.variants = default_;
    result.table.lengths = sample_lengths(problem_.plan.query_length, options_.samples);
    for (const int64_t length : result.table.lengths) labs_.push_back(problem_.lab(length));
    search(result.table);
    if (events_.stop()) {
      result.note = "stopped before the schedules were compared";
      return result;
    }
    measure(result.table);
    result.chosen = choose_ranges(result.table, {.most = kMaxVariants, .slack = options_.slack});
    if (result.chosen.ranges.empty()) {
      result.note = "no few schedules run at every length";
      return result;
    }
    const std::vector<LengthVariant> variants = variants_of(result.chosen, result.table);
    certify_all(variants, result);
    return result;
  }

 private:
  void add(std::vector<Schedule>& candidates, const Schedule& schedule) const {
    const auto same = [&](const Schedule& s) { return s.stages == schedule.stages; };
    if (std::any_of(candidates.begin(), candidates.end(), same)) return;
    if (!check_schedule(schedule, problem_.plan, problem_.machine).empty()) return;
    candidates.push_back(schedule);
  }

  // The defaults, and the best of each length.
  void search(LengthTable& table) {
    for (const LengthVariant& variant : default_) add(table.candidates, variant.schedule);
    const int64_t count = static_cast<int64_t>(table.lengths.size());
    std::vector<Schedule> seeds = problem_.seeds;
    for (const LengthVariant& variant : default_) seeds.push_back(variant.schedule);
    for (size_t i = 0; i < table.lengths.size() && !events_.stop(); ++i) {
      TunerOptions share = options_.tuner;
      share.budget_seconds *= options_.share / static_cast<double>(count);
      if (share.trials > 0) share.trials = std::max<int64_t>(share.trials / count, 1);
      const TunerProblem problem{problem_.plan, problem_.machine,
                                 problem_.subject(table.lengths[i]), seeds};
      const TunerResult found = tune(problem, *labs_[i], database_, share, events_, clock_);
      add(table.candidates, found.best);
      seeds.push_back(found.best);
    }
  }

  // Every candidate at every length: processes that take turns.
  void measure(LengthTable& table) {
    const double never = std::numeric_limits<double>::infinity();
    table.seconds.assign(table.candidates.size(), std::vector<double>(table.lengths.size(), never));
    std::vector<Candidate> candidates;
    for (const Schedule& schedule : table.candidates) candidates.push_back({schedule, ""});
    for (size_t l = 0; l < table.lengths.size(); ++l) {
      const std::vector<Built> built = labs_[l]->build(candidates);
      std::vector<std::unique_ptr<Runner>> runners;
      for (const Built& one : built) runners.push_back(started(l, one));
      std::vector<std::vector<double>> times(candidates.size());
      for (int round = 0; round < options_.rounds; ++round) {
        for (size_t c = 0; c < runners.size(); ++c) {
          if (!runners[c]) continue;
          try {
            times[c].push_back(runners[c]->whole(options_.tuner.race.slice_seconds).seconds.at(0));
          } catch (const RunnerFailure&) {
            runners[c].reset();
          }
        }
      }
      for (size_t c = 0; c < runners.size(); ++c) {
        if (runners[c] && !times[c].empty()) table.seconds[c][l] = median(times[c]);
        labs_[l]->discard(built[c]);
      }
    }
  }

  std::unique_ptr<Runner> started(size_t length, const Built& built) {
    if (built.outcome != Outcome::kMeasured) return nullptr;
    try {
      return labs_[length]->start(built, options_.tuner.first_limit);
    } catch (const RunnerFailure&) {
      return nullptr;
    }
  }

  void certify_all(const std::vector<LengthVariant>& variants, RangesResult& result) {
    CertificateOptions options = options_.tuner.certificate;
    options.error /= static_cast<double>(result.table.lengths.size());
    bool faster = false;
    for (size_t l = 0; l < result.table.lengths.size(); ++l) {
      const int64_t length = result.table.lengths[l];
      const Schedule& chosen = schedule_at(variants, length);
      const Schedule& usual = schedule_at(default_, length);
      if (chosen.stages == usual.stages) continue;
      Certificate certificate;
      try {
        certificate = certified(l, chosen, usual, options);
      } catch (const RunnerFailure& failure) {
        result.note = "at " + std::to_string(length) + " queries: " + failure.what();
        return;
      }
      const Subject subject = problem_.subject(length);
      certificate.machine = subject.machine;
      certificate.generator = subject.generator;
      certificate.space = subject.space;
      certificate.time = clock_.time();
      result.certified_lengths.push_back(length);
      result.certificates.push_back(certificate);
      faster = faster || certificate.faster;
      if (certificate.low <= -options_.slower) {
        result.note = "at " + std::to_string(length) +
                      " queries fresh samples do not exclude that it is slower than the default";
        return;
      }
    }
    if (!faster) {
      result.note = "at no length do fresh samples show that it is faster than the default";
      return;
    }
    result.variants = variants;
    for (LengthVariant& variant : result.variants) variant.schedule.origin = "record";
    result.certified = true;
  }

  Certificate certified(size_t l, const Schedule& chosen, const Schedule& usual,
                        const CertificateOptions& options) {
    Lab& lab = *labs_[l];
    const std::vector<Built> built = lab.build({Candidate{chosen, ""}, Candidate{usual, ""}});
    const double limit = options_.tuner.first_limit;
    const auto discard = [&] {
      for (const Built& one : built) lab.discard(one);
    };
    try {
      for (const Built& one : built) {
        if (one.outcome != Outcome::kMeasured) throw RunnerFailure(one.outcome, one.detail);
      }
      const Certificate certificate = certify([&] { return lab.start(built[0], limit); },
                                              [&] { return lab.start(built[1], limit); }, options);
      discard();
      return certificate;
    } catch (...) {
      discard();
      throw;
    }
  }

  const RangesProblem& problem_;
  Database& database_;
  const RangesOptions& options_;
  TunerEvents& events_;
  const TunerClock& clock_;
  const std::vector<LengthVariant> default_;
  std::vector<std::unique_ptr<Lab>> labs_;  // one a length
};

}  // namespace

RangesResult tune_ranges(const RangesProblem& problem, Database& database,
                         const RangesOptions& options, TunerEvents& events,
                         const TunerClock& clock) {
  return RangeTuner(problem, database, options, events, clock).run();
}

}  // namespace mha
