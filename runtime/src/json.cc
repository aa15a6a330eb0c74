#include "runtime/src/json.h"

namespace {

using mha::Json;

constexpr int kMaxDepth = 32;

bool fail(Json* json, const char* error) {
  if (json->error == nullptr) {
    json->error = error;
    json->error_at = json->at;
  }
  return false;
}

void skip_space(Json* json) {
  while (json->at < json->end &&
         (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r')) {
    ++json->at;
  }
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Length of the well-formed UTF-8 sequence at `at`, 0 if there is none: no overlong forms, no
// surrogates, nothing above U+10FFFF.
int sequence_length(const char* at, const char* end) {
  const auto byte = [&](int i) { return at + i < end ? static_cast<unsigned char>(at[i]) : 0u; };
  const auto tail = [&](int i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    if (!tail(1) || !tail(2)) return 0;
    if (lead == 0xE0 && byte(1) < 0xA0) return 0;
    if (lead == 0xED && byte(1) > 0x9F) return 0;
    return 3;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if (lead == 0xF0 && byte(1) < 0x90) return 0;
    if (lead == 0xF4 && byte(1) > 0x8F) return 0;
    return 4;
  }
  return 0;
}

bool hex4(Json* json, uint32_t* code) {
  if (json->end - json->at < 4) return fail(json, "a \\u escape is cut short");
  *code = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = *json->at;
    int digit;
    if (is_digit(c)) {
      digit = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      digit = c - 'a' + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = c - 'A' + 10;
    } else {
      return fail(json, "a \\u escape needs four hexadecimal digits");
    }
    *code = *code * 16 + static_cast<uint32_t>(digit);
    ++json->at;
  }
  return true;
}

char* put_utf8(char* out, uint32_t code) {
  if (code < 0x80) {
    *out++ = static_cast<char>(code);
  } else if (code < 0x800) {
    *out++ = static_cast<char>(0xC0 | (code >> 6));
    *out++ = static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    *out++ = static_cast<char>(0xE0 | (code >> 12));
    *out++ = static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    *out++ = static_cast<char>(0x80 | (code & 0x3F));
  } else {
    *out++ = static_cast<char>(0xF0 | (code >> 18));
    *out++ = static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    *out++ = static_cast<char>(0x80 | ((code >> 6) & 0x3F));
    *out++ = static_cast<char>(0x80 | (code & 0x3F));
  }
  return out;
}

// After a backslash. What is written is never longer than what was read.
bool escape(Json* json, char** out) {
  if (json->at >= json->end) return fail(json, "a string is cut short");
  const char c = *json->at++;
  switch (c) {
    case '"':
    case '\\':
    case '/':
      *(*out)++ = c;
      return true;
    case 'b':
      *(*out)++ = '\b';
      return true;
    case 'f':
      *(*out)++ = '\f';
      return true;
    case 'n':
      *(*out)++ = '\n';
      return true;
    case 'r':
      *(*out)++ = '\r';
      return true;
    case 't':
      *(*out)++ = '\t';
      return true;
    case 'u':
      break;
    default:
      --json->at;
      return fail(json, "an unknown escape in a string");
  }
  uint32_t code = 0;
  if (!hex4(json, &code)) return false;
  if (code == 0) return fail(json, "a NUL in a string");
  if (code >= 0xDC00 && code <= 0xDFFF) return fail(json, "half a surrogate pair in a string");
  if (code >= 0xD800 && code <= 0xDBFF) {
    uint32_t low = 0;
    if (json->end - json->at < 2 || json->at[0] != '\\' || json->at[1] != 'u') {
      return fail(json, "half a surrogate pair in a string");
    }
    json->at += 2;
    if (!hex4(json, &low)) return false;
    if (low < 0xDC00 || low > 0xDFFF) return fail(json, "half a surrogate pair in a string");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  *out = put_utf8(*out, code);
  return true;
}

bool skip_number(Json* json) {
  const auto digits = [&] {
    if (json->at >= json->end || !is_digit(*json->at)) return fail(json, "a number without digits");
    while (json->at < json->end && is_digit(*json->at)) ++json->at;
    return true;
  };
  if (json->at < json->end && *json->at == '-') ++json->at;
  if (json->at < json->end && *json->at == '0') {
    ++json->at;
  } else if (!digits()) {
    return false;
  }
  if (json->at < json->end && *json->at == '.') {
    ++json->at;
    if (!digits()) return false;
  }
  if (json->at < json->end && (*json->at == 'e' || *json->at == 'E')) {
    ++json->at;
    if (json->at < json->end && (*json->at == '+' || *json->at == '-')) ++json->at;
    if (!digits()) return false;
  }
  return true;
}

bool skip_word(Json* json, const char* word) {
  for (; *word != '\0'; ++word, ++json->at) {
    if (json->at >= json->end || *json->at != *word) return fail(json, "no JSON value");
  }
  return true;
}

bool skip_value(Json* json, int depth) {
  if (depth > kMaxDepth) return fail(json, "values nested too deep");
  char* text;
  bool first = true, more = false;
  switch (mha_internal_json_peek(json)) {
    case '"':
      return mha_internal_json_string(json, &text);
    case 't':
      return skip_word(json, "true");
    case 'f':
      return skip_word(json, "false");
    case 'n':
      return skip_word(json, "null");
    case '[':
      ++json->at;
      while (mha_internal_json_next(json, ']', &first, &more)) {
        if (!more) return true;
        if (!skip_value(json, depth + 1)) return false;
      }
      return false;
    case '{':
      ++json->at;
      while (mha_internal_json_next(json, '}', &first, &more)) {
        if (!more) return true;
        if (!mha_internal_json_string(json, &text) || !mha_internal_json_expect(json, ':') ||
            !skip_value(json, depth + 1)) {
          return false;
        }
      }
      return false;
    default:
      return skip_number(json);
  }
}

}  // namespace

extern "C" {

Json mha_internal_json(char* begin, size_t bytes) {
  return {begin, begin + bytes, begin, nullptr, nullptr};
}

char mha_internal_json_peek(Json* json) {
  skip_space(json);
  return json->at < json->end ? *json->at : '\0';
}

bool mha_internal_json_expect(Json* json, char character) {
  if (mha_internal_json_peek(json) != character || json->at >= json->end) {
    switch (character) {
      case '{':
        return fail(json, "expected '{'");
      case '[':
        return fail(json, "expected '['");
      case ']':
        return fail(json, "expected ']'");
      case ':':
        return fail(json, "expected ':'");
      default:
        return fail(json, "expected ','");
    }
  }
  ++json->at;
  return true;
}

bool mha_internal_json_string(Json* json, char** text) {
  if (mha_internal_json_peek(json) != '"') return fail(json, "expected a string");
  ++json->at;
  char* out = json->at;
  *text = out;
  while (json->at < json->end) {
    const unsigned char c = static_cast<unsigned char>(*json->at);
    if (c == '"') {
      ++json->at;
      *out = '\0';
      return true;
    }
    if (c < 0x20) return fail(json, "a control character in a string");
    if (c == '\\') {
      ++json->at;
      if (!escape(json, &out)) return false;
      continue;
    }
    const int length = sequence_length(json->at, json->end);
    if (length == 0) return fail(json, "a string that is not UTF-8");
    for (int i = 0; i < length; ++i) *out++ = *json->at++;
  }
  return fail(json, "a string is cut short");
}

bool mha_internal_json_integer(Json* json, int64_t* value) {
  const char c = mha_internal_json_peek(json);
  if (!is_digit(c)) return fail(json, "expected an integer of 0 or more");
  *value = 0;
  if (c == '0') {
    ++json->at;
  } else {
    for (; json->at < json->end && is_digit(*json->at); ++json->at) {
      if (__builtin_mul_overflow(*value, int64_t{10}, value) ||
          __builtin_add_overflow(*value, int64_t{*json->at - '0'}, value)) {
        return fail(json, "an integer of 2^63 or more");
      }
    }
  }
  if (json->at < json->end &&
      (is_digit(*json->at) || *json->at == '.' || *json->at == 'e' || *json->at == 'E')) {
    return fail(json, "expected a plain integer");
  }
  return true;
}

bool mha_internal_json_skip(Json* json) { return skip_value(json, 0); }

bool mha_internal_json_next(Json* json, char closing, bool* first, bool* more) {
  const bool at_first = *first;
  *first = false;
  if (mha_internal_json_peek(json) == closing) {
    ++json->at;
    *more = false;
    return true;
  }
  if (!at_first && !mha_internal_json_expect(json, ',')) return false;
  // A closing bracket after a comma is met, and refused, by whoever reads the element.
  *more = true;
  return true;
}

bool mha_internal_json_end(Json* json) {
  skip_space(json);
  return json->at == json->end ? true : fail(json, "text after the end");
}

bool mha_internal_json_is_printable(const char* name) {
  for (; *name != '\0'; ++name) {
    const unsigned char c = static_cast<unsigned char>(*name);
    if (c < 0x20 || c == 0x7F) return false;
  }
  return true;
}

}  // extern "C"
