// The part of JSON that weight files use, read in place: a cursor over bytes that the caller owns
// and that strings are decoded into. Strict: RFC 8259 grammar, valid UTF-8, no NUL in strings.
#ifndef MHA_RUNTIME_SRC_JSON_H_
#define MHA_RUNTIME_SRC_JSON_H_

#include <stddef.h>
#include <stdint.h>

namespace mha {

struct Json {
  char* at;
  char* end;
  char* begin;        // for offsets in messages
  const char* error;  // a constant; NULL: none yet
  char* error_at;
};

}  // namespace mha

#pragma GCC visibility push(hidden)
extern "C" {

mha::Json mha_internal_json(char* begin, size_t bytes);
// Each returns whether it found what it is named after; if not, error says why (but for `peek`).
char mha_internal_json_peek(mha::Json* json);  // the next character that is no space; 0 at the end
bool mha_internal_json_expect(mha::Json* json, char character);
// `text` is NUL-terminated and lies where the string stood.
bool mha_internal_json_string(mha::Json* json, char** text);
// Whether a text of a file may be shown: it has no control characters.
bool mha_internal_json_is_printable(const char* text);
// An integer within [0, 2^63).
bool mha_internal_json_integer(mha::Json* json, int64_t* value);
// Any value; strings in it are checked too.
bool mha_internal_json_skip(mha::Json* json);
// For an object or array just entered: moves to the next element. *more is false once `closing` was
// eaten.
bool mha_internal_json_next(mha::Json* json, char closing, bool* first, bool* more);
bool mha_internal_json_end(mha::Json* json);

}  // extern "C"
#pragma GCC visibility pop

#endif  // MHA_RUNTIME_SRC_JSON_H_
