// Weights from a model's files: a safetensors file, or the index of a model in shards. Only what
// the kernel needs is read: of a fused tensor the rows (or columns, where it lies turned) of each
// weight.
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
  Wanted* wanted;          // as many as the kernel has weights
  mha::WeightView* views;  // likewise
  char* index;             // text of the index; NULL without one
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

// Where a weight lies in its tensor.
bool is_turned(const mha_weight_info& info) { return info.source_flags & MHA_SOURCE_TURNED; }
bool is_part(const mha_weight_info& info) { return info.source_flags & MHA_SOURCE_ROWS; }
int64_t first_row(const mha_weight_info& info) { return is_part(info) ? info.source_first_row : 0; }
int64_t end_row(const mha_weight_info& info) { return first_row(info) + info.shape[0]; }

// "tensor 'c_attn' has shape [8, 23]; weight 'w_v', rows 16 to 24 of it transposed, needs [8, 24 or
// more]"
mha_status wrong_shape(const mha_weight_info& info, const char* name,
                       const mha::SafetensorsEntry& entry) {
  char given[192], which[128] = "", rows[48], columns[32] = "";
  mha_internal_shape_text(given, sizeof given, entry.rank, entry.shape);
  if (is_part(info)) {
    snprintf(which, sizeof which, ", rows %lld to %lld of it%s,",
             static_cast<long long>(first_row(info)), static_cast<long long>(end_row(info)),
             is_turned(info) ? " transposed" : "");
  } else if (is_turned(info)) {
    snprintf(which, sizeof which, ", all of it transposed,");
  }
  snprintf(rows, sizeof rows, "%lld%s", static_cast<long long>(end_row(info)),
           is_part(info) ? " or more" : "");
  if (info.rank == 2)
    snprintf(columns, sizeof columns, "%lld", static_cast<long long>(info.shape[1]));
  return mha_internal_fail(MHA_BAD_FILE, "tensor '%s' has shape %s; weight '%s'%s needs [%s%s%s]",
                           name, given, info.name, which, is_turned(info) ? columns : rows,
                           info.rank == 2 ? ", " : "", is_turned(info) ? rows : columns);
}

mha_status check_tensor(const mha_weight_info& info, const char* name,
                        const mha::SafetensorsEntry& entry) {
  const uint32_t row_axis = is_turned(info) ? 1 : 0;
  if (entry.rank != static_cast<int32_t>(info.rank) || row_axis >= info.rank ||
      (is_part(info) ? entry.shape[row_axis] < end_row(info)
                     : entry.shape[row_axis] != end_row(info)) ||
      (info.rank == 2 && entry.shape[1 - row_axis] != info.shape[1])) {
    return wrong_shape(info, name, entry);
  }
  const mha_status status = mha_internal_check_weight_dtype(&info, entry.dtype, MHA_BAD_FILE);
  if (status != MHA_OK && strcmp(name, info.name) != 0) {
    char prefix[kNameBytes + 32];
    snprintf(prefix, sizeof prefix, "tensor '%s': ", name);
    mha_internal_prefix_message(prefix);
  }
  return status;
}

// Reads the weight out of a tensor that was checked. What is kept is dense, in the order of the
// file.
mha_status read_tensor(const mha_weight_info& info, const mha::SafetensorsEntry& entry,
                       int descriptor, uint64_t data_offset, Wanted* wanted,
                       mha::WeightView* view) {
  const uint64_t element = mha_internal_dtype_bytes(entry.dtype);
  const uint64_t rows = static_cast<uint64_t>(info.shape[0]);
  const uint64_t columns = info.rank == 2 ? static_cast<uint64_t>(info.shape[1]) : 1;
  const uint64_t first = static_cast<uint64_t>(first_row(info));
  // No more than the tensor has, whose size was checked against overflow.
  const size_t size = rows * columns * element;
  uint8_t* data = static_cast<uint8_t*>(malloc(size == 0 ? 1 : size));
  wanted->data = data;
  if (data == nullptr)
    return mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for tensor '%s'", wanted->name);
  const uint64_t begin = data_offset + entry.begin;
  if (!is_turned(info)) {
    *view = {data, entry.dtype, static_cast<int64_t>(columns), 1};
    return mha_internal_read(descriptor, begin + first * columns * element, data, size);
  }
  *view = {data, entry.dtype, 1, static_cast<int64_t>(rows)};
  const uint64_t file_rows = static_cast<uint64_t>(entry.shape[1]), run = rows * element;
  if (file_rows == rows) return mha_internal_read(descriptor, begin, data, size);
  for (uint64_t column = 0; column < columns; ++column) {
    const mha_status status = mha_internal_read(
        descriptor, begin + (column * file_rows + first) * element, data + column * run, run);
    if (status != MHA_OK) return status;
  }
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
    // The shape comes first, lest a wrong tensor be read at all.
    status = check_tensor(info, wanted.name, *entry);
    if (status == MHA_OK) {
      status = read_tensor(info, *entry, descriptor, data_offset, &wanted, &load->views[w]);
    }
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
          wanted.name, mha_internal_json_is_printable(wanted.shard) ? wanted.shard : "?");
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

extern "C" mha_status mha_weights_load(const mha_kernel* library, const char* path, int32_t layer,
                                       mha_weights** weights) {
  if (weights == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "weights is NULL");
  *weights = nullptr;
  const mha_kernel* kernel;
  mha_status status = mha_internal_choose(library, &kernel);
  if (status != MHA_OK) return status;
  if (path == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "path is NULL");
  if (kernel->weight_count == 0) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "kernel '%s' has no weights", kernel->info.name);
  }
  Load load = {};
  load.kernel = kernel;
  load.wanted = static_cast<Wanted*>(calloc(kernel->weight_count, sizeof(Wanted)));
  load.views = static_cast<mha::WeightView*>(calloc(kernel->weight_count, sizeof(mha::WeightView)));
  if (load.wanted == nullptr || load.views == nullptr) {
    status = mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for a list of weights");
  } else {
    status = load_all(&load, path, layer);
    if (status == MHA_OK) status = mha_internal_pack(kernel, load.views, weights);
    for (uint64_t w = 0; w < kernel->weight_count; ++w) free(load.wanted[w].data);
  }
  free(load.wanted);
  free(load.views);
  free(load.index);
  return status;
}
