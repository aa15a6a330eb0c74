#include "schedules/tuner/spills.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace mha {
namespace {

struct Line {
  std::string_view text;
  bool instruction = false, product = false, spill = false;
};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

Line parse_line(std::string_view text) {
  Line line{text};
  // Instructions are indented; directives begin with a dot.
  const size_t start = text.find_first_not_of(" \t");
  line.instruction =
      start != 0 && start != std::string_view::npos && text[start] != '.' && text[start] != '#';
  if (!line.instruction) return line;
  const size_t comment = text.find('#');
  const std::string_view code = text.substr(0, comment);
  const bool vector = contains(code, "%xmm") || contains(code, "%ymm") || contains(code, "%zmm");
  line.product = contains(code, "fmadd") || contains(code, "dpbf16ps");
  if (comment != std::string_view::npos && vector) {
    const std::string_view said = text.substr(comment);
    line.spill = contains(said, "Spill") || contains(said, "Reload");
  }
  return line;
}

// The label that a jump goes to, or "".
std::string_view jump_target(const Line& line) {
  if (!line.instruction) return {};
  const size_t start = line.text.find_first_not_of(" \t");
  if (line.text[start] != 'j') return {};
  const size_t label = line.text.find(".L", start);
  if (label == std::string_view::npos) return {};
  return line.text.substr(label, line.text.find_first_of(" \t#", label) - label);
}

struct Range {
  size_t first, last;
};

// Jumps back: from their target to themselves.
std::vector<Range> loops_of(const std::vector<Line>& lines) {
  std::map<std::string_view, size_t> labels;
  std::vector<Range> loops;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string_view text = lines[i].text;
    if (text.starts_with(".L")) labels[text.substr(0, text.find(':'))] = i;
    const auto found = labels.find(jump_target(lines[i]));
    if (found != labels.end()) loops.push_back({found->second, i});
  }
  return loops;
}

}  // namespace

std::vector<SpillingLoop> spilling_loops(std::string_view assembly) {
  std::vector<Line> lines;
  for (size_t begin = 0; begin < assembly.size();) {
    const size_t end = std::min(assembly.find('\n', begin), assembly.size());
    lines.push_back(parse_line(assembly.substr(begin, end - begin)));
    begin = end + 1;
  }
  const std::vector<Range> loops = loops_of(lines);
  std::vector<SpillingLoop> found;
  for (const Range& loop : loops) {
    const bool innermost = std::none_of(loops.begin(), loops.end(), [&](const Range& other) {
      const bool same = other.first == loop.first && other.last == loop.last;
      return !same && other.first >= loop.first && other.last <= loop.last;
    });
    if (!innermost) continue;
    int instructions = 0, products = 0, spills = 0;
    for (size_t i = loop.first; i <= loop.last; ++i) {
      instructions += lines[i].instruction;
      products += lines[i].product;
      spills += lines[i].spill;
    }
    if (spills == 0 || 5 * products < 2 * (instructions - spills) || 8 * spills < products)
      continue;
    found.push_back(
        {static_cast<int>(loop.first) + 1, static_cast<int>(loop.last) + 1, products, spills});
  }
  return found;
}

std::string spill_text(const SpillingLoop& loop) {
  return fmt::format("its loop at lines {}-{} spills {} vector registers for {} multiply-adds",
                     loop.first_line, loop.last_line, loop.spills, loop.products);
}

}  // namespace mha
