#include "examples/minilm/unicode.h"

#include <utf8proc.h>

#include <array>

#include "generator/spec/error.h"

namespace mha::minilm {
namespace {

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_ascii_sign(char32_t c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}

}  // namespace

std::u32string decode_utf8(std::string_view text) {
  std::u32string decoded;
  decoded.reserve(text.size());
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t at = 0; at < text.size();) {
    utf8proc_int32_t c;
    utf8proc_ssize_t n =
        utf8proc_iterate(bytes + at, static_cast<utf8proc_ssize_t>(text.size() - at), &c);
    if (n <= 0) throw UserError("byte " + std::to_string(at + 1) + " is not valid UTF-8");
    decoded.push_back(static_cast<char32_t>(c));
    at += static_cast<size_t>(n);
  }
  return decoded;
}

void append_utf8(char32_t c, std::string* text) {
  std::array<utf8proc_uint8_t, 4> bytes;
  utf8proc_ssize_t n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes.data());
  text->append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(n));
}

bool is_control(char32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
      return true;
    default:
      return false;
  }
}

bool is_whitespace(char32_t c) {
  if ((c >= 0x09 && c <= 0x0D) || c == 0x85) return true;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return true;
    default:
      return false;
  }
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return is_ascii_sign(c);
  switch (category(c)) {
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return true;
    default:
      return false;
  }
}

bool is_cjk(char32_t c) {
  // CJK Unified Ideographs, extensions A to E, and the two blocks of compatibility ideographs. Kana
  // and Hangul are alphabets and stay in words. Extension E starts at U+2B820, yet the tokenizer
  // that this model was trained with counts from U+2B920, and what it does is right by definition.
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

void append_folded(char32_t c, std::u32string* text) {
  if (c < 0x80) {
    text->push_back(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    return;
  }
  std::array<utf8proc_int32_t, 32> parts;  // the longest canonical decomposition has 4
  int boundary = UTF8PROC_BOUNDCLASS_START;
  utf8proc_ssize_t count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts.data(), parts.size(),
                              static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE), &boundary);
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    char32_t part = static_cast<char32_t>(parts[static_cast<size_t>(i)]);
    if (category(part) == UTF8PROC_CATEGORY_MN) continue;
    text->push_back(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(part))));
  }
}

}  // namespace mha::minilm
