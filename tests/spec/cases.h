// Configs written with a marker where the problem is expected: "heads: @0" wants it at the 0.
#ifndef MHA_TESTS_SPEC_CASES_H_
#define MHA_TESTS_SPEC_CASES_H_

#include <gtest/gtest.h>

#include <string>

#include "generator/spec/parse.h"
#include "generator/spec/text.h"

namespace mha {

// A problem that a config has, and its only one.
struct BadCase {
  std::string config;   // with one @
  std::string message;  // part of it
  std::string hint = "";
};

inline void PrintTo(const BadCase& bad, std::ostream* out) { *out << "\n" << bad.config; }

// A config of op attention or block that is good as it stands; `more` follows in lines of its own.
inline std::string attention(const std::string& more) {
  return "version: 1\nname: t\nop: attention\nheads: 8\nd_head: 64\nquery_length: 16\n" + more;
}
inline std::string block(const std::string& more) {
  return "version: 1\nname: t\nd_model: 512\nheads: 8\nquery_length: 16\n" + more;
}

// Parses a config that must be good.
inline Spec good(const std::string& config) {
  const ParseResult result = parse_spec_text(config, "t.yaml");
  EXPECT_EQ(format_diagnostics(result.problems, result.text), "") << config;
  return result.spec.value_or(Spec());
}

inline void expect_bad(const BadCase& bad) {
  const size_t marker = bad.config.find('@');
  ASSERT_NE(marker, std::string::npos) << bad.config;
  std::string config = bad.config;
  config.erase(marker, 1);
  const SourceLocation expected = location_at(config, line_starts(config), marker, "t.yaml");
  const ParseResult result = parse_spec_text(config, "t.yaml");
  const std::string all = format_diagnostics(result.problems, result.text);
  EXPECT_FALSE(result.spec.has_value());
  ASSERT_EQ(result.problems.size(), 1u) << config << "\n" << all;
  const Diagnostic& problem = result.problems.front();
  EXPECT_EQ(problem.where.line, expected.line) << all;
  EXPECT_EQ(problem.where.column, expected.column) << all;
  EXPECT_EQ(problem.where.file, "t.yaml");
  EXPECT_NE(problem.message.find(bad.message), std::string::npos) << all;
  EXPECT_NE(problem.hint.find(bad.hint), std::string::npos) << all;
}

}  // namespace mha

#endif  // MHA_TESTS_SPEC_CASES_H_
