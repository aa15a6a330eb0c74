// Statuses, and the message that each thread keeps of its last failure.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/src/internal.h"

#define MHA_STRING(x) #x
#define MHA_VERSION_STRING(a, b, c) MHA_STRING(a) "." MHA_STRING(b) "." MHA_STRING(c)

namespace {

constexpr size_t kMessageBytes = 1024;
__thread char message[kMessageBytes];

// A text cut in the middle of a UTF-8 sequence would be an invalid string for callers in other
// languages.
void drop_partial_character(char* text) {
  size_t length = strlen(text);
  size_t start = length;
  while (start > 0 && length - start < 3 && (text[start - 1] & 0xC0) == 0x80) --start;
  if (start == 0) return;
  const unsigned char lead = static_cast<unsigned char>(text[start - 1]);
  const size_t wanted = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
  if (wanted > 1 && length - (start - 1) < wanted) text[start - 1] = '\0';
}

}  // namespace

extern "C" {

mha_status mha_internal_fail(mha_status status, const char* format, ...) {
  // An argument may be the old message itself, so that the new one is made beside it.
  char text[kMessageBytes];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (length < 0) text[0] = '\0';
  if (length >= static_cast<int>(sizeof text)) drop_partial_character(text);
  memcpy(message, text, sizeof text);
  return status;
}

void mha_internal_prefix_message(const char* prefix) {
  mha_internal_fail(MHA_OK, "%s%s", prefix, message);
}

const char* mha_last_message(void) { return message; }

const char* mha_dtype_name(mha_dtype dtype) {
  switch (dtype) {
    case MHA_F32:
      return "F32";
    case MHA_BF16:
      return "BF16";
    case MHA_F16:
      return "F16";
    case MHA_I32:
      return "I32";
    case MHA_I64:
      return "I64";
    case MHA_U8:
      return "U8";
    case MHA_BOOL:
      return "BOOL";
    case MHA_I8:
      return "I8";
    default:
      return "of a type that kernels do not take";
  }
}

const char* mha_version(void) {
  return MHA_VERSION_STRING(MHA_VERSION_MAJOR, MHA_VERSION_MINOR, MHA_VERSION_PATCH);
}

const char* mha_status_name(mha_status status) {
  switch (status) {
    case MHA_OK:
      return "MHA_OK";
    case MHA_INVALID_ARGUMENT:
      return "MHA_INVALID_ARGUMENT";
    case MHA_OUT_OF_RANGE:
      return "MHA_OUT_OF_RANGE";
    case MHA_MISALIGNED:
      return "MHA_MISALIGNED";
    case MHA_OVERLAP:
      return "MHA_OVERLAP";
    case MHA_WORKSPACE_TOO_SMALL:
      return "MHA_WORKSPACE_TOO_SMALL";
    case MHA_OUT_OF_MEMORY:
      return "MHA_OUT_OF_MEMORY";
    case MHA_UNSUPPORTED_CPU:
      return "MHA_UNSUPPORTED_CPU";
    case MHA_ABI_MISMATCH:
      return "MHA_ABI_MISMATCH";
    case MHA_BAD_FILE:
      return "MHA_BAD_FILE";
    case MHA_IO_ERROR:
      return "MHA_IO_ERROR";
    case MHA_INTERNAL:
      return "MHA_INTERNAL";
    case MHA_CACHE_FULL:
      return "MHA_CACHE_FULL";
    case MHA_BUSY:
      return "MHA_BUSY";
  }
  return "unknown mha_status";
}

}  // extern "C"
