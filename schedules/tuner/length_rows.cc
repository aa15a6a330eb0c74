#include "schedules/tuner/length_rows.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "generator/spec/error.h"
#include "schedules/tuner/statistics.h"

namespace mha {
namespace {

// Trials of whole calls: cells of the table.
constexpr char kCall[] = "call", kTable[] = "table";

// "attention: query_block=64 ...; project_out: ..."
std::string call_text(const Schedule& schedule) {
  std::string text;
  for (const StageSchedule& stage : schedule.stages) {
    text += (text.empty() ? "" : "; ") + stage.stage + ": " + candidate_text(stage);
  }
  return text;
}

}  // namespace

LengthRows::LengthRows(const RangesProblem& problem, LengthLabs& labs, Database& database,
                       const RangesOptions& options, RangeWatch& watch, const TunerClock& clock,
                       std::function<void(size_t l)> comparing)
    : problem_(problem),
      labs_(labs),
      database_(database),
      options_(options),
      watch_(watch),
      clock_(clock),
      comparing_(std::move(comparing)) {
  for (size_t l = 0; l < labs.size(); ++l) table_.lengths.push_back(labs.length(l));
}

size_t LengthRows::add(const Schedule& schedule) {
  std::vector<Schedule>& rows = table_.candidates;
  for (size_t c = 0; c < rows.size(); ++c) {
    if (rows[c].stages == schedule.stages) return c;
  }
  if (!check_schedule(schedule, problem_.plan, problem_.machine).empty()) return kNone;
  rows.push_back(schedule);
  return rows.size() - 1;
}

void LengthRows::add_joined(const Schedule& attention, const Schedule& projections) {
  if (packed_differences(attention, projections).empty()) return;
  Schedule joined = projections;
  for (StageSchedule& stage : joined.stages) {
    if (stage.stage == "attention") stage = attention.stage("attention");
  }
  add(joined);
}

// A trial of its own: seconds beside those of the default, in rounds.
std::optional<Trial> LengthRows::known(size_t c, size_t l) const {
  return database_.find(labs_.subject(l), kCall, call_text(schedule(c)));
}

std::string LengthRows::measure(double reserve) {
  std::string note;
  std::vector<size_t> wanted;  // rows that lack a cell
  for (size_t c = 0; c < size(); ++c) {
    bool all = true;
    for (size_t l = 0; l < labs_.size(); ++l) all = all && known(c, l);
    if (!all) wanted.push_back(c);
  }
  if (watch_.limited() && labs_.row_seconds() > 0) {
    const double time = watch_.left() - reserve;
    const size_t fit = static_cast<size_t>(std::max(time / labs_.row_seconds(), 0.0));
    if (wanted.size() > fit) {
      wanted.resize(fit);
      const size_t defaults = std::set<size_t>(usual_.begin(), usual_.end()).size();
      if (fit <= defaults) note = "no time was left to compare what was found";
    }
  }
  if (!wanted.empty()) comparing_(0);
  build(wanted);
  table_.seconds.assign(size(), std::vector<double>(labs_.size(), kNever));
  for (size_t l = 0; l < labs_.size() && !watch_.stopped(); ++l) {
    try {
      measure_at(l, wanted);
    } catch (const RunnerFailure& failure) {
      if (!watch_.stopped()) {
        throw SystemError(std::string("the default schedule fails: ") + failure.what());
      }
    }
    double usual = labs_.call_seconds(l);
    if (const auto trial = known(usual_[l], l); trial && !trial->seconds.empty()) {
      usual = median(trial->seconds);
    }
    if (usual <= 0) usual = 1;
    for (size_t c = 0; c < size(); ++c) {
      const auto trial = known(c, l);
      if (trial && trial->outcome == Outcome::kMeasured) {
        table_.seconds[c][l] = usual * std::exp(-trial->log_gain);
      }
    }
    table_.seconds[usual_[l]][l] = usual;
  }
  return note;
}

void LengthRows::build(const std::vector<size_t>& rows) {
  programs_.resize(size());
  std::vector<size_t> missing;
  std::vector<Candidate> candidates;
  for (const size_t c : rows) {
    if (!programs_[c].program.empty() || programs_[c].outcome != Outcome::kMeasured) continue;
    missing.push_back(c);
    candidates.push_back({schedule(c), ""});
  }
  if (missing.empty()) return;
  const std::vector<Built> built = labs_.lab(0).build(candidates);
  for (size_t i = 0; i < missing.size(); ++i) programs_[missing[i]] = built.at(i);
}

const Built& LengthRows::program(size_t c) {
  build({c});
  return programs_[c];
}

void LengthRows::discard() {
  for (const Built& program : programs_) labs_.lab(0).discard(program);
}

// Processes that take turns, one round after another, each beside the default.
void LengthRows::measure_at(size_t l, const std::vector<size_t>& wanted) {
  std::vector<size_t> rows;
  for (const size_t c : wanted) {
    if (!known(c, l)) rows.push_back(c);
  }
  if (rows.empty()) return;
  const double cost = labs_.cell_seconds(l) * static_cast<double>(rows.size() + 1);
  if (watch_.limited() && watch_.left() < cost) return;
  comparing_(l);
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
      runners[i] = labs_.lab(l).start(built, labs_.limit(l));
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
  if (watch_.stopped()) return;  // who ends it by a key may have ended the processes with it
  for (size_t i = 0; i < rows.size(); ++i) store(rows[i], l, trials[i]);
}

void LengthRows::store(size_t c, size_t l, Trial trial) {
  trial.stage = kCall;
  trial.candidate = call_text(schedule(c));
  trial.against = call_text(schedule(usual_[l]));
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
  database_.append(labs_.subject(l), trial);
}

std::unique_ptr<Runner> LengthRows::started_usual(size_t l) {
  const Built& built = program(usual_[l]);
  if (built.outcome != Outcome::kMeasured) throw RunnerFailure(built.outcome, built.detail);
  return labs_.lab(l).start(built, options_.tuner.first_limit);
}

}  // namespace mha
