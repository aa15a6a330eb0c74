#include "schedules/tuner/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <utility>

#include "schedules/tuner/report_svg.h"
#include "schedules/tuner/statistics.h"

namespace mha {
namespace {

constexpr char kHead[] = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>mha-tune</title>
<style>
:root { color-scheme: light dark; --ink: #1c1c1e; --paper: #fff; --faint: #d8d8dc; --soft: #6e6e73;
  --blue: #0a60c0; --red: #b8321a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --paper: #17171a; --faint: #3a3a3f;
  --soft: #a0a0a6; --blue: #6cb0ff; --red: #ff8a70; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.25; } h2 { border-top: 1px solid var(--faint); padding-top: 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.25rem; }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; vertical-align: top;
  border-bottom: 1px solid var(--faint); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: .9em; overflow-wrap: anywhere; } .soft { color: var(--soft); }
svg { width: 100%; max-width: 44rem; height: auto; font-size: 11px; }
svg text { fill: var(--soft); } svg .grid { stroke: var(--faint); }
svg .default { stroke: var(--red); stroke-dasharray: 4 3; }
svg .best { stroke: var(--blue); stroke-width: 1.75; fill: none; }
svg .trial { fill: var(--soft); opacity: .6; } svg .mark { fill: var(--red); }
</style>
</head>
<body>
<h1>mha-tune</h1>
)";

std::string code(const std::string& text) { return "<code>" + html_escaped(text) + "</code>"; }

std::string paragraph(const std::string& html) { return "<p>" + html + "</p>\n"; }

std::string row(const std::vector<std::string>& cells, const char* kind = "td") {
  std::string html = "<tr>";
  for (const std::string& cell : cells) {
    // Cells that begin like a number stand to the right.
    const bool number = !cell.empty() && (std::isdigit(static_cast<unsigned char>(cell[0])) != 0);
    html += fmt::format("<{0}{1}>{2}</{0}>", kind, number ? " class=\"n\"" : "", cell);
  }
  return html + "</tr>\n";
}

std::string gain(double log_gain) { return fmt::format("{:.3f}", std::exp(log_gain)); }

std::string between(double middle, double half_width) {
  return gain(middle) + " (" + gain(middle - half_width) + " to " + gain(middle + half_width) + ")";
}

bool by_autoscheduler(const Trial& trial) { return trial.candidate.starts_with("autoscheduler="); }

// "a=1 b=2" as pairs.
std::vector<std::pair<std::string, std::string>> parameters(const Trial& trial) {
  std::vector<std::pair<std::string, std::string>> values;
  std::istringstream words(trial.candidate);
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    if (equals != std::string::npos) {
      values.emplace_back(word.substr(0, equals), word.substr(equals + 1));
    }
  }
  return values;
}

using Trials = std::vector<const Trial*>;

// What each value of each parameter reached at best, and how much of the variance of the scores
// the parameter explains by itself (between its values, of all).
std::string parameters_html(const Trials& measured) {
  std::vector<std::string> order;
  std::map<std::string, std::map<std::string, std::vector<double>>> scores;
  double sum = 0, squares = 0, count = 0;
  for (const Trial* trial : measured) {
    if (by_autoscheduler(*trial) || !std::isfinite(trial->score)) continue;
    for (const auto& [name, value] : parameters(*trial)) {
      if (scores.count(name) == 0) order.push_back(name);
      scores[name][value].push_back(trial->score);
    }
    sum += trial->score;
    squares += trial->score * trial->score;
    ++count;
  }
  std::string rows;
  const double total = count > 0 ? squares - sum * sum / count : 0;
  for (const std::string& name : order) {
    if (scores[name].size() < 2) continue;
    // Shorter numbers first: 8 before 16.
    std::vector<std::pair<std::string, std::vector<double>>> values(scores[name].begin(),
                                                                    scores[name].end());
    std::stable_sort(values.begin(), values.end(),
                     [](const auto& a, const auto& b) { return a.first.size() < b.first.size(); });
    double explained = -sum * sum / count;
    std::string cells;
    for (const auto& [value, of_value] : values) {
      double of_this = 0;
      for (double score : of_value) of_this += score;
      explained += of_this * of_this / static_cast<double>(of_value.size());
      cells += (cells.empty() ? "" : ", ") + html_escaped(value) + ": " +
               gain(*std::max_element(of_value.begin(), of_value.end()));
    }
    rows +=
        row({code(name), total > 0 ? fmt::format("{:.0f} %", 100 * explained / total) : "", cells});
  }
  if (rows.empty()) return "";
  return "<h4>What each parameter matters</h4>\n<table>\n" +
         row({"parameter", "explains of the variance", "best gain with each value"}, "th") + rows +
         "</table>\n";
}

std::string rejected_html(const std::vector<const Trial*>& trials) {
  std::map<std::string, std::pair<int, std::string>> causes;
  for (const Trial* trial : trials) {
    if (trial->outcome == Outcome::kMeasured) continue;
    auto& [count, example] = causes[outcome_name(trial->outcome)];
    if (count++ == 0) example = trial->detail;
  }
  if (causes.empty()) return paragraph("No candidate was rejected.");
  std::string html = "<h4>Rejected</h4>\n<table>\n" + row({"cause", "count", "the first"}, "th");
  for (const auto& [cause, what] : causes) {
    html += row({cause, std::to_string(what.first), code(what.second)});
  }
  return html + "</table>\n";
}

std::string winner_html(Trials measured) {
  std::stable_sort(measured.begin(), measured.end(),
                   [](const Trial* a, const Trial* b) { return a->score > b->score; });
  const Trial& first = *measured[0];
  std::string html =
      paragraph("Best: " + code(first.candidate) + ", gain " + gain(first.score) + ", found by " +
                html_escaped(first.strategy) + fmt::format(" as trial {}.", first.index));
  if (measured.size() < 2) return html;
  const Trial& second = *measured[1];
  html += paragraph("Runner-up: " + code(second.candidate) + ", gain " + gain(second.score) + ".");
  html += "<table>\n" + row({"", "raced against", "gain over it (interval)", "rounds"}, "th");
  for (const Trial* trial : {&first, &second}) {
    html += row({trial == &first ? "best" : "runner-up", code(trial->against),
                 between(trial->log_gain, trial->half_width),
                 fmt::format("{} ({} repeated)", trial->seconds.size(), trial->disturbed)});
  }
  html += "</table>\n";
  const double apart = first.score - second.score;
  const double width = first.half_width + second.half_width;
  return html + paragraph(apart > width
                              ? "The runner-up lost clearly: their intervals do not meet."
                              : "The runner-up lost within the noise: their intervals meet, and "
                                "another search might have chosen it.");
}

std::string autoschedulers_html(const Trials& trials) {
  std::string rows;
  for (const Trial* trial : trials) {
    if (!by_autoscheduler(*trial)) continue;
    rows += row({code(trial->candidate.substr(14)),
                 trial->outcome == Outcome::kMeasured
                     ? between(trial->score, trial->half_width)
                     : std::string(outcome_name(trial->outcome)) + ": " + code(trial->detail)});
  }
  if (rows.empty()) return "";
  return "<h4>Halide's autoschedulers</h4>\n<table>\n" +
         row({"autoscheduler", "gain over the default"}, "th") + rows + "</table>\n";
}

std::string stage_html(const std::string& stage, const Trials& trials) {
  std::string html = "<h3>Stage " + code(stage) + "</h3>\n";
  Trials measured;
  std::vector<std::pair<double, double>> points;
  for (size_t i = 0; i < trials.size(); ++i) {
    const Trial* trial = trials[i];
    if (trial->outcome != Outcome::kMeasured || !std::isfinite(trial->score)) continue;
    measured.push_back(trial);
    // In the order of measuring: several searches may have begun at index 0.
    points.emplace_back(static_cast<double>(i), std::exp(trial->score));
  }
  html += paragraph(fmt::format("{} trials, {} of them measured.", trials.size(), measured.size()));
  if (!measured.empty()) {
    html += convergence_svg(points) + winner_html(measured) + parameters_html(measured);
  }
  return html + rejected_html(trials) + autoschedulers_html(trials);
}

std::string certificate_html(const ReportInput& input) {
  if (!input.certified) {
    return paragraph("No schedule was put to the test against the default.");
  }
  const Certificate& c = input.certified->certificate;
  std::string html = paragraph(
      "<strong>" + gain(c.log_gain) + " times as fast as the default</strong>, between " +
      gain(c.low) + " and " + gain(c.high) +
      fmt::format(" (error {:g} % at either end, margin {}): ", 100 * c.error, gain(c.margin)) +
      (c.faster ? "certified." : "not certified, the default stays."));
  html += "<table>\n" + row({"pair of processes", "default, ms", "tuned, ms", "gain"}, "th");
  for (size_t i = 0; i < c.pair_log_gains.size(); ++i) {
    const auto milliseconds = [&](const std::vector<double>& seconds) {
      return i < seconds.size() ? fmt::format("{:.4f}", 1e3 * seconds[i]) : std::string();
    };
    html += row({std::to_string(i + 1), milliseconds(c.default_seconds), milliseconds(c.seconds),
                 gain(c.pair_log_gains[i])});
  }
  html += "</table>\n<pre>" + html_escaped(input.certified->schedule.text()) + "</pre>\n";
  return html;
}

std::string roofline_html(const ReportInput& input) {
  if (!input.certified || input.flops <= 0 || input.bytes <= 0) return "";
  const Certificate& c = input.certified->certificate;
  std::vector<RooflinePoint> points;
  std::string rows;
  for (const auto& [name, samples] :
       {std::pair("default", &c.default_seconds), std::pair("tuned", &c.seconds)}) {
    if (samples->empty()) continue;
    const double seconds = median(*samples);
    if (seconds <= 0) continue;
    const double flops = input.flops / seconds, bytes = input.bytes / seconds;
    points.push_back({name, flops});
    const auto share = [](double part, double whole) {
      return whole > 0 ? fmt::format("{:.1f} %", 100 * part / whole) : std::string();
    };
    rows += row({name, fmt::format("{:.4f}", 1e3 * seconds), fmt::format("{:.1f}", flops / 1e9),
                 share(flops, input.peak_flops), fmt::format("{:.2f}", bytes / 1e9),
                 share(bytes, input.read_bytes)});
  }
  if (points.empty()) return "";
  std::string html = "<h3>Roofline</h3>\n<table>\n" +
                     row({"", "ms a call", "GFLOP/s", "of the FMA peak", "GB/s of operands",
                          "of the read bandwidth"},
                         "th") +
                     rows + "</table>\n";
  if (input.peak_flops > 0 && input.read_bytes > 0) {
    html += roofline_svg(input.flops / input.bytes, input.peak_flops, input.read_bytes, points);
  }
  return html;
}

std::string search_html(const ReportInput& input) {
  const Subject& s = input.subject;
  std::string html = "<h2>" + html_escaped(input.name) + "</h2>\n<table>\n";
  for (const auto& [name, value] : std::vector<std::pair<const char*, std::string>>{
           {"spec", s.spec},
           {"lengths", s.lengths},
           {"target", s.target},
           {"threads", std::to_string(s.threads)},
           {"machine", s.machine},
           {"generator", s.generator + ", schedule space " + s.space}}) {
    html += "<tr><th>" + std::string(name) + "</th><td>" + code(value) + "</td></tr>\n";
  }
  html += "</table>\n" + certificate_html(input) + roofline_html(input);
  std::vector<std::pair<std::string, Trials>> stages;  // in the order of their first trials
  for (const Trial& trial : input.trials) {
    auto place = std::find_if(stages.begin(), stages.end(),
                              [&](const auto& stage) { return stage.first == trial.stage; });
    if (place == stages.end()) place = stages.insert(stages.end(), {trial.stage, {}});
    place->second.push_back(&trial);
  }
  if (stages.empty()) html += paragraph("Nothing was tried.");
  for (const auto& [stage, trials] : stages) html += stage_html(stage, trials);
  return html;
}

}  // namespace

std::string report_html(const std::vector<ReportInput>& searches) {
  std::string html = kHead;
  html +=
      "<p class=\"soft\">Gains are how many times as fast as the analytic default; the dashed "
      "line is the default itself.</p>\n";
  for (const ReportInput& search : searches) html += search_html(search);
  return html + "</body>\n</html>\n";
}

}  // namespace mha
