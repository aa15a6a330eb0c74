#include "generator/spec/parse.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <tuple>

#include "generator/spec/error.h"
#include "generator/spec/reader.h"
#include "generator/spec/structure.h"
#include "generator/spec/text.h"
#include "generator/spec/yaml.h"

namespace mha {
namespace {

// A megabyte of nonsense need not be answered with many megabytes.
constexpr size_t kMaxProblems = 200;

void sort_problems(std::vector<Diagnostic>* problems) {
  std::stable_sort(
      problems->begin(), problems->end(), [](const Diagnostic& a, const Diagnostic& b) {
        return std::tie(a.where.line, a.where.column) < std::tie(b.where.line, b.where.column);
      });
  if (problems->size() <= kMaxProblems) return;
  const size_t more = problems->size() - kMaxProblems;
  problems->resize(kMaxProblems);
  problems->push_back({problems->back().where,
                       "and " + std::to_string(more) + " more problems after this one", ""});
}

// Reads a regular file of at most kMaxConfigBytes; otherwise says what is the matter.
std::string read_file(const std::string& path, std::string* text) {
  // Without O_NONBLOCK, opening a pipe would wait for a writer.
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return std::string("cannot open the config: ") + std::strerror(errno);
  std::string problem;
  struct stat info;
  if (fstat(file, &info) != 0) {
    problem = std::string("cannot read the config: ") + std::strerror(errno);
  } else if (S_ISDIR(info.st_mode)) {
    problem = "this is a folder, not a config";
  } else if (!S_ISREG(info.st_mode)) {
    problem = "this is no regular file";
  } else if (static_cast<uint64_t>(info.st_size) > kMaxConfigBytes) {
    problem = "the config has " + std::to_string(info.st_size) +
              " bytes: at most 1 MiB (1048576 bytes) is read";
  }
  // One byte more than is allowed, so that a file that grows meanwhile is noticed by the parser.
  while (problem.empty() && text->size() <= kMaxConfigBytes) {
    char chunk[1 << 14];
    const ssize_t count =
        read(file, chunk, std::min(sizeof chunk, kMaxConfigBytes + 1 - text->size()));
    if (count == 0) break;
    if (count > 0) {
      text->append(chunk, static_cast<size_t>(count));
    } else if (errno != EINTR) {
      problem = std::string("cannot read the config: ") + std::strerror(errno);
    }
  }
  close(file);
  return problem;
}

}  // namespace

ParseResult parse_spec_text(std::string_view text, const std::string& file) {
  ParseResult result;
  try {
    result.text = std::string(text);
    std::optional<YamlNode> config = read_yaml(result.text, file, &result.problems);
    if (config) {
      check_structure(&*config, &result.problems);
      Spec spec = read_spec(*config, result.text, file, &result.problems);
      if (result.problems.empty()) result.spec = std::move(spec);
    }
  } catch (const std::exception& error) {
    // Nothing above is meant to throw: what does is a lack of memory or a bug, and must not pass
    // for a good spec.
    result.spec.reset();
    result.problems.push_back(
        {{file, 0, 0},
         std::string("internal error while reading the config: ") + error.what(),
         "please report this"});
  }
  sort_problems(&result.problems);
  return result;
}

ParseResult parse_spec_file(const std::string& path) {
  std::string text;
  const std::string problem = read_file(path, &text);
  if (problem.empty()) return parse_spec_text(text, path);
  ParseResult result;
  result.problems.push_back({{path, 0, 0}, problem, ""});
  return result;
}

std::string format_diagnostics(const std::vector<Diagnostic>& problems, std::string_view text) {
  const std::vector<size_t> lines = line_starts(text);
  std::string result;
  for (const Diagnostic& d : problems) {
    result += d.where.file;
    if (d.where.line > 0)
      result += ":" + std::to_string(d.where.line) + ":" + std::to_string(d.where.column);
    result += ": error: " + d.message + "\n";
    if (d.where.line > 0 && static_cast<size_t>(d.where.line) <= lines.size()) {
      const size_t start = lines[static_cast<size_t>(d.where.line) - 1];
      result += excerpt(text.substr(start, text.substr(start).find('\n')), d.where.column);
    }
    if (!d.hint.empty()) result += "  hint: " + d.hint + "\n";
  }
  return result;
}

Spec load_spec(const std::string& path) {
  ParseResult result = parse_spec_file(path);
  std::vector<Diagnostic> problems = result.spec ? unsupported(*result.spec) : result.problems;
  if (!problems.empty()) {
    sort_problems(&problems);
    std::string message = format_diagnostics(problems, result.text);
    message.pop_back();
    throw UserError(message);
  }
  return std::move(*result.spec);
}

}  // namespace mha
