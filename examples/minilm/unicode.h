// What BERT's tokenizer asks of Unicode, answered by utf8proc.
#ifndef MHA_EXAMPLES_MINILM_UNICODE_H_
#define MHA_EXAMPLES_MINILM_UNICODE_H_

#include <string>
#include <string_view>

namespace mha::minilm {

// Throws UserError when `text` is not UTF-8: surrogates, overlong forms and code points above
// U+10FFFF included.
std::u32string decode_utf8(std::string_view text);
void append_utf8(char32_t c, std::string* text);

// Control, format and private-use characters; tab and line ends are not among them.
bool is_control(char32_t c);
// The property White_Space.
bool is_whitespace(char32_t c);
// The general categories P*, and every ASCII sign that is neither letter nor digit: `$` and `^`
// split words too.
bool is_punctuation(char32_t c);
// Ideographs, each of which is a word of its own.
bool is_cjk(char32_t c);
// Appends the canonical decomposition (NFD, without reordering) of `c` less its nonspacing marks,
// in lower case: 'Å' gives 'a'.
void append_folded(char32_t c, std::u32string* text);

}  // namespace mha::minilm

#endif  // MHA_EXAMPLES_MINILM_UNICODE_H_
