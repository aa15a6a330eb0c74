#include "tools/mha-tune/range.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "schedules/space.h"
#include "schedules/tuner/export.h"
#include "schedules/tuner/process_lab.h"
#include "schedules/tuner/ranges.h"
#include "tools/mha-tune/entry.h"
#include "tools/mha-tune/progress.h"
#include "tools/mha-tune/workload.h"

namespace mha {
namespace {

class RangeJob {
 public:
  RangeJob(const TuneJob& job, const TuneOptions& options) : job_(job), options_(options) {
    longest_ = make_lab(job.spec.query_length.max);
    machine_ = longest_->machine();
  }

  std::unique_ptr<Lab> lab(int64_t length) {
    if (length == job_.spec.query_length.max && longest_) return std::move(longest_);
    return make_lab(length);
  }

  Subject subject(int64_t length) const {
    Subject subject = subject_of(job_, options_, machine_);
    subject.lengths = lengths_text(job_.spec, lengths_at(job_.spec, length), options_.seed);
    return subject;
  }

 private:
  std::unique_ptr<ProcessLab> make_lab(int64_t length) const {
    LabOptions lab;
    lab.remote = options_.remote;
    return std::make_unique<ProcessLab>(
        job_.spec, stage_names(job_.generation.plan), job_.generate,
        make_workload(job_.spec, lengths_at(job_.spec, length), options_.threads, options_.seed),
        lab);
  }

  const TuneJob& job_;
  const TuneOptions& options_;
  std::unique_ptr<ProcessLab> longest_;
  std::string machine_;
};

// Of those that count, the one that promises least: a record has one.
int64_t least_gain(const std::map<int64_t, Certificate>& certificates) {
  return std::min_element(certificates.begin(), certificates.end(),
                          [](const auto& a, const auto& b) { return a.second.low < b.second.low; })
      ->first;
}

nlohmann::ordered_json range_json(const RangesResult& result) {
  nlohmann::ordered_json json;
  json["variants"] = nlohmann::ordered_json::array();
  for (const LengthVariant& variant : result.variants) {
    nlohmann::ordered_json entry = {{"to", variant.max_query_length}};
    entry.update(schedule_json(variant.schedule));
    json["variants"].push_back(entry);
  }
  json["sampled"] = nlohmann::ordered_json::array();
  for (const int64_t length : result.table.lengths) {
    nlohmann::ordered_json entry = {{"query_length", length}, {"trials", 0}, {"gain", nullptr}};
    const auto search = result.searches.find(length);
    if (search != result.searches.end()) {
      entry["trials"] = search->second.progress.trials;
      entry["gain"] = std::exp(search->second.progress.log_gain);  // of its own best, roughly
    }
    const auto asked = result.asked.find(length);
    entry["certificate"] = nullptr;
    if (asked != result.asked.end()) entry["certificate"] = certificate_json(asked->second);
    entry["default"] = result.certificates.count(length) == 0;
    json["sampled"].push_back(entry);
  }
  return json;
}

}  // namespace

nlohmann::ordered_json tune_range(const TuneJob& job, const TuneOptions& options,
                                  Database& database, Console& console,
                                  std::vector<ReportInput>* reports) {
  const TunerClock clock = system_clock();
  const double began = clock.now();
  const Plan& plan = job.generation.plan;
  const Machine& machine = job.generation.machine;
  const std::string what = job_text(job, options);
  console.note(what + ": computing the references");
  RangeJob range(job, options);
  const Subject longest = range.subject(plan.query_length.max);
  const RangesProblem problem{plan, machine, [&](int64_t length) { return range.lab(length); },
                              [&](int64_t length) { return range.subject(length); },
                              seeds_of(longest, database)};
  RangesOptions tuning;
  tuning.tuner = tuner_options(options, clock.now() - began);
  tuning.most = static_cast<size_t>(options.max_variants);
  RangesResult result;
  {
    ProgressLine line(console, what);
    result = tune_ranges(problem, database, tuning, line, clock);
  }

  const double seconds = clock.now() - began;
  const auto search = result.searches.find(plan.query_length.max);
  nlohmann::ordered_json json = entry_head(
      job, options, longest, result.progress, seconds,
      search == result.searches.end() ? std::map<std::string, double>{} : search->second.scores);
  json["certificate"] = nullptr;
  json["schedule"] = schedule_json(result.variants.back().schedule);
  json.update(range_json(result));
  add_ending(json, result.note, result.stopped);

  std::string winner;
  if (result.certified) {
    const int64_t least = least_gain(result.certificates);
    const Certificate& certificate = result.certificates.at(least);
    json["certificate"] = certificate_json(certificate);
    // A record has one certificate, that of the least gain.
    const CertifiedVariants chosen{result.variants, range.subject(least).lengths, certificate};
    database.append(longest, chosen);
    write_winner(job, longest, new_record(longest, chosen, longest.machine).text, console, json);
    for (const auto& [length, one] : result.certificates) {
      winner += "  at " + std::to_string(length) + (length == 1 ? " query " : " queries ") +
                console.paint("32", gain_text(one.log_gain)) + " than the default (at least " +
                gain_text(one.low) + ", " + std::to_string(one.pair_log_gains.size()) +
                " pairs of processes)\n";
    }
    winner += "  " + std::to_string(chosen.variants.size()) +
              (chosen.variants.size() == 1 ? " variant: " : " variants: ") + job.record + "\n";
    if (!result.note.empty()) winner += "  " + result.note + "\n";
  }
  print_summary(job, options, result.progress, seconds, winner, result.note, result.stopped,
                console);
  if (reports != nullptr) {
    for (const auto& [length, one] : result.searches) {
      TunerResult shown = one;
      const auto counts = result.certificates.find(length);
      if (counts != result.certificates.end()) {
        for (const LengthVariant& variant : result.variants) {
          if (shown.certified || length > variant.max_query_length) continue;
          shown.certified = CertifiedSchedule{variant.schedule, counts->second};
        }
      }
      reports->push_back(
          report_input(job, options, range.subject(length), database, shown, length));
    }
  }
  return json;
}

}  // namespace mha
