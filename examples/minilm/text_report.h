// Attention as text: a row of tokens, darker where more is looked at.
#ifndef MHA_EXAMPLES_MINILM_TEXT_REPORT_H_
#define MHA_EXAMPLES_MINILM_TEXT_REPORT_H_

#include <string>
#include <vector>

#include "tools/common/console.h"

namespace mha::minilm {

// `value` with so many digits after the point.
std::string fixed(double value, int digits);

// The tokens shaded by row `query` of `weights` [L, L]. Where there is no colour, the tokens that
// get 0.1 and more carry the number instead.
std::string shaded_row(const std::vector<std::string>& tokens, size_t query,
                       const std::vector<float>& weights, const Console& console);

// The `count` strongest keys of a row, one a line: weight, bar, token.
std::string strongest(const std::vector<std::string>& tokens, size_t query,
                      const std::vector<float>& weights, size_t count, const Console& console);

}  // namespace mha::minilm

#endif  // MHA_EXAMPLES_MINILM_TEXT_REPORT_H_
