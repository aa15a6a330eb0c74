// What is refused before any key is looked at, and what a message looks like.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cases.h"
#include "generator/spec/error.h"

namespace mha {
namespace {

class BadYaml : public testing::TestWithParam<BadCase> {};
TEST_P(BadYaml, IsRefusedInPlace) { expect_bad(GetParam()); }

INSTANTIATE_TEST_SUITE_P(
    Syntax, BadYaml,
    testing::Values(
        BadCase{"@", "the config is empty"},
        BadCase{"@# nothing but a comment\n", "the config is empty"},
        BadCase{"@- version\n", "a config is a map"}, BadCase{"@just text\n", "a config is a map"},
        BadCase{"version: 1\nheads 8\nname@: t\n", "a `:` where no key can be", "line before"},
        BadCase{attention("mask: {causal: true\n@"), "a `{` is not closed", "`}`"},
        BadCase{attention("@]\n"), "closes nothing"},
        BadCase{attention("layout: @'bshd\n"), "this quote is never closed"},
        BadCase{attention("layout: @\"bs\\\"\n"), "this quote is never closed"},
        BadCase{attention("layout: \"bshd@"), "a quote is not closed"},
        BadCase{attention("@\tbatch: 2\n"), "a tab in the indentation", "spaces"},
        BadCase{attention("scale: @%2\n"), "no value starts with this character", "quotes"},
        BadCase{attention("...\n@batch: 2\n"), "a second YAML document"},
        BadCase{attention("@---\nbatch: 2\n"), "a second YAML document"}));

INSTANTIATE_TEST_SUITE_P(
    Features, BadYaml,
    testing::Values(BadCase{attention("batch: 1\n@batch: 2\n"),
                            "key `batch` is given twice: the first is in line 7"},
                    BadCase{attention("@heads: 8\n"), "given twice: the first is in line 4"},
                    BadCase{attention("mask: {causal: true, @causal: true}\n"),
                            "key `causal` is given twice"},
                    BadCase{attention("batch: @&b 2\n"), "a YAML anchor"},
                    BadCase{attention("mask: @&m {causal: true}\n"), "a YAML anchor"},
                    BadCase{attention("batch: @*b\n"), "a YAML alias"},
                    BadCase{attention("batch: @!!int 2\n"), "a YAML tag"},
                    BadCase{attention("batch: @! 2\n"), "a YAML tag"},
                    BadCase{attention("outputs: @!list [output]\n"), "a YAML tag"},
                    BadCase{attention("? @[batch]\n: 2\n"), "a key must be a plain word"}));

// A known anchor behind an alias is two problems, and the alias must not be blamed for its value as
// well.
TEST(Yaml, AliasOfAnAnchor) {
  const ParseResult result = parse_spec_text(attention("batch: &b 2\nkv_heads: *b\n"), "t.yaml");
  ASSERT_EQ(result.problems.size(), 2u);
  EXPECT_NE(result.problems[0].message.find("anchor"), std::string::npos);
  EXPECT_NE(result.problems[1].message.find("alias"), std::string::npos);
}

// An anchor that holds itself makes yaml-cpp's own nodes cyclic.
TEST(Yaml, CyclicAlias) {
  EXPECT_FALSE(parse_spec_text("a: &a [*a]\n", "t.yaml").spec.has_value());
}

TEST(Yaml, DepthIsLimited) {
  for (const auto& [open, close] : {std::pair{"[", "]"}, {"{a: ", "}"}}) {
    for (int depth : {63, 64}) {  // the config itself is the first level
      std::string text = "a: ";
      for (int i = 0; i < depth; ++i) text += open;
      for (int i = 0; i < depth; ++i) text += close;
      const ParseResult result = parse_spec_text(text, "t.yaml");
      const bool deep =
          result.problems.front().message.find("more than 64 levels") != std::string::npos;
      EXPECT_EQ(deep, depth == 64) << text;
    }
  }
  EXPECT_FALSE(parse_spec_text(std::string(500000, '['), "t.yaml").spec.has_value());
  std::string dashes;
  for (int i = 0; i < 100000; ++i) dashes += "- ";
  EXPECT_FALSE(parse_spec_text(dashes, "t.yaml").spec.has_value());
}

TEST(Yaml, SizeIsLimited) {
  std::string text = attention("#");
  text.resize(kMaxConfigBytes, 'x');
  good(text);
  text += 'x';
  const ParseResult result = parse_spec_text(text, "t.yaml");
  ASSERT_EQ(result.problems.size(), 1u);
  EXPECT_NE(result.problems[0].message.find("at most 1 MiB"), std::string::npos);
}

TEST(Yaml, BytesThatAreNoText) {
  // yaml-cpp reads 0x04 as the end of the file: what follows it would be ignored.
  for (const std::string& bad :
       {std::string(1, '\0'), std::string("\x04"), std::string("\x1b"), std::string("\x7f"),
        std::string("\xe9"), std::string("\xc0\x80"), std::string("\xed\xa0\x80"),
        std::string("\xf4\x90\x80\x80"), std::string("\xe2\x82")}) {
    const ParseResult result =
        parse_spec_text(attention("# \xc3\xa4 " + bad + "\nbatch: 2\n"), "t.yaml");
    ASSERT_EQ(result.problems.size(), 1u);
    EXPECT_EQ(result.problems[0].where.line, 7);
    EXPECT_EQ(result.problems[0].where.column, 5);  // the umlaut is one column
    EXPECT_NE(result.problems[0].message.find("byte 0x"), std::string::npos);
    // What is printed must not carry the byte to a terminal.
    const std::string shown = format_diagnostics(result.problems, result.text);
    EXPECT_EQ(find_bad_byte(shown), std::nullopt);
  }
  EXPECT_FALSE(parse_spec_text(std::string("v\0e\0r\0", 6), "t.yaml").spec.has_value());  // UTF-16
}

TEST(Yaml, MarkAndLineEnds) {
  EXPECT_EQ(good("\xef\xbb\xbf" + attention("batch: 3\n")).batch.max, 3);
  std::string dos;
  for (char c : attention("batch: 3\nscore_rule: >\n  s *\n  2\n"))
    dos += c == '\n' ? "\r\n" : std::string(1, c);
  EXPECT_EQ(good(dos).batch.max, 3);
  const ParseResult marked = parse_spec_text("\xef\xbb\xbfversion: 2\n", "t.yaml");
  bool found = false;
  for (const Diagnostic& d : marked.problems) {
    found =
        found || (d.where.line == 1 && d.where.column == 10 && d.message.starts_with("version"));
  }
  EXPECT_TRUE(found);
}

TEST(Messages, ShowLineCaretAndHint) {
  const ParseResult result =
      parse_spec_text(attention("lay\xc3\xb6ut: x\n\"mask\":\tcasual\n"), "dir/t.yaml");
  EXPECT_EQ(format_diagnostics(result.problems, result.text),
            "dir/t.yaml:7:1: error: unknown key `lay\xc3\xb6ut`\n"
            "  lay\xc3\xb6ut: x\n"
            "  ^\n"
            "  hint: did you mean `layout`?\n"
            "dir/t.yaml:8:9: error: mask: must be {causal, window, tensor, key_lengths, "
            "key_starts, rule}, "
            "got `casual`\n"
            "  \"mask\": casual\n"
            "          ^\n");
}

TEST(Messages, AllProblemsInTheOrderOfTheFile) {
  const ParseResult result = parse_spec_text(
      "version: 1\nname: int\nheads: 0\nfoo: 1\nd_model: -1\nquery_length: {min: 2, max: 1}\n",
      "t.yaml");
  std::vector<int> lines;
  for (const Diagnostic& d : result.problems) lines.push_back(d.where.line);
  EXPECT_EQ(lines, (std::vector<int>{2, 3, 4, 5, 6}));
}

TEST(Messages, AreLimited) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += "key_" + std::to_string(i) + ": 1\n";
  const ParseResult result = parse_spec_text(text, "t.yaml");
  EXPECT_EQ(result.problems.size(), 201u);
  EXPECT_NE(result.problems.back().message.find("more problems"), std::string::npos);
  const std::string line = "name: " + std::string(100000, 'x') + "\n";
  EXPECT_LT(format_diagnostics(parse_spec_text(line, "t.yaml").problems, line).size(), 4000u);
}

class Files : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / ("spec_" + std::to_string(getpid()));
    std::filesystem::create_directory(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string message(const std::string& path) {
    const ParseResult result = parse_spec_file(path);
    EXPECT_FALSE(result.spec.has_value());
    return format_diagnostics(result.problems, result.text);
  }
  std::filesystem::path folder_;
};

TEST_F(Files, Good) {
  const std::string path = folder_ / "t.yaml";
  std::ofstream(path) << attention("batch: 2\n");
  EXPECT_EQ(load_spec(path).batch.max, 2);
  EXPECT_EQ(load_spec(path).file, path);
}

TEST_F(Files, Bad) {
  EXPECT_EQ(message(folder_ / "no.yaml"),
            (folder_ / "no.yaml").string() +
                ": error: cannot open the config: No such file or directory\n");
  EXPECT_NE(message(folder_).find("a folder"), std::string::npos);
  EXPECT_NE(message("/dev/null").find("no regular file"), std::string::npos);
  const std::string pipe = folder_ / "pipe";  // must not wait for a writer
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_NE(message(pipe).find("no regular file"), std::string::npos);
  const std::string large = folder_ / "large";
  std::ofstream(large) << "";
  std::filesystem::resize_file(large, uint64_t{1} << 33);
  EXPECT_NE(message(large).find("at most 1 MiB"), std::string::npos);
}

TEST_F(Files, LoadThrowsTheWholeText) {
  const std::string path = folder_ / "t.yaml";
  std::ofstream(path) << attention("targets: [arm64, opencl]\n");
  try {
    load_spec(path);
    FAIL() << "no error";
  } catch (const UserError& error) {
    const auto error_line = [&](const std::string& what, const std::string& instead) {
      return path + ":7:1: error: targets: " + what +
             " not built yet in this version\n  targets: [arm64, opencl]\n  ^\n  hint: this "
             "version builds " +
             instead;
    };
    EXPECT_EQ(error.what(), error_line("the target arm64 is", "host or an x86-64 target") + "\n" +
                                error_line("the target opencl is", "host or an x86-64 target"));
  }
}

}  // namespace
}  // namespace mha
