// A parsed safetensors header, with or without its data in memory.
#ifndef MHA_RUNTIME_SRC_SAFETENSORS_H_
#define MHA_RUNTIME_SRC_SAFETENSORS_H_

#include <stddef.h>
#include <stdint.h>

#include "mha/mha.h"

namespace mha {

enum : int { kSafetensorsMaxRank = 8 };
enum : uint64_t { kSafetensorsMaxHeader = 100'000'000 };

struct SafetensorsEntry {
  const char* name;  // in the header
  mha_dtype dtype;
  int32_t rank;
  int64_t shape[kSafetensorsMaxRank];
  uint64_t begin, end;  // in the data
};

}  // namespace mha

struct mha_safetensors {
  char* header;                    // owned; names point into it
  mha::SafetensorsEntry* entries;  // by begin
  const mha::SafetensorsEntry** by_name;
  size_t count;
  size_t capacity;
  const uint8_t* data;  // NULL: header only
  void* owned_data;
};

#pragma GCC visibility push(hidden)
extern "C" {

// Parses a header of `bytes` bytes for a file with `data_bytes` after it. Takes the header, which
// malloc gave and which has room for no more than `bytes`, in any case.
mha_status mha_internal_safetensors_header(char* header, size_t bytes, uint64_t data_bytes,
                                           mha_safetensors** file);
const mha::SafetensorsEntry* mha_internal_safetensors_entry(const mha_safetensors* file,
                                                            const char* name);

// Puts "path: " before the message of this thread; of a long path its end, so that the cause stays
// whole. Returns the status.
mha_status mha_internal_in_file(const char* path, mha_status status);
// Opens a regular file for reading. The descriptor is the caller's to close.
mha_status mha_internal_open(const char* path, int* descriptor, uint64_t* bytes);
// Reads exactly `bytes` at `offset`; a file that ends before is MHA_BAD_FILE.
mha_status mha_internal_read(int descriptor, uint64_t offset, void* data, size_t bytes);
// The length of the header and the header itself, checked against the size of the file.
mha_status mha_internal_read_header(int descriptor, uint64_t file_bytes, mha_safetensors** file,
                                    uint64_t* data_offset);

}  // extern "C"
#pragma GCC visibility pop

#endif  // MHA_RUNTIME_SRC_SAFETENSORS_H_
