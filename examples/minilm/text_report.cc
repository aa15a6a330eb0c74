#include "examples/minilm/text_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace mha::minilm {
namespace {

// SGR styles from faint to strong: a step for each fifth of the square root, so that small weights
// show.
const char* shade(float weight) {
  constexpr std::array<const char*, 6> kShades = {
      "38;5;244", "48;5;17;97", "48;5;19;97", "48;5;26;97", "48;5;208;30", "1;48;5;220;30",
  };
  const float root = std::sqrt(std::clamp(weight, 0.0f, 1.0f));
  return kShades[std::min<size_t>(static_cast<size_t>(root * 6), kShades.size() - 1)];
}

bool has_colour(const Console& console) { return console.paint("1", "x") != "x"; }

}  // namespace

std::string fixed(double value, int digits) {
  std::array<char, 64> buffer;
  std::snprintf(buffer.data(), buffer.size(), "%.*f", digits, value);
  return buffer.data();
}

std::string shaded_row(const std::vector<std::string>& tokens, size_t query,
                       const std::vector<float>& weights, const Console& console) {
  const bool colour = has_colour(console);
  const float* row = weights.data() + query * tokens.size();
  std::string text = console.paint("1", tokens[query]) + " ->";
  for (size_t j = 0; j < tokens.size(); ++j) {
    text += " ";
    if (colour) {
      text += console.paint(shade(row[j]), tokens[j]);
    } else {
      text += tokens[j];
      if (row[j] >= 0.1f) text += "(" + fixed(row[j], 2) + ")";
    }
  }
  return text;
}

std::string strongest(const std::vector<std::string>& tokens, size_t query,
                      const std::vector<float>& weights, size_t count, const Console& console) {
  const float* row = weights.data() + query * tokens.size();
  std::vector<size_t> order(tokens.size());
  std::iota(order.begin(), order.end(), size_t{0});
  count = std::min(count, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                    [&](size_t a, size_t b) { return row[a] > row[b]; });
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    const float weight = row[order[i]];
    std::string bar;
    for (long step = std::lround(weight * 40); step > 0; --step) bar += "█";
    text += "    " + fixed(weight, 2) + "  " + console.paint("38;5;208", bar) +
            (bar.empty() ? "" : " ") + tokens[order[i]] + "\n";
  }
  return text;
}

}  // namespace mha::minilm
