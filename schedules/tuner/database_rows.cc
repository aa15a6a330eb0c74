#include "schedules/tuner/database_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "schedules/hash.h"

namespace mha {
namespace {

// Reads Schedule::text() back.
std::vector<StageSchedule> read_stages(SqlConnection& connection, const std::string& text) {
  std::vector<StageSchedule> stages;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string word;
    words >> word;
    if (!word.ends_with(':')) connection.fail_damaged("no schedule: " + line);
    StageSchedule stage{word.substr(0, word.size() - 1), {}};
    while (words >> word) {
      const size_t equals = word.find('=');
      int64_t value = 0;
      std::istringstream number(equals == std::string::npos ? "" : word.substr(equals + 1));
      if (!(number >> value) || number.peek() != EOF) {
        connection.fail_damaged("no schedule: " + line);
      }
      stage.params.emplace_back(word.substr(0, equals), value);
    }
    stages.push_back(std::move(stage));
  }
  return stages;
}

void add_certificate(Values& values, const Certificate& c) {
  const Values more = {int64_t{c.faster}, c.margin,
                       c.error,           c.low,
                       c.log_gain,        c.high,
                       c.pair_log_gains,  c.seconds,
                       c.default_seconds, int64_t{c.disturbed},
                       c.machine,         c.generator,
                       c.space,           c.time};
  values.insert(values.end(), more.begin(), more.end());
}

// From this column on.
Certificate read_certificate(SqlStatement& row, int column) {
  Certificate c;
  c.faster = row.integer(column) != 0;
  c.margin = row.real(column + 1);
  c.error = row.real(column + 2);
  c.low = row.real(column + 3);
  c.log_gain = row.real(column + 4);
  c.high = row.real(column + 5);
  c.pair_log_gains = row.reals(column + 6);
  c.seconds = row.reals(column + 7);
  c.default_seconds = row.reals(column + 8);
  c.disturbed = static_cast<int>(row.integer(column + 9));
  c.machine = row.text(column + 10);
  c.generator = row.text(column + 11);
  c.space = row.text(column + 12);
  c.time = row.text(column + 13);
  return c;
}

void add_value(Hash& hash, int64_t value) { hash.add(value); }
void add_value(Hash& hash, const std::string& text) { hash.add(text); }
// As SQLite gives it back: one NaN, one zero.
void add_value(Hash& hash, double value) {
  hash.add(std::isnan(value) ? int64_t{-1} : std::bit_cast<int64_t>(value == 0 ? 0.0 : value));
}
void add_value(Hash& hash, const std::vector<double>& values) {
  hash.add(static_cast<int64_t>(values.size()));
  hash.mix({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(double)});
}

}  // namespace

Values values_of(const Subject& s) {
  return {s.spec, s.lengths, s.target, s.machine, int64_t{s.threads}, s.generator, s.space};
}

Subject read_subject(SqlStatement& row) {
  return {row.text(0), row.text(1), row.text(2), row.text(3), static_cast<int>(row.integer(4)),
          row.text(5), row.text(6)};
}

Values values_of(const Trial& t) {
  return {t.stage,
          t.candidate,
          std::string(outcome_name(t.outcome)),
          t.detail,
          t.against,
          t.seconds,
          t.against_seconds,
          int64_t{t.disturbed},
          t.log_gain,
          t.half_width,
          t.score,
          t.strategy,
          std::bit_cast<int64_t>(t.seed),
          t.index,
          t.time};
}

Trial read_trial(SqlConnection& connection, SqlStatement& row) {
  Trial t;
  t.stage = row.text(0);
  t.candidate = row.text(1);
  try {
    t.outcome = outcome_of(row.text(2));
  } catch (const std::out_of_range& error) {
    connection.fail_damaged(error.what());
  }
  t.detail = row.text(3);
  t.against = row.text(4);
  t.seconds = row.reals(5);
  t.against_seconds = row.reals(6);
  t.disturbed = static_cast<int>(row.integer(7));
  t.log_gain = row.real(8);
  t.half_width = row.real(9);
  t.score = row.real(10);
  t.strategy = row.text(11);
  t.seed = std::bit_cast<uint64_t>(row.integer(12));
  t.index = row.integer(13);
  t.time = row.text(14);
  return t;
}

Values values_of(const CertifiedSchedule& certified) {
  Values values = {certified.schedule.origin, certified.schedule.text()};
  add_certificate(values, certified.certificate);
  return values;
}

CertifiedSchedule read_certified(SqlConnection& connection, SqlStatement& row) {
  CertifiedSchedule certified;
  certified.schedule.origin = row.text(0);
  certified.schedule.stages = read_stages(connection, row.text(1));
  certified.certificate = read_certificate(row, 2);
  return certified;
}

// "to 64:" above each schedule.
Values values_of(const CertifiedVariants& certified) {
  std::string text;
  for (const LengthVariant& variant : certified.variants) {
    text += "to " + std::to_string(variant.max_query_length) + ":\n" + variant.schedule.text();
  }
  Values values = {certified.lengths, certified.variants.back().schedule.origin, text};
  add_certificate(values, certified.certificate);
  return values;
}

CertifiedVariants read_variants(SqlConnection& connection, SqlStatement& row) {
  CertifiedVariants certified;
  certified.lengths = row.text(0);
  const std::string text = row.text(2);
  for (size_t at = 0; at < text.size();) {
    LengthVariant variant;
    const size_t line = text.find('\n', at);
    const size_t next = std::min(text.find("\nto ", at), text.size() - 1) + 1;
    if (!text.starts_with("to ") || line == std::string::npos || line >= next) {
      connection.fail_damaged("no variants: " + text);
    }
    std::istringstream number(text.substr(at + 3, line - at - 3));
    if (!(number >> variant.max_query_length) || number.get() != ':') {
      connection.fail_damaged("no variants: " + text);
    }
    variant.schedule.origin = row.text(1);
    variant.schedule.stages = read_stages(connection, text.substr(line + 1, next - line - 1));
    certified.variants.push_back(std::move(variant));
    at = next;
  }
  if (certified.variants.empty()) connection.fail_damaged("no variants");
  certified.certificate = read_certificate(row, 3);
  return certified;
}

std::string identity(const Values& subject, const Values& row) {
  Hash hash;
  for (const Values* values : {&subject, &row}) {
    for (const SqlValue& value : *values) {
      std::visit([&](const auto& v) { add_value(hash, v); }, value);
    }
  }
  return hash.text();
}

}  // namespace mha
