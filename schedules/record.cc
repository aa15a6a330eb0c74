// Records are read here; record_text.cc writes them.
#include "schedules/record.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

#include "generator/spec/error.h"
#include "schedules/space.h"

namespace mha {

namespace {

constexpr size_t kMaxBytes = 16 << 20;

// Reads one file. The first problem ends it, as UserError "FILE:LINE:COLUMN: error: ..." with the
// line and a caret.
class Reader {
 public:
  Reader(std::string path, std::string text) : path_(std::move(path)), text_(std::move(text)) {}

  std::optional<std::vector<LengthVariant>> find(const Plan& plan, const Machine& machine,
                                                 int threads) {
    const std::string key = plan_key(plan);
    std::optional<std::vector<LengthVariant>> found;
    each(machine.target, [&](const Record& record, const YAML::Node& node) {
      if (record.key == key && record.threads == threads) {
        found = checked(record, node, plan, machine);
        // A certificate speaks for the calls that were timed: without variants, the longest.
        if (record.certificate && !record.variants.front().to) {
          found = for_longest(found->front().schedule, plan, machine, threads);
        }
      }
    });
    return found;
  }

  std::vector<RecordPlace> places(const std::string& target) {
    std::vector<RecordPlace> places;
    int last_line = 0;
    each(target, [&](const Record& record, const YAML::Node& node) {
      const int line = node.Mark().line;
      const size_t begin = line_begin(line);
      const std::string indent = text_.substr(begin, node.Mark().column);
      if (indent.find_first_not_of(" -") != std::string::npos || line <= last_line) {
        fail(node, "only records that begin a line of their own (`- key: ...`) can be replaced");
      }
      last_line = line;
      places.push_back({record.key, record.threads,
                        record.certificate ? record.certificate->machine : "", with_comments(begin),
                        text_.size()});
    });
    for (size_t i = 1; i < places.size(); ++i) places[i - 1].end = places[i].begin;
    return places;
  }

 private:
  using Fields = std::map<std::string, YAML::Node>;

  struct Stages {
    std::optional<int64_t> to;  // absent: all lengths
    YAML::Node to_place;
    Schedule schedule;
    // Of "stage" and "stage.param".
    std::map<std::string, YAML::Node> places;
  };
  struct Record {
    std::string key;
    int64_t threads = 0;
    std::optional<RecordCertificate> certificate;
    std::vector<Stages> variants;
  };

  // Calls `read` for each record of the file, which must be one of this target.
  template <typename Read>
  void each(const std::string& expected, const Read& read) {
    const Fields root = fields(document(), "a file of records", {"version", "target", "records"});
    if (integer(root.at("version"), "version") != 1) {
      fail(root.at("version"), "version is " + scalar(root.at("version"), "version") +
                                   ": this generator reads version 1");
    }
    const std::string target = scalar(root.at("target"), "target");
    if (target != expected) {
      fail(root.at("target"),
           "the target is " + target + ": " + path_ + " must hold records of " + expected);
    }
    if (!root.at("records").IsSequence()) fail(root.at("records"), "records must be a list");
    std::set<std::pair<std::string, int64_t>> seen;
    for (const YAML::Node& node : root.at("records")) {
      const Record record = read_record(node);
      if (!seen.emplace(record.key, record.threads).second) {
        fail(node, "a second record of this key for " + std::to_string(record.threads) +
                       (record.threads == 1 ? " thread" : " threads"));
      }
      read(record, node);
    }
  }

  size_t line_begin(int line) const {
    size_t at = 0;
    for (; line > 0; --line) at = text_.find('\n', at) + 1;
    return at;
  }

  // The beginning of the comments and empty lines that stand above a line.
  size_t with_comments(size_t begin) const {
    while (begin > 0) {
      const size_t end_before = begin - 1;  // of the newline
      const size_t newline =
          end_before == 0 ? std::string::npos : text_.rfind('\n', end_before - 1);
      const size_t line = newline == std::string::npos ? 0 : newline + 1;
      const size_t first = text_.find_first_not_of(' ', line);
      if (text_[first] != '#' && text_[first] != '\n') break;
      begin = line;
    }
    return begin;
  }

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& message) const {
    throw UserError(report(mark, message));
  }
  [[noreturn]] void fail(const YAML::Node& node, const std::string& message) const {
    fail(node.Mark(), message);
  }

  std::string report(const YAML::Mark& mark, const std::string& message) const {
    if (mark.is_null()) return path_ + ":1:1: error: " + message;
    std::istringstream lines(text_);
    std::string line;
    for (int i = 0; i <= mark.line; ++i) {
      if (!std::getline(lines, line)) line.clear();
    }
    for (char& c : line) {
      if (static_cast<unsigned char>(c) < ' ') c = ' ';
    }
    return path_ + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1) +
           ": error: " + message + "\n  " + line + "\n  " + std::string(mark.column, ' ') + "^";
  }

  YAML::Node document() const {
    std::vector<YAML::Node> documents;
    try {
      documents = YAML::LoadAll(text_);
    } catch (const YAML::Exception& error) {
      fail(error.mark, "not valid YAML: " + error.msg);
    }
    if (documents.empty()) fail(YAML::Mark::null_mark(), "the file is empty");
    if (documents.size() > 1) fail(documents[1], "a second YAML document");
    return documents[0];
  }

  // The fields of a map that has all of these keys, once each, perhaps the optional ones, and no
  // other.
  Fields fields(const YAML::Node& node, const std::string& what,
                const std::vector<std::string>& names,
                const std::vector<std::string>& optional = {}) const {
    const Fields given = any_fields(node, what);
    for (const auto& entry : node) {
      const std::string name = entry.first.Scalar();
      const auto in = [&](const std::vector<std::string>& list) {
        return std::find(list.begin(), list.end(), name) != list.end();
      };
      if (!in(names) && !in(optional)) {
        fail(entry.first, "unknown key " + name + " in " + what);
      }
    }
    for (const std::string& name : names) {
      if (!given.count(name)) fail(node, what + " needs the key " + name);
    }
    return given;
  }

  Fields any_fields(const YAML::Node& node, const std::string& what) const {
    if (!node.IsMap()) fail(node, what + " must be a map of keys to values");
    Fields given;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) fail(entry.first, "a key must be a plain word");
      if (!given.emplace(entry.first.Scalar(), entry.second).second) {
        fail(entry.first, "key " + entry.first.Scalar() + " is given twice");
      }
    }
    return given;
  }

  std::string scalar(const YAML::Node& node, const std::string& what) const {
    if (!node.IsScalar()) fail(node, what + " must be a single value");
    return node.Scalar();
  }

  int64_t integer(const YAML::Node& node, const std::string& what) const {
    const std::string text = scalar(node, what);
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      fail(node, what + " must be an integer");
    }
    return value;
  }

  // A number that can be measured: more than nothing, and no infinity.
  double positive(const YAML::Node& node, const std::string& what) const {
    const std::string text = scalar(node, what);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) ||
        value <= 0) {
      fail(node, what + " must be a number above 0");
    }
    return value;
  }

  std::vector<double> positives(const YAML::Node& node, const std::string& what) const {
    if (!node.IsSequence()) fail(node, what + " must be a list of numbers");
    std::vector<double> values;
    for (const YAML::Node& value : node) values.push_back(positive(value, "each of " + what));
    return values;
  }

  std::string line(const YAML::Node& node, const std::string& what) const {
    const std::string text = scalar(node, what);
    const auto plain = [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; };
    if (text.empty() || !std::all_of(text.begin(), text.end(), plain)) {
      fail(node, what + " must be one line of plain text");
    }
    return text;
  }

  RecordCertificate read_certificate(const YAML::Node& node) const {
    const Fields given = fields(
        node, "a certificate",
        {"gain", "low", "high", "margin", "error", "pair_gains", "seconds", "default_seconds",
         "disturbed", "lengths", "machine", "generator", "space", "time"});
    RecordCertificate c;
    for (const auto& [name, value] :
         {std::pair("gain", &c.gain), std::pair("low", &c.low), std::pair("high", &c.high),
          std::pair("margin", &c.margin), std::pair("error", &c.error)}) {
      *value = positive(given.at(name), name);
    }
    if (!(c.low <= c.gain && c.gain <= c.high)) {
      fail(given.at("gain"), "gain must lie between low and high");
    }
    if (c.low <= c.margin) {
      fail(given.at("low"), "low must be above margin: this would certify nothing");
    }
    if (c.error >= 1) fail(given.at("error"), "error must be below 1");
    for (const auto& [name, values] :
         {std::pair("pair_gains", &c.pair_gains), std::pair("seconds", &c.seconds),
          std::pair("default_seconds", &c.default_seconds)}) {
      *values = positives(given.at(name), name);
    }
    const int64_t disturbed = integer(given.at("disturbed"), "disturbed");
    if (disturbed < 0 || disturbed > 1'000'000) {
      fail(given.at("disturbed"), "disturbed must be a count");
    }
    c.disturbed = static_cast<int>(disturbed);
    for (const auto& [name, text] :
         {std::pair("lengths", &c.lengths), std::pair("machine", &c.machine),
          std::pair("generator", &c.generator), std::pair("space", &c.space),
          std::pair("time", &c.time)}) {
      *text = line(given.at(name), name);
    }
    return c;
  }

  Record read_record(const YAML::Node& node) const {
    const bool several = node.IsMap() && node["variants"].IsDefined();
    const Fields given = fields(
        node, "a record", {"key", "threads", several ? "variants" : "stages"}, {"certificate"});
    Record record;
    record.key = scalar(given.at("key"), "key");
    record.threads = integer(given.at("threads"), "threads");
    if (record.threads < 1) fail(given.at("threads"), "threads must be at least 1");
    if (given.count("certificate")) record.certificate = read_certificate(given.at("certificate"));
    if (several) {
      record.variants = read_variants(given.at("variants"));
    } else {
      record.variants.push_back(read_stages(given.at("stages")));
    }
    for (Stages& stages : record.variants) {
      stages.schedule.origin = "record";
      stages.schedule.file = path_;
      stages.schedule.certificate = record.certificate;
    }
    return record;
  }

  std::vector<Stages> read_variants(const YAML::Node& list) const {
    if (!list.IsSequence() || list.size() == 0) {
      fail(list, "variants must be a list of at least one");
    }
    std::vector<Stages> variants;
    for (const YAML::Node& node : list) {
      const Fields given = fields(node, "a variant", {"to", "stages"});
      if (variants.size() == kMaxVariants) {
        fail(node, "a record has at most " + std::to_string(kMaxVariants) + " variants");
      }
      Stages stages = read_stages(given.at("stages"));
      stages.to_place = given.at("to");
      stages.to = integer(stages.to_place, "to");
      if (!variants.empty() && *stages.to <= *variants.back().to) {
        fail(stages.to_place, "to is " + std::to_string(*stages.to) +
                                  ": variants must ascend, and the one before goes to " +
                                  std::to_string(*variants.back().to));
      }
      variants.push_back(std::move(stages));
    }
    return variants;
  }

  Stages read_stages(const YAML::Node& node) const {
    Stages stages;
    any_fields(node, "stages");
    for (const auto& entry : node) {
      const std::string stage = entry.first.Scalar();
      stages.places.emplace(stage, entry.first);
      stages.schedule.stages.push_back(read_stage(stage, entry.second, &stages.places));
    }
    return stages;
  }

  // Parameters stand in the order of stage_space(), whatever their order in the file; those that it
  // does not know come last, for check_schedule() to refuse.
  StageSchedule read_stage(const std::string& name, const YAML::Node& node,
                           std::map<std::string, YAML::Node>* places) const {
    StageSchedule stage{name, {}};
    const Fields given = any_fields(node, "stage " + name);
    for (const auto& entry : node) {
      const std::string param = entry.first.Scalar();
      stage.params.emplace_back(param, integer(given.at(param), name + "." + param));
      places->emplace(name + "." + param, entry.second);
    }
    const std::vector<ParamInfo>& space = stage_space(name);
    for (const ParamInfo& info : space) {
      const bool there = std::any_of(stage.params.begin(), stage.params.end(),
                                     [&](const auto& param) { return param.first == info.name; });
      if (!there && info.neutral) stage.params.emplace_back(info.name, *info.neutral);
    }
    const auto rank = [&](const std::pair<std::string, int64_t>& param) {
      return std::find_if(space.begin(), space.end(),
                          [&](const ParamInfo& info) { return info.name == param.first; }) -
             space.begin();
    };
    std::stable_sort(stage.params.begin(), stage.params.end(),
                     [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    return stage;
  }

  // `before` is the largest length that the variants before this one serve.
  void check_to(const Stages& stages, bool last, int64_t before, const Plan& plan) const {
    if (!stages.to) return;
    const Range& lengths = plan.query_length;
    const std::string is = "to is " + std::to_string(*stages.to);
    if (last && *stages.to != lengths.max) {
      fail(stages.to_place, is + ": the last variant must go to the largest query_length, " +
                                std::to_string(lengths.max));
    }
    if (*stages.to <= before || *stages.to > lengths.max) {
      fail(stages.to_place, is + ": query_length goes from " + std::to_string(lengths.min) +
                                " to " + std::to_string(lengths.max));
    }
  }

  std::vector<LengthVariant> checked(const Record& record, const YAML::Node& node, const Plan& plan,
                                     const Machine& machine) const {
    std::vector<LengthVariant> variants;
    std::string messages;
    bool older = record.certificate && record.certificate->space != space_signature();
    int64_t before = plan.query_length.min - 1;
    for (const Stages& stages : record.variants) {
      check_to(stages, &stages == &record.variants.back(), before, plan);
      const int64_t to = stages.to.value_or(plan.query_length.max);
      const Plan own = narrowed(plan, {before + 1, to});
      std::vector<std::string> problems = check_schedule(stages.schedule, own, machine);
      const std::vector<std::string> packed =
          packed_differences(record.variants.front().schedule, stages.schedule);
      problems.insert(problems.end(), packed.begin(), packed.end());
      for (const std::string& problem : problems) {
        older = older || problem.ends_with(" is missing");
        // A problem starts with what it is about: "stage.param" or "stage".
        const std::string subject = problem.substr(0, problem.find(' '));
        auto place = stages.places.find(subject);
        if (place == stages.places.end()) {
          place = stages.places.find(subject.substr(0, subject.find('.')));
        }
        const YAML::Node& where = place == stages.places.end() ? node : place->second;
        messages += (messages.empty() ? "" : "\n") + report(where.Mark(), problem);
      }
      before = to;
      if (!messages.empty()) continue;
      // In the order in which the stages run, as the default has them.
      LengthVariant variant{to, stages.schedule};
      variant.schedule.stages.clear();
      for (const std::string& name : stage_names(own)) {
        variant.schedule.stages.push_back(stages.schedule.stage(name));
      }
      variants.push_back(std::move(variant));
    }
    if (!messages.empty()) {
      if (older) {
        messages +=
            "\nthe record was made for other parameters than those of this version (space " +
            space_signature() + "): tune again, or delete the record";
      }
      throw UserError(messages);
    }
    return variants;
  }

  std::string path_, text_;
};

}  // namespace

std::vector<RecordPlace> record_places(const std::string& path, const std::string& text,
                                       const std::string& target) {
  return Reader(path, text).places(target);
}

std::optional<Schedule> find_record(const std::string& directory, const Plan& plan,
                                    const Machine& machine, int threads) {
  const auto variants = find_variants(directory, plan, machine, threads);
  if (!variants) return std::nullopt;
  return variants->back().schedule;
}

std::optional<std::vector<LengthVariant>> find_variants(const std::string& directory,
                                                        const Plan& plan, const Machine& machine,
                                                        int threads) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status folder = fs::status(directory, error);
  if (folder.type() == fs::file_type::not_found) return std::nullopt;
  if (folder.type() != fs::file_type::directory) {
    throw UserError(directory + ": error: a folder of records is expected here" +
                    (error ? " (" + error.message() + ")" : ""));
  }
  const std::string path = (fs::path(directory) / (machine.target + ".yaml")).string();
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) return std::nullopt;
  const auto unreadable = [&](const std::string& why) {
    return UserError(path + ": error: cannot be read: " + why);
  };
  // A pipe or a device might never end.
  if (status.type() != fs::file_type::regular) {
    throw unreadable(error ? error.message() : "not a regular file");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) throw unreadable("permission denied, or gone");
  if (fs::file_size(path, error) > kMaxBytes) throw unreadable("larger than 16 MiB");
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) throw unreadable("the file ends early");
  return Reader(path, std::move(text)).find(plan, machine, threads);
}

}  // namespace mha
