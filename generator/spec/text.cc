#include "generator/spec/text.h"

#include <algorithm>
#include <cctype>

namespace mha {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// Bytes of the UTF-8 sequence at `at`; 0: it is none.
size_t sequence_length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned char lead = byte(0);
  const size_t length = lead < 0x80   ? 1
                        : lead < 0xc2 ? 0
                        : lead < 0xe0 ? 2
                        : lead < 0xf0 ? 3
                        : lead < 0xf5 ? 4
                                      : 0;
  if (length == 0 || at + length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and what lies beyond U+10FFFF.
  if (lead == 0xe0 && byte(1) < 0xa0) return 0;
  if (lead == 0xed && byte(1) > 0x9f) return 0;
  if (lead == 0xf0 && byte(1) < 0x90) return 0;
  if (lead == 0xf4 && byte(1) > 0x8f) return 0;
  return length;
}

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

// Levenshtein's distance with swaps of neighbours, upper and lower case the same.
size_t edit_distance(std::string_view a, std::string_view b) {
  const auto same = [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  };
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min(
          {last[j] + 1, row[j - 1] + 1, last[j - 1] + (same(a[i - 1], b[j - 1]) ? 0u : 1u)});
      if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1])) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace

std::vector<size_t> line_starts(std::string_view text) {
  std::vector<size_t> starts = {text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0};
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') starts.push_back(i + 1);
  }
  return starts;
}

SourceLocation location_at(std::string_view text, const std::vector<size_t>& lines, size_t offset,
                           const std::string& file) {
  offset = std::min(offset, text.size());
  const auto next = std::upper_bound(lines.begin(), lines.end(), offset);
  if (next == lines.begin()) return {file, 1, 1};
  const size_t start = *(next - 1);
  const int column = count_characters(text.substr(start, offset - start)) + 1;
  return {file, static_cast<int>(next - lines.begin()), column};
}

int count_characters(std::string_view text) {
  return static_cast<int>(
      std::count_if(text.begin(), text.end(), [](char c) { return !continues(c); }));
}

std::optional<size_t> find_bad_byte(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f) return i;
    const size_t length = sequence_length(text, i);
    if (length == 0) return i;
    i += length;
  }
  return std::nullopt;
}

std::string quote(std::string_view text) {
  constexpr size_t kMost = 60;
  std::string result = "`";
  for (size_t i = 0; i < text.size();) {
    if (i >= kMost) {
      result += "...";
      break;
    }
    const size_t length = sequence_length(text, i);
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (length == 0 || c < 0x20 || c == 0x7f) {
      result += c == '\n' ? ' ' : '?';
      ++i;
    } else {
      result += text.substr(i, length);
      i += length;
    }
  }
  return result + "`";
}

std::string excerpt(std::string_view line, int column) {
  constexpr size_t kWhole = 110, kBefore = 60, kAfter = 50;
  std::vector<std::string> characters;
  for (size_t i = 0; i < line.size();) {
    const size_t length = std::max<size_t>(sequence_length(line, i), 1);
    const unsigned char c = static_cast<unsigned char>(line[i]);
    if (c == '\r' && i + 1 == line.size()) break;
    // A tab is one column to us, so it must be one on the screen; other control bytes must not
    // reach it.
    const bool shown = c == '\t' || (c >= 0x20 && c != 0x7f && sequence_length(line, i) > 0);
    characters.push_back(!shown ? "?" : c == '\t' ? " " : std::string(line.substr(i, length)));
    i += length;
  }
  const size_t at = column > 0 ? static_cast<size_t>(column) - 1 : 0;
  const bool whole = characters.size() <= kWhole;
  const size_t first = whole || at <= kBefore ? 0 : at - kBefore;
  const size_t last = whole ? characters.size() : std::min(characters.size(), at + kAfter);
  std::string shown = first > 0 ? "..." : "";
  const size_t indent = shown.size() + at - first;
  for (size_t i = first; i < last; ++i) shown += characters[i];
  if (last < characters.size()) shown += "...";
  return "  " + shown + "\n  " + std::string(indent, ' ') + "^\n";
}

std::string join(const std::vector<std::string>& words) {
  std::string result;
  for (const std::string& word : words) result += (result.empty() ? "" : ", ") + word;
  return result;
}

std::string join_or(const std::vector<std::string>& words) {
  std::string result;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) result += i + 1 == words.size() ? " or " : ", ";
    result += words[i];
  }
  return result;
}

std::optional<std::string> nearest(std::string_view given, const std::vector<std::string>& words) {
  constexpr size_t kLongest = 64;
  if (given.empty() || given.size() > kLongest) return std::nullopt;
  size_t best = std::max<size_t>(1, given.size() / 3) + 1;
  std::optional<std::string> found;
  for (const std::string& word : words) {
    const size_t distance = edit_distance(given, word);
    // One letter for another is no near miss: `x` is not a misspelt `q`.
    if (distance < best && distance < std::max(given.size(), word.size())) {
      best = distance;
      found = word;
    }
  }
  return found;
}

std::string did_you_mean(std::string_view given, const std::vector<std::string>& words) {
  const std::optional<std::string> word = nearest(given, words);
  return word ? "did you mean `" + *word + "`?" : "";
}

}  // namespace mha
