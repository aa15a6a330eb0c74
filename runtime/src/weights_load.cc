// Weights from a model's files: a safetensors file, or the index of a model in shards. Only the
// tensors that the kernel needs are read.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/src/internal.h"
#include "runtime/src/json.h"
#include "runtime/src/safetensors.h"

namespace {

using mha::Json;

constexpr size_t kNameBytes = 512;
constexpr size_t kPathBytes = 4096;

// One weight on its way from file to pack.
struct Wanted {
  char name[kNameBytes];  // in the model's file
  const char* shard;      // in the index; NULL without one
  void* data;
  bool done;
};

struct Load {
  const mha_kernel* kernel;
  Wanted* wanted;            // as many as the kernel has weights
  mha_weight_array* arrays;  // likewise
  char* index;               // text of the index; NULL without one
};

// The name in the model's file: {layer} becomes the number.
mha_status expand_name(const mha_weight_info& info, int32_t layer, char* name) {
  const char* from = info.source_name != nullptr ? info.source_name : info.name;
  size_t length = 0;
  while (*from != '\0' && length + 1 < kNameBytes) {
    if (strncmp(from, "{layer}", 7) != 0) {
      name[length++] = *from++;
      continue;
    }
    if (layer < 0) {
      return mha_internal_fail(MHA_INVALID_ARGUMENT,
                               "layer is %d; the name '%s' of weight '%s' needs one of 0 or more",
                               layer, info.source_name, info.name);
    }
    const int digits = snprintf(name + length, kNameBytes - length, "%d", layer);
    length += static_cast<size_t>(digits);
    from += 7;
  }
  if (*from != '\0' || length >= kNameBytes) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "the name of weight '%s' in files is too long",
                             info.name);
  }
  name[length] = '\0';
  return MHA_OK;
}

// Reads what `shard` (NULL: every weight) has of the wanted tensors.
mha_status load_from(Load* load, const char* path, const char* shard, int descriptor,
                     uint64_t bytes) {
  mha_safetensors* file = nullptr;
  uint64_t data_offset = 0;
  mha_status status = mha_internal_read_header(descriptor, bytes, &file, &data_offset);
  if (status != MHA_OK) return mha_internal_in_file(path, status);
  for (uint64_t w = 0; w < load->kernel->weight_count && status == MHA_OK; ++w) {
    const mha_weight_info& info = load->kernel->weights[w];
    Wanted& wanted = load->wanted[w];
    if (wanted.done || (shard != nullptr && strcmp(wanted.shard, shard) != 0)) continue;
    const mha::SafetensorsEntry* entry = mha_internal_safetensors_entry(file, wanted.name);
    if (entry == nullptr) {
      status = mha_internal_fail(MHA_BAD_FILE,
                                 "no tensor '%s', which is to be weight '%s' of kernel '%s'",
                                 wanted.name, info.name, load->kernel->info.name);
      break;
    }
    mha_weight_array& array = load->arrays[w];
    array.name = info.name;
    array.dtype = entry->dtype;
    array.rank = entry->rank;
    for (int i = 0; i < entry->rank && i < MHA_MAX_RANK; ++i) array.shape[i] = entry->shape[i];
    array.data =
        &array;  // until it is read; the shape comes first, lest a wrong tensor be read at all
    status = mha_internal_check_weight(&info, &array, MHA_BAD_FILE);
    if (status != MHA_OK) {
      if (strcmp(wanted.name, info.name) != 0) {
        char prefix[kNameBytes + 32];
        snprintf(prefix, sizeof prefix, "tensor '%s': ", wanted.name);
        mha_internal_prefix_message(prefix);
      }
      break;
    }
    const size_t size = entry->end - entry->begin;
    wanted.data = malloc(size == 0 ? 1 : size);
    if (wanted.data == nullptr) {
      status = mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for tensor '%s'", wanted.name);
      break;
    }
    array.data = wanted.data;
    status = mha_internal_read(descriptor, data_offset + entry->begin, wanted.data, size);
    wanted.done = true;
  }
  mha_safetensors_close(file);
  return status == MHA_OK ? MHA_OK : mha_internal_in_file(path, status);
}

// Finds the shard of each wanted tensor in {"weight_map": {tensor: shard}}.
mha_status read_index(Load* load, size_t bytes) {
  Json json = mha_internal_json(load->index, bytes);
  const auto bad = [&] {
    return mha_internal_fail(MHA_BAD_FILE, "the index is not valid JSON at byte %zu: %s",
                             static_cast<size_t>(json.error_at - json.begin), json.error);
  };
  bool first = true, more = false, has_map = false;
  char* key;
  char* shard;
  if (!mha_internal_json_expect(&json, '{')) return bad();
  for (;;) {
    if (!mha_internal_json_next(&json, '}', &first, &more)) return bad();
    if (!more) break;
    if (!mha_internal_json_string(&json, &key) || !mha_internal_json_expect(&json, ':'))
      return bad();
    if (strcmp(key, "weight_map") != 0) {
      if (!mha_internal_json_skip(&json)) return bad();
      continue;
    }
    if (has_map) return mha_internal_fail(MHA_BAD_FILE, "the index has weight_map twice");
    has_map = true;
    bool first_tensor = true;
    if (!mha_internal_json_expect(&json, '{')) return bad();
    for (;;) {
      if (!mha_internal_json_next(&json, '}', &first_tensor, &more)) return bad();
      if (!more) break;
      if (!mha_internal_json_string(&json, &key) || !mha_internal_json_expect(&json, ':') ||
          !mha_internal_json_string(&json, &shard)) {
        return bad();
      }
      for (uint64_t w = 0; w < load->kernel->weight_count; ++w) {
        Wanted& wanted = load->wanted[w];
        if (strcmp(wanted.name, key) != 0) continue;
        if (wanted.shard != nullptr && wanted.shard != shard) {
          return mha_internal_fail(MHA_BAD_FILE, "the index has tensor '%s' twice", key);
        }
        wanted.shard = shard;
      }
    }
  }
  if (!mha_internal_json_end(&json)) return bad();
  if (!has_map) return mha_internal_fail(MHA_BAD_FILE, "the index has no weight_map");
  for (uint64_t w = 0; w < load->kernel->weight_count; ++w) {
    const Wanted& wanted = load->wanted[w];
    if (wanted.shard == nullptr) {
      return mha_internal_fail(
          MHA_BAD_FILE, "the index has no tensor '%s', which is to be weight '%s' of kernel '%s'",
          wanted.name, load->kernel->weights[w].name, load->kernel->info.name);
    }
    // Shards lie beside their index; a name that leads elsewhere is no shard.
    if (wanted.shard[0] == '\0' || wanted.shard[0] == '.' || strchr(wanted.shard, '/') != nullptr) {
      return mha_internal_fail(
          MHA_BAD_FILE, "the index puts tensor '%s' into '%.200s', which is no file beside it",
          wanted.name, wanted.shard);
    }
  }
  return MHA_OK;
}

mha_status load_shards(Load* load, const char* path, int descriptor, uint64_t bytes) {
  if (bytes > mha::kSafetensorsMaxHeader) {
    return mha_internal_in_file(
        path, mha_internal_fail(MHA_BAD_FILE, "an index of %llu bytes; %llu is the most",
                                static_cast<unsigned long long>(bytes),
                                static_cast<unsigned long long>(mha::kSafetensorsMaxHeader)));
  }
  load->index = static_cast<char*>(malloc(bytes));
  if (load->index == nullptr)
    return mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for the index");
  mha_status status = mha_internal_read(descriptor, 0, load->index, bytes);
  if (status == MHA_OK) status = read_index(load, bytes);
  if (status != MHA_OK) return mha_internal_in_file(path, status);
  const char* slash = strrchr(path, '/');
  const int folder = slash == nullptr ? 0 : static_cast<int>(slash - path + 1);
  for (uint64_t w = 0; w < load->kernel->weight_count; ++w) {
    if (load->wanted[w].done) continue;
    char shard_path[kPathBytes];
    const int length =
        snprintf(shard_path, sizeof shard_path, "%.*s%s", folder, path, load->wanted[w].shard);
    if (length < 0 || length >= static_cast<int>(sizeof shard_path)) {
      return mha_internal_in_file(
          path, mha_internal_fail(MHA_BAD_FILE, "the path of a shard is too long"));
    }
    int shard;
    uint64_t shard_bytes;
    status = mha_internal_open(shard_path, &shard, &shard_bytes);
    if (status != MHA_OK) return status;
    status = load_from(load, shard_path, load->wanted[w].shard, shard, shard_bytes);
    close(shard);
    if (status != MHA_OK) return status;
  }
  return MHA_OK;
}

// As a safetensors file begins with a length below 2^32, its eighth byte is zero; that of a text is
// not.
mha_status is_index(int descriptor, uint64_t bytes, bool* index) {
  uint8_t prefix[8] = {};
  *index = false;
  if (bytes < sizeof prefix) return MHA_OK;
  const mha_status status = mha_internal_read(descriptor, 0, prefix, sizeof prefix);
  if (status != MHA_OK) return status;
  size_t at = 0;
  while (at < sizeof prefix &&
         (prefix[at] == ' ' || prefix[at] == '\n' || prefix[at] == '\r' || prefix[at] == '\t')) {
    ++at;
  }
  *index = prefix[7] != 0 && at < sizeof prefix && prefix[at] == '{';
  return MHA_OK;
}

mha_status load_all(Load* load, const char* path, int32_t layer) {
  mha_status status = MHA_OK;
  for (uint64_t w = 0; w < load->kernel->weight_count && status == MHA_OK; ++w) {
    status = expand_name(load->kernel->weights[w], layer, load->wanted[w].name);
  }
  if (status != MHA_OK) return status;
  int descriptor;
  uint64_t bytes;
  status = mha_internal_open(path, &descriptor, &bytes);
  if (status != MHA_OK) return status;
  bool index;
  status = is_index(descriptor, bytes, &index);
  if (status != MHA_OK) {
    mha_internal_in_file(path, status);
  } else if (index) {
    status = load_shards(load, path, descriptor, bytes);
  } else {
    status = load_from(load, path, nullptr, descriptor, bytes);
  }
  close(descriptor);
  return status;
}

}  // namespace

extern "C" mha_status mha_weights_load(const mha_kernel* kernel, const char* path, int32_t layer,
                                       mha_weights** weights) {
  if (weights == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "weights is NULL");
  *weights = nullptr;
  mha_status status = mha_kernel_check(kernel);
  if (status != MHA_OK) return status;
  if (path == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "path is NULL");
  if (kernel->weight_count == 0) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "kernel '%s' has no weights", kernel->info.name);
  }
  Load load = {};
  load.kernel = kernel;
  load.wanted = static_cast<Wanted*>(calloc(kernel->weight_count, sizeof(Wanted)));
  load.arrays =
      static_cast<mha_weight_array*>(calloc(kernel->weight_count, sizeof(mha_weight_array)));
  if (load.wanted == nullptr || load.arrays == nullptr) {
    status = mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for a list of weights");
  } else {
    status = load_all(&load, path, layer);
    if (status == MHA_OK) status = mha_internal_pack(kernel, load.arrays, weights);
    for (uint64_t w = 0; w < kernel->weight_count; ++w) free(load.wanted[w].data);
  }
  free(load.wanted);
  free(load.arrays);
  free(load.index);
  return status;
}
