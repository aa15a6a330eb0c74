// Reading files. They are read, not mapped: a mapped file that another process cuts short kills
// whoever touches the missing page, a read one gives a status.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/src/internal.h"
#include "runtime/src/safetensors.h"

namespace {

mha_status open_file(const char* path, int descriptor, uint64_t bytes, mha_safetensors** result) {
  mha_safetensors* file = nullptr;
  uint64_t data_offset = 0;
  mha_status status = mha_internal_read_header(descriptor, bytes, &file, &data_offset);
  if (file == nullptr)
    return mha_internal_in_file(path, status);  // there is one if and only if all went well
  const size_t data_bytes = bytes - data_offset;
  // Aligned, so that tensors which the file aligns are aligned in memory.
  if (posix_memalign(&file->owned_data, 64, data_bytes == 0 ? 64 : data_bytes) != 0) {
    file->owned_data = nullptr;
    status =
        mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for the %zu bytes of the file", data_bytes);
  } else {
    status = mha_internal_read(descriptor, data_offset, file->owned_data, data_bytes);
  }
  if (status != MHA_OK) {
    mha_safetensors_close(file);
    return mha_internal_in_file(path, status);
  }
  file->data = static_cast<const uint8_t*>(file->owned_data);
  *result = file;
  return MHA_OK;
}

}  // namespace

extern "C" {

mha_status mha_internal_in_file(const char* path, mha_status status) {
  constexpr size_t kShown = 400;
  const size_t length = strlen(path);
  const char* shown = path;
  if (length > kShown) {
    shown += length - kShown;
    while ((*shown & 0xC0) == 0x80) ++shown;  // not from within a character
  }
  char prefix[kShown + 8];
  snprintf(prefix, sizeof prefix, "%s%s: ", shown == path ? "" : "...", shown);
  mha_internal_prefix_message(prefix);
  return status;
}

mha_status mha_internal_open(const char* path, int* descriptor, uint64_t* bytes) {
  // Not blocking, so that a named pipe is refused instead of waited for.
  const int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (opened < 0)
    return mha_internal_in_file(path, mha_internal_fail(MHA_IO_ERROR, "%s", strerror(errno)));
  struct stat status;
  if (fstat(opened, &status) != 0) {
    const int error = errno;
    close(opened);
    return mha_internal_in_file(path, mha_internal_fail(MHA_IO_ERROR, "%s", strerror(error)));
  }
  if (!S_ISREG(status.st_mode)) {
    close(opened);
    return mha_internal_in_file(path, mha_internal_fail(MHA_IO_ERROR, "not a regular file"));
  }
  *descriptor = opened;
  *bytes = static_cast<uint64_t>(status.st_size);
  return MHA_OK;
}

mha_status mha_internal_read(int descriptor, uint64_t offset, void* data, size_t bytes) {
  uint8_t* at = static_cast<uint8_t*>(data);
  while (bytes > 0) {
    // One read returns at most 2^31 - 4096 bytes.
    const size_t chunk = bytes < (size_t{1} << 30) ? bytes : size_t{1} << 30;
    const ssize_t got = pread(descriptor, at, chunk, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return mha_internal_fail(MHA_IO_ERROR, "%s", strerror(errno));
    if (got == 0)
      return mha_internal_fail(MHA_BAD_FILE, "the file became shorter while it was read");
    at += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<size_t>(got);
  }
  return MHA_OK;
}

mha_status mha_internal_read_header(int descriptor, uint64_t file_bytes, mha_safetensors** file,
                                    uint64_t* data_offset) {
  if (file_bytes < 8) {
    return mha_internal_fail(MHA_BAD_FILE,
                             "%llu bytes are no safetensors file: it begins with 8 bytes of length",
                             static_cast<unsigned long long>(file_bytes));
  }
  uint8_t prefix[8];
  mha_status status = mha_internal_read(descriptor, 0, prefix, sizeof prefix);
  if (status != MHA_OK) return status;
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | prefix[i];
  if (length > mha::kSafetensorsMaxHeader || length > file_bytes - 8) {
    return mha_internal_fail(
        MHA_BAD_FILE,
        "the header says it has %llu bytes; the file has %llu more (and %llu is the most)",
        static_cast<unsigned long long>(length), static_cast<unsigned long long>(file_bytes - 8),
        static_cast<unsigned long long>(mha::kSafetensorsMaxHeader));
  }
  char* header = static_cast<char*>(malloc(length == 0 ? 1 : length));
  if (header == nullptr) return mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for a header");
  status = mha_internal_read(descriptor, 8, header, length);
  if (status != MHA_OK) {
    free(header);
    return status;
  }
  *data_offset = 8 + length;
  return mha_internal_safetensors_header(header, length, file_bytes - *data_offset, file);
}

mha_status mha_safetensors_open(const char* path, mha_safetensors** file) {
  if (path == nullptr || file == nullptr) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "%s is NULL", path == nullptr ? "path" : "file");
  }
  *file = nullptr;
  int descriptor = -1;
  uint64_t bytes = 0;
  mha_status status = mha_internal_open(path, &descriptor, &bytes);
  if (status != MHA_OK) return status;
  status = open_file(path, descriptor, bytes, file);
  close(descriptor);
  return status;
}

}  // extern "C"
