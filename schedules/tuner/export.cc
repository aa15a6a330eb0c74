#include "schedules/tuner/export.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "generator/spec/error.h"
#include "schedules/record.h"

namespace mha {
namespace {

std::string described(const std::string& key, int64_t threads) {
  return "'" + key + "' for " + std::to_string(threads) + (threads == 1 ? " thread" : " threads");
}

std::vector<double> gains(const std::vector<double>& log_gains) {
  std::vector<double> values;
  for (double log_gain : log_gains) values.push_back(std::exp(log_gain));
  return values;
}

// How long a call is: the product of the numbers of "B=1 Lq=512 Lk=512".
double size_of(const std::string& lengths) {
  double size = 1;
  for (size_t at = 0; (at = lengths.find('=', at)) != std::string::npos; ++at) {
    size *= std::atof(lengths.c_str() + at + 1);
  }
  return size;
}

std::string whole_lines(std::string text) {
  if (!text.empty() && text.back() != '\n') text += '\n';
  return text;
}

// How far the list items of a file are indented, seen from one of them.
size_t indent_of(const std::string& item) {
  size_t begin = 0;
  for (;;) {
    const size_t first = item.find_first_not_of(' ', begin);
    if (item[first] == '-') return first - begin;
    begin = item.find('\n', begin) + 1;
  }
}

// record_text() indents by two.
std::string indented(const std::string& text, size_t indent) {
  std::string result;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin) + 1;
    result += std::string(indent, ' ') + text.substr(begin + 2, end - begin - 2);
    begin = end;
  }
  return result;
}

// The comments that a file without records begins with.
std::string leading_comments(const std::string& text) {
  size_t end = 0;
  while (end < text.size() && (text[end] == '#' || text[end] == '\n')) {
    const size_t newline = text.find('\n', end);
    end = newline == std::string::npos ? text.size() : newline + 1;
  }
  return whole_lines(text.substr(0, end));
}

}  // namespace

Schedule record_schedule(const Subject& subject, const CertifiedSchedule& certified,
                         const std::string& machine) {
  const Certificate& from = certified.certificate;
  if (subject.machine != machine) {
    throw UserError("the schedule of " + described(subject.spec, subject.threads) +
                    " was measured on another machine: " + subject.machine + " (not " + machine +
                    ")");
  }
  if (!from.faster) {
    throw UserError("the schedule of " + described(subject.spec, subject.threads) +
                    " is not certified to be faster than the default");
  }
  Schedule schedule = certified.schedule;
  RecordCertificate& to = schedule.certificate.emplace();
  to.gain = std::exp(from.log_gain);
  to.low = std::exp(from.low);
  to.high = std::exp(from.high);
  to.margin = std::exp(from.margin);
  to.error = from.error;
  to.pair_gains = gains(from.pair_log_gains);
  to.seconds = from.seconds;
  to.default_seconds = from.default_seconds;
  to.disturbed = from.disturbed;
  // What the subject says is what the rows were found by.
  to.lengths = subject.lengths;
  to.machine = subject.machine;
  to.generator = subject.generator;
  to.space = subject.space;
  to.time = from.time;
  return schedule;
}

NewRecord new_record(const Subject& subject, const CertifiedSchedule& certified,
                     const std::string& machine) {
  return {subject.spec, subject.threads,
          record_text(subject.spec, record_schedule(subject, certified, machine), subject.threads)};
}

NewRecord new_record(const Subject& longest, const CertifiedVariants& certified,
                     const std::string& machine) {
  Subject measured = longest;
  measured.lengths = certified.lengths;
  const Schedule record = record_schedule(
      measured, {certified.variants.front().schedule, certified.certificate}, machine);
  std::vector<LengthVariant> variants = certified.variants;
  for (LengthVariant& variant : variants) variant.schedule.certificate = record.certificate;
  return {longest.spec, longest.threads, record_text(longest.spec, variants, longest.threads)};
}

Exported merge_records(const std::string& path, const std::string& existing,
                       const std::vector<NewRecord>& records, const ExportOptions& options) {
  using Key = std::pair<std::string, int64_t>;
  Exported exported;
  std::map<Key, std::string> texts;
  std::map<Key, std::string> machines;  // of those that are in the file
  std::string head = records_head(options.target);
  size_t indent = 2;
  if (!existing.empty()) {
    const std::vector<RecordPlace> places = record_places(path, existing, options.target);
    head = places.empty() ? leading_comments(existing) + head
                          : existing.substr(0, places.front().begin);
    for (const RecordPlace& place : places) {
      const Key key{place.key, place.threads};
      texts[key] = whole_lines(existing.substr(place.begin, place.end - place.begin));
      machines[key] = place.machine;
    }
    if (!texts.empty()) indent = indent_of(texts.begin()->second);
  }
  for (const NewRecord& record : records) {
    const Key key{record.key, record.threads};
    const std::string text = indented(record.text, indent);
    const auto old = machines.find(key);
    if (old == machines.end()) {
      ++exported.added;
    } else if (old->second.empty()) {
      exported.kept.push_back(path + ": the record of " + described(record.key, record.threads) +
                              " was written by hand and stays; delete it to use the tuned one");
      continue;
    } else if (old->second != options.machine && !options.over_others) {
      exported.kept.push_back(path + ": the record of " + described(record.key, record.threads) +
                              " of another machine stays: " + old->second);
      continue;
    } else if (texts[key] != text) {
      ++exported.replaced;
    }
    texts[key] = text;
  }
  exported.text = head;
  for (const auto& [key, text] : texts) exported.text += text;
  if (texts.empty()) exported.text += "  []\n";
  // What was cut out of a file by lines must read as what it was.
  std::set<Key> found;
  for (const RecordPlace& place : record_places(path, exported.text, options.target)) {
    found.emplace(place.key, place.threads);
  }
  if (found.size() != texts.size()) {
    throw UserError(path +
                    ": its records cannot be taken apart; write each as a list item `- key: "
                    "...` on lines of its own");
  }
  return exported;
}

std::vector<NewRecord> certified_records(const Database& database, const std::string& target,
                                         const std::string& machine, const std::string& generator,
                                         const std::string& space) {
  struct Choice {
    double rank = 0;  // how long the calls are, or when they were chosen
    std::string time;
    NewRecord record;
  };
  std::map<std::pair<std::string, int>, Choice> choices;
  std::set<std::string> others;
  for (const Subject& subject : database.subjects()) {
    if (subject.target != target || subject.generator != generator || subject.space != space) {
      continue;
    }
    // Of a range of lengths what was chosen together counts, not what is good at one of them.
    const bool range = subject.spec.find("..") != std::string::npos;
    const auto variants = range ? database.variants(subject) : std::nullopt;
    const auto best = range ? std::nullopt : database.best(subject);
    if (!variants && !best) continue;
    if (subject.machine != machine) {
      others.insert(subject.machine);
      continue;
    }
    Choice choice;
    if (variants) {
      choice = {0, variants->certificate.time, new_record(subject, *variants, machine)};
    } else {
      choice = {size_of(subject.lengths), "", new_record(subject, *best, machine)};
    }
    const auto [place, added] = choices.try_emplace({subject.spec, subject.threads}, choice);
    const Choice& other = place->second;
    if (!added && std::tie(other.rank, other.time) < std::tie(choice.rank, choice.time)) {
      place->second = choice;
    }
  }
  if (choices.empty() && !others.empty()) {
    std::string names;
    for (const std::string& other : others) names += "\n  " + other;
    throw UserError("the database holds no certified schedule of this machine (" + machine +
                    ") for " + target + "; it holds some of:" + names);
  }
  std::vector<NewRecord> records;
  for (const auto& [key, choice] : choices) records.push_back(choice.record);
  return records;
}

}  // namespace mha
