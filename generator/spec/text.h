// Small helpers on text: places in it, quoting for messages, near misses.
#ifndef MHA_GENERATOR_SPEC_TEXT_H_
#define MHA_GENERATOR_SPEC_TEXT_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "generator/spec/spec.h"

namespace mha {

// Offsets at which lines start; lines end at '\n'. A byte order mark belongs to no line.
std::vector<size_t> line_starts(std::string_view text);

// Line and column (in characters, not bytes) of an offset.
SourceLocation location_at(std::string_view text, const std::vector<size_t>& lines, size_t offset,
                           const std::string& file);

// Characters, not bytes, of UTF-8 text.
int count_characters(std::string_view text);

// The first byte that is neither printable UTF-8 nor a tab or line end.
std::optional<size_t> find_bad_byte(std::string_view text);

// `text` between back quotes, fit for one line of a terminal: cut when long, unprintable bytes
// replaced.
std::string quote(std::string_view text);

// A line of a file with a caret under a column (from 1), as two lines. A long line is cut around
// the column.
std::string excerpt(std::string_view line, int column);

// "a, b, c".
std::string join(const std::vector<std::string>& words);
// "a", "a or b", "a, b or c".
std::string join_or(const std::vector<std::string>& words);

// The word nearest to `given`, if near enough that it may have been meant.
std::optional<std::string> nearest(std::string_view given, const std::vector<std::string>& words);
// "did you mean `x`?", or "".
std::string did_you_mean(std::string_view given, const std::vector<std::string>& words);

}  // namespace mha

#endif  // MHA_GENERATOR_SPEC_TEXT_H_
