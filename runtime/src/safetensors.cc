// A reader for the safetensors format (https://huggingface.co/docs/safetensors): 8 bytes of header
// length, a JSON header, the data. Files come from anywhere, so that nothing in them is believed: a
// file is refused unless its tensors cover the data exactly, each with the bytes that its shape and
// dtype need.
#include "runtime/src/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/src/internal.h"
#include "runtime/src/json.h"

namespace {

using mha::Json;
using mha::SafetensorsEntry;

struct DtypeName {
  const char* name;
  mha_dtype dtype;
  uint32_t bits;
};
constexpr DtypeName kDtypes[] = {
    {"F32", MHA_F32, 32},
    {"BF16", MHA_BF16, 16},
    {"F16", MHA_F16, 16},
    {"I32", MHA_I32, 32},
    {"I64", MHA_I64, 64},
    {"U8", MHA_U8, 8},
    {"BOOL", MHA_BOOL, 8},
    {"I8", MHA_I8, 8},
    {"F64", MHA_DTYPE_OTHER, 64},
    {"I16", MHA_DTYPE_OTHER, 16},
    {"U16", MHA_DTYPE_OTHER, 16},
    {"U32", MHA_DTYPE_OTHER, 32},
    {"U64", MHA_DTYPE_OTHER, 64},
    {"F8_E4M3", MHA_DTYPE_OTHER, 8},
    {"F8_E5M2", MHA_DTYPE_OTHER, 8},
    {"F8_E8M0", MHA_DTYPE_OTHER, 8},
    {"F6_E2M3", MHA_DTYPE_OTHER, 6},
    {"F6_E3M2", MHA_DTYPE_OTHER, 6},
    {"F4", MHA_DTYPE_OTHER, 4},
    {"C64", MHA_DTYPE_OTHER, 64},
};

mha_status json_failed(const Json& json) {
  return mha_internal_fail(MHA_BAD_FILE, "the header is not valid JSON at byte %zu: %s",
                           static_cast<size_t>(json.error_at - json.begin), json.error);
}

// [n, n, ...] of at most `limit` integers.
mha_status read_integers(Json* json, int64_t* values, int limit, int* count) {
  bool first = true, more = false;
  *count = 0;
  if (!mha_internal_json_expect(json, '[')) return json_failed(*json);
  while (mha_internal_json_next(json, ']', &first, &more)) {
    if (!more) return MHA_OK;
    int64_t value;
    if (!mha_internal_json_integer(json, &value)) return json_failed(*json);
    if (*count < limit) values[*count] = value;
    ++*count;
  }
  return json_failed(*json);
}

// What one tensor needs, from its shape and dtype.
mha_status check_size(const SafetensorsEntry& entry, uint32_t bits) {
  int64_t total = bits;
  for (int i = 0; i < entry.rank; ++i) {
    if (__builtin_mul_overflow(total, entry.shape[i], &total)) {
      return mha_internal_fail(MHA_BAD_FILE, "tensor '%s' has an impossible size", entry.name);
    }
  }
  if (total % 8 != 0) {
    return mha_internal_fail(MHA_BAD_FILE, "tensor '%s' does not fill whole bytes", entry.name);
  }
  if (entry.end < entry.begin || entry.end - entry.begin != static_cast<uint64_t>(total / 8)) {
    return mha_internal_fail(
        MHA_BAD_FILE,
        "tensor '%s' has data_offsets [%llu, %llu], but its shape and dtype need %lld bytes",
        entry.name, static_cast<unsigned long long>(entry.begin),
        static_cast<unsigned long long>(entry.end), static_cast<long long>(total / 8));
  }
  return MHA_OK;
}

mha_status read_entry(Json* json, SafetensorsEntry* entry) {
  uint32_t bits = 0;
  bool has_shape = false, has_offsets = false;
  bool first = true, more = false;
  if (!mha_internal_json_expect(json, '{')) return json_failed(*json);
  for (;;) {
    if (!mha_internal_json_next(json, '}', &first, &more)) return json_failed(*json);
    if (!more) break;
    char* key;
    if (!mha_internal_json_string(json, &key) || !mha_internal_json_expect(json, ':'))
      return json_failed(*json);
    bool twice = false;
    if (strcmp(key, "dtype") == 0) {
      twice = bits != 0;
      char* name;
      if (!mha_internal_json_string(json, &name)) return json_failed(*json);
      for (const DtypeName& known : kDtypes) {
        if (strcmp(known.name, name) != 0) continue;
        entry->dtype = known.dtype;
        bits = known.bits;
      }
      if (bits == 0) {
        return mha_internal_fail(MHA_BAD_FILE,
                                 "tensor '%s' has a dtype unknown to this reader: '%.32s'",
                                 entry->name, mha_internal_json_is_printable(name) ? name : "?");
      }
    } else if (strcmp(key, "shape") == 0) {
      twice = has_shape;
      has_shape = true;
      int count;
      const mha_status status = read_integers(json, entry->shape, mha::kSafetensorsMaxRank, &count);
      if (status != MHA_OK) return status;
      if (count > mha::kSafetensorsMaxRank) {
        return mha_internal_fail(MHA_BAD_FILE,
                                 "tensor '%s' has %d axes; this reader takes up to %d", entry->name,
                                 count, static_cast<int>(mha::kSafetensorsMaxRank));
      }
      entry->rank = count;
    } else if (strcmp(key, "data_offsets") == 0) {
      twice = has_offsets;
      has_offsets = true;
      int64_t offsets[2];
      int count;
      const mha_status status = read_integers(json, offsets, 2, &count);
      if (status != MHA_OK) return status;
      if (count != 2) {
        return mha_internal_fail(MHA_BAD_FILE, "tensor '%s' has %d data_offsets instead of 2",
                                 entry->name, count);
      }
      entry->begin = static_cast<uint64_t>(offsets[0]);
      entry->end = static_cast<uint64_t>(offsets[1]);
    } else if (!mha_internal_json_skip(json)) {
      return json_failed(*json);
    }
    if (twice) {
      return mha_internal_fail(MHA_BAD_FILE, "tensor '%s' has '%s' twice", entry->name, key);
    }
  }
  if (bits == 0 || !has_shape || !has_offsets) {
    return mha_internal_fail(MHA_BAD_FILE, "tensor '%s' has no %s", entry->name,
                             bits == 0   ? "dtype"
                             : has_shape ? "data_offsets"
                                         : "shape");
  }
  return check_size(*entry, bits);
}

// Free text of whoever wrote the file: strings by name.
mha_status skip_metadata(Json* json) {
  bool first = true, more = false;
  if (!mha_internal_json_expect(json, '{')) return json_failed(*json);
  while (mha_internal_json_next(json, '}', &first, &more)) {
    if (!more) return MHA_OK;
    char* text;
    if (!mha_internal_json_string(json, &text) || !mha_internal_json_expect(json, ':') ||
        !mha_internal_json_string(json, &text)) {
      break;
    }
  }
  return json_failed(*json);
}

mha_status add_entry(mha_safetensors* file, const SafetensorsEntry& entry) {
  if (file->count == file->capacity) {
    const size_t capacity = file->capacity == 0 ? 64 : file->capacity * 2;
    void* grown = realloc(file->entries, capacity * sizeof(SafetensorsEntry));
    if (grown == nullptr)
      return mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for a list of tensors");
    file->entries = static_cast<SafetensorsEntry*>(grown);
    file->capacity = capacity;
  }
  file->entries[file->count++] = entry;
  return MHA_OK;
}

mha_status read_entries(Json* json, mha_safetensors* file) {
  bool first = true, more = false, has_metadata = false;
  if (json->at == json->end || *json->at != '{') {
    return mha_internal_fail(MHA_BAD_FILE, "the header does not begin with '{'");
  }
  ++json->at;
  for (;;) {
    if (!mha_internal_json_next(json, '}', &first, &more)) return json_failed(*json);
    if (!more) break;
    char* name;
    if (!mha_internal_json_string(json, &name) || !mha_internal_json_expect(json, ':'))
      return json_failed(*json);
    mha_status status;
    if (strcmp(name, "__metadata__") == 0) {
      if (has_metadata) return mha_internal_fail(MHA_BAD_FILE, "the header has __metadata__ twice");
      has_metadata = true;
      status = skip_metadata(json);
    } else if (!mha_internal_json_is_printable(name)) {
      return mha_internal_fail(MHA_BAD_FILE, "tensor %zu has control characters in its name",
                               file->count);
    } else {
      SafetensorsEntry entry = {};
      entry.name = name;
      status = read_entry(json, &entry);
      if (status == MHA_OK) status = add_entry(file, entry);
    }
    if (status != MHA_OK) return status;
  }
  return mha_internal_json_end(json) ? MHA_OK : json_failed(*json);
}

int compare_places(const void* left, const void* right) {
  const SafetensorsEntry* a = static_cast<const SafetensorsEntry*>(left);
  const SafetensorsEntry* b = static_cast<const SafetensorsEntry*>(right);
  if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
  if (a->end != b->end) return a->end < b->end ? -1 : 1;
  return strcmp(a->name, b->name);
}

int compare_names(const void* left, const void* right) {
  return strcmp((*static_cast<const SafetensorsEntry* const*>(left))->name,
                (*static_cast<const SafetensorsEntry* const*>(right))->name);
}

// The tensors must follow each other without gap or overlap, from the first byte of the data to the
// last.
mha_status check_places(const mha_safetensors* file, uint64_t data_bytes) {
  uint64_t at = 0;
  for (size_t i = 0; i < file->count; ++i) {
    const SafetensorsEntry& entry = file->entries[i];
    if (entry.begin != at) {
      return mha_internal_fail(
          MHA_BAD_FILE, "tensor '%s' begins at byte %llu of the data, %s at %llu", entry.name,
          static_cast<unsigned long long>(entry.begin),
          entry.begin < at ? "inside the tensor that ends" : "after a gap that begins",
          static_cast<unsigned long long>(at));
    }
    at = entry.end;
    if (at > data_bytes) {
      return mha_internal_fail(
          MHA_BAD_FILE,
          "the file is cut short: tensor '%s' ends at byte %llu of the data, which has %llu",
          entry.name, static_cast<unsigned long long>(at),
          static_cast<unsigned long long>(data_bytes));
    }
  }
  if (at != data_bytes) {
    return mha_internal_fail(MHA_BAD_FILE, "the data has %llu bytes that belong to no tensor",
                             static_cast<unsigned long long>(data_bytes - at));
  }
  return MHA_OK;
}

mha_status index_names(mha_safetensors* file) {
  file->by_name =
      static_cast<const SafetensorsEntry**>(malloc((file->count + 1) * sizeof(SafetensorsEntry*)));
  if (file->by_name == nullptr)
    return mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for a list of names");
  for (size_t i = 0; i < file->count; ++i) file->by_name[i] = &file->entries[i];
  qsort(file->by_name, file->count, sizeof(SafetensorsEntry*), compare_names);
  for (size_t i = 1; i < file->count; ++i) {
    if (strcmp(file->by_name[i - 1]->name, file->by_name[i]->name) == 0) {
      return mha_internal_fail(MHA_BAD_FILE, "two tensors have the name '%s'",
                               file->by_name[i]->name);
    }
  }
  return MHA_OK;
}

void describe(const mha_safetensors* file, const SafetensorsEntry& entry,
              mha_safetensors_tensor* tensor) {
  memset(tensor, 0, sizeof *tensor);
  tensor->name = entry.name;
  tensor->dtype = entry.dtype;
  tensor->rank = entry.rank;
  memcpy(tensor->shape, entry.shape, sizeof entry.shape);
  tensor->data = file->data + entry.begin;
  tensor->bytes = entry.end - entry.begin;
}

}  // namespace

extern "C" {

mha_status mha_internal_safetensors_header(char* header, size_t bytes, uint64_t data_bytes,
                                           mha_safetensors** result) {
  mha_safetensors* file = static_cast<mha_safetensors*>(calloc(1, sizeof(mha_safetensors)));
  if (file == nullptr) {
    free(header);
    return mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for a safetensors file");
  }
  file->header = header;
  Json json = mha_internal_json(header, bytes);
  mha_status status = read_entries(&json, file);
  // by_name points to entries, which therefore are put in their order first.
  if (status == MHA_OK) {
    if (file->count > 0)
      qsort(file->entries, file->count, sizeof(SafetensorsEntry), compare_places);
    status = index_names(file);
  }
  if (status == MHA_OK) status = check_places(file, data_bytes);
  if (status != MHA_OK) {
    mha_safetensors_close(file);
    return status;
  }
  *result = file;
  return MHA_OK;
}

const SafetensorsEntry* mha_internal_safetensors_entry(const mha_safetensors* file,
                                                       const char* name) {
  size_t low = 0, high = file->count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    const int order = strcmp(file->by_name[middle]->name, name);
    if (order == 0) return file->by_name[middle];
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return nullptr;
}

mha_status mha_safetensors_parse(const void* data, size_t bytes, mha_safetensors** file) {
  if (file == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "file is NULL");
  *file = nullptr;
  if (data == nullptr && bytes > 0) return mha_internal_fail(MHA_INVALID_ARGUMENT, "data is NULL");
  if (bytes < 8) {
    return mha_internal_fail(
        MHA_BAD_FILE, "%zu bytes are no safetensors file: it begins with 8 bytes of length", bytes);
  }
  const uint8_t* from = static_cast<const uint8_t*>(data);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | from[i];
  if (length > mha::kSafetensorsMaxHeader || length > bytes - 8) {
    return mha_internal_fail(
        MHA_BAD_FILE, "the header says it has %llu bytes; there are %zu (and %llu is the most)",
        static_cast<unsigned long long>(length), bytes - 8,
        static_cast<unsigned long long>(mha::kSafetensorsMaxHeader));
  }
  char* header = static_cast<char*>(malloc(length == 0 ? 1 : length));
  if (header == nullptr) return mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for a header");
  memcpy(header, from + 8, length);
  const mha_status status =
      mha_internal_safetensors_header(header, length, bytes - 8 - length, file);
  if (status == MHA_OK) (*file)->data = from + 8 + length;
  return status;
}

void mha_safetensors_close(mha_safetensors* file) {
  if (file == nullptr) return;
  free(file->header);
  free(file->entries);
  free(file->by_name);
  free(file->owned_data);
  free(file);
}

size_t mha_safetensors_count(const mha_safetensors* file) {
  return file == nullptr ? 0 : file->count;
}

mha_status mha_safetensors_get(const mha_safetensors* file, size_t index,
                               mha_safetensors_tensor* tensor) {
  if (file == nullptr || tensor == nullptr) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "%s is NULL",
                             file == nullptr ? "file" : "tensor");
  }
  if (index >= file->count) {
    return mha_internal_fail(MHA_OUT_OF_RANGE, "index is %zu; the file has %zu tensors", index,
                             file->count);
  }
  describe(file, file->entries[index], tensor);
  return MHA_OK;
}

mha_status mha_safetensors_find(const mha_safetensors* file, const char* name,
                                mha_safetensors_tensor* tensor) {
  if (file == nullptr || name == nullptr || tensor == nullptr) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "%s is NULL",
                             file == nullptr   ? "file"
                             : name == nullptr ? "name"
                                               : "tensor");
  }
  const SafetensorsEntry* entry = mha_internal_safetensors_entry(file, name);
  if (entry == nullptr) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "the file has no tensor '%s'", name);
  }
  describe(file, *entry, tensor);
  return MHA_OK;
}

}  // extern "C"
