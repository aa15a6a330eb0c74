// Rows of K and V in and out of the pages, one number at a time.
#include "runtime/src/cache.h"
#include "runtime/src/floats.h"

namespace {

// Where an element of a page lies.
int64_t key_element(const mha_cache& cache, int64_t head, int64_t key, int64_t d) {
  const int64_t pair = cache.info.key_form == MHA_FORM_KEY_PAIR_PANELS ? 2 : 1;
  const int64_t panels = cache.info.page / MHA_CACHE_PANEL;
  const int64_t panel = head * panels + key / MHA_CACHE_PANEL;
  return ((panel * (cache.info.d_head_padded / pair) + d / pair) * MHA_CACHE_PANEL +
          key % MHA_CACHE_PANEL) *
             pair +
         d % pair;
}

int64_t value_element(const mha_cache& cache, int64_t head, int64_t key, int64_t d) {
  const int64_t pair = cache.info.value_form == MHA_FORM_VALUE_PAIRS ? 2 : 1;
  const int64_t row = head * (cache.info.page / pair) + key / pair;
  return (row * cache.info.d_value_padded + d) * pair + key % pair;
}

// A number between a page (`inside`) and the caller's rows, which may have another type.
void get(uint32_t inside, const void* page, int64_t at, uint32_t outside, void* rows, int64_t to) {
  if (inside == MHA_F32) {
    static_cast<float*>(rows)[to] = static_cast<const float*>(page)[at];
    return;
  }
  const uint16_t bits = static_cast<const uint16_t*>(page)[at];
  if (outside == inside) {
    static_cast<uint16_t*>(rows)[to] = bits;
  } else {
    static_cast<float*>(rows)[to] =
        inside == MHA_BF16 ? mha::float_of_bfloat(bits) : mha::float_of_half(bits);
  }
}

void put(uint32_t inside, void* page, int64_t at, uint32_t outside, const void* rows,
         int64_t from) {
  if (inside == MHA_F32) {
    static_cast<float*>(page)[at] = static_cast<const float*>(rows)[from];
    return;
  }
  uint16_t* element = static_cast<uint16_t*>(page) + at;
  if (outside == inside) {
    *element = static_cast<const uint16_t*>(rows)[from];
  } else {
    const float value = static_cast<const float*>(rows)[from];
    *element = inside == MHA_BF16 ? mha::bfloat_of_float(value) : mha::half_of_float(value);
  }
}

mha_status check_rows(const mha_cache* cache, int32_t layer, int32_t sequence, int64_t count,
                      uint32_t dtype, const void* keys, const void* values) {
  mha_status status = mha_internal_cache_check_layer(cache, layer);
  if (status == MHA_OK) status = mha_internal_cache_check_sequence(cache, sequence);
  if (status != MHA_OK) return status;
  if (dtype != MHA_F32 && dtype != cache->info.dtype) {
    const char* own = mha_dtype_name(static_cast<mha_dtype>(cache->info.dtype));
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "rows of a cache of %s are %s%s, not %s", own,
                             own, cache->info.dtype == MHA_F32 ? "" : " or F32",
                             mha_dtype_name(static_cast<mha_dtype>(dtype)));
  }
  if (count < 0 || count > cache->info.capacity) {
    return mha_internal_fail(MHA_OUT_OF_RANGE, "count is %lld; a sequence has up to %lld keys",
                             static_cast<long long>(count),
                             static_cast<long long>(cache->info.capacity));
  }
  const size_t element = mha_internal_dtype_bytes(dtype);
  const void* const both[] = {keys, values};
  for (const void* rows : both) {
    if (reinterpret_cast<uintptr_t>(rows) % element == 0) continue;
    return mha_internal_fail(MHA_MISALIGNED, "%s is at %p, which is no multiple of its %zu bytes",
                             rows == keys ? "keys" : "values", rows, element);
  }
  return MHA_OK;
}

// Calls body(page of K, page of V, key in the page, row) for keys [first, first + count).
template <typename Body>
void each_key(const mha_cache& cache, int32_t layer, int32_t sequence, int64_t first, int64_t count,
              const Body& body) {
  const size_t element = mha_internal_dtype_bytes(cache.info.dtype);
  const int32_t* table = cache.table + sequence * cache.pages_per_sequence;
  for (int64_t row = 0; row < count; ++row) {
    const int64_t key = first + row;
    const size_t page = static_cast<size_t>(table[key / cache.info.page]);
    body(static_cast<uint8_t*>(cache.keys[layer]) +
             page * static_cast<size_t>(cache.key_elements) * element,
         static_cast<uint8_t*>(cache.values[layer]) +
             page * static_cast<size_t>(cache.value_elements) * element,
         key % cache.info.page, row);
  }
}

mha_status append(mha_cache* cache, int32_t layer, int32_t sequence, int64_t count, uint32_t dtype,
                  const void* keys, const void* values) {
  const mha_cache_info& info = cache->info;
  int32_t* length = &cache->lengths[int64_t{layer} * cache->sequences + sequence];
  if (*length + count > info.capacity) {
    return mha_internal_fail(
        MHA_OUT_OF_RANGE, "sequence %d has %d keys and would get %lld more; its capacity is %lld",
        sequence, *length, static_cast<long long>(count), static_cast<long long>(info.capacity));
  }
  mha::SequenceRow row = {};
  row.slot = sequence;
  row.cached = *length;
  row.new_keys = static_cast<int32_t>(count);
  const mha_status status = mha_internal_cache_prepare(cache, layer, &row, 1);
  if (status != MHA_OK) return status;
  each_key(*cache, layer, sequence, *length, count,
           [&](void* key_page, void* value_page, int64_t key, int64_t r) {
             for (int64_t g = 0; g < info.kv_heads; ++g) {
               for (int64_t d = 0; d < info.d_head; ++d) {
                 put(info.dtype, key_page, key_element(*cache, g, key, d), dtype, keys,
                     (r * info.kv_heads + g) * info.d_head + d);
               }
               for (int64_t d = 0; d < info.d_value; ++d) {
                 put(info.dtype, value_page, value_element(*cache, g, key, d), dtype, values,
                     (r * info.kv_heads + g) * info.d_value + d);
               }
             }
           });
  *length += static_cast<int32_t>(count);
  return MHA_OK;
}

}  // namespace

extern "C" {

mha_status mha_cache_read(mha_cache* cache, int32_t layer, int32_t sequence, int64_t first,
                          int64_t count, mha_dtype dtype, void* keys, void* values) {
  mha_status status = mha_internal_cache_acquire(cache);
  if (status != MHA_OK) return status;
  status = check_rows(cache, layer, sequence, count, dtype, keys, values);
  if (status == MHA_OK) {
    const int32_t length = cache->lengths[int64_t{layer} * cache->sequences + sequence];
    if (first < 0 || first > length || count > length - first) {
      status = mha_internal_fail(
          MHA_OUT_OF_RANGE, "%lld rows from row %lld on: sequence %d has %d keys in layer %d",
          static_cast<long long>(count), static_cast<long long>(first), sequence, length, layer);
    }
  }
  if (status == MHA_OK) {
    const mha_cache_info& info = cache->info;
    each_key(*cache, layer, sequence, first, count,
             [&](const void* key_page, const void* value_page, int64_t key, int64_t r) {
               for (int64_t g = 0; g < info.kv_heads; ++g) {
                 for (int64_t d = 0; keys != nullptr && d < info.d_head; ++d) {
                   get(info.dtype, key_page, key_element(*cache, g, key, d), dtype, keys,
                       (r * info.kv_heads + g) * info.d_head + d);
                 }
                 for (int64_t d = 0; values != nullptr && d < info.d_value; ++d) {
                   get(info.dtype, value_page, value_element(*cache, g, key, d), dtype, values,
                       (r * info.kv_heads + g) * info.d_value + d);
                 }
               }
             });
  }
  mha_internal_cache_release(cache);
  return status;
}

mha_status mha_cache_append(mha_cache* cache, int32_t layer, int32_t sequence, int64_t count,
                            mha_dtype dtype, const void* keys, const void* values) {
  mha_status status = mha_internal_cache_acquire(cache);
  if (status != MHA_OK) return status;
  status = check_rows(cache, layer, sequence, count, dtype, keys, values);
  if (status == MHA_OK && count > 0 && (keys == nullptr || values == nullptr)) {
    status =
        mha_internal_fail(MHA_INVALID_ARGUMENT, "%s is NULL", keys == nullptr ? "keys" : "values");
  }
  if (status == MHA_OK) status = append(cache, layer, sequence, count, dtype, keys, values);
  mha_internal_cache_release(cache);
  return status;
}

}  // extern "C"
