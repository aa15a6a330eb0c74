#include "generator/emit/cache_text.h"

#include <fmt/format.h>

namespace mha {
namespace {

const char* dtype_name(const CacheInfo& cache) {
  return cache.dtype == Dtype::kF32 ? "f32" : cache.dtype == Dtype::kBF16 ? "bf16" : "f16";
}

const char* key_form(const CacheInfo& cache) {
  return cache.pairs() ? "[pages][G][page / 16][D / 2][16][2]" : "[pages][G][page / 16][D][16]";
}
const char* value_form(const CacheInfo& cache) {
  return cache.pairs() ? "[pages][G][page / 2][Dv][2]" : "[pages][G][page][Dv]";
}

}  // namespace

int64_t cache_key_bytes(const CacheInfo& cache) {
  const int64_t element = cache.dtype == Dtype::kF32 ? 4 : 2;
  return cache.kv_heads * (cache.d_head_padded + cache.d_value_padded) * element;
}

int64_t cache_sequence_bytes(const CacheInfo& cache) {
  return cache.pages_per_sequence() * cache.page * cache_key_bytes(cache);
}

nlohmann::ordered_json cache_json(const CacheInfo& cache) {
  return {{"dtype", dtype_name(cache)},
          {"kv_heads", cache.kv_heads},
          {"d_head", cache.d_head_padded},
          {"d_value", cache.d_value_padded},
          {"capacity", cache.capacity},
          {"page", cache.page},
          {"keys", key_form(cache)},
          {"values", value_form(cache)},
          {"bytes_per_key", cache_key_bytes(cache)},
          {"bytes_per_page", cache.page * cache_key_bytes(cache)},
          {"bytes_per_sequence", cache_sequence_bytes(cache)}};
}

std::string explain_cache(const CacheInfo& cache) {
  return fmt::format(
      "\ncache of up to {} keys a sequence, in pages of {} ({})\n"
      "  keys {}, D = {}\n"
      "  values {}, Dv = {}\n"
      "  {} bytes a key, {} a page, {} a full sequence; in each layer\n",
      cache.capacity, cache.page, dtype_name(cache), key_form(cache), cache.d_head_padded,
      value_form(cache), cache.d_value_padded, cache_key_bytes(cache),
      cache.page * cache_key_bytes(cache), cache_sequence_bytes(cache));
}

}  // namespace mha
