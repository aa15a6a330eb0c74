#include "generator/pipeline/program.h"
#include "generator/spec/error.h"

namespace mha {

CacheInfo cache_info(const Plan& plan) {
  if (!plan.cache) throw InternalError("a plan without kv_cache has no cache");
  const auto round_up = [](int64_t n, int64_t step) { return (n + step - 1) / step * step; };
  const Attention& a = plan.attention;
  CacheInfo info;
  info.dtype = plan.dtype;
  info.kv_heads = a.kv_heads;
  info.d_head = a.d_head;
  info.d_value = a.d_value;
  info.d_head_padded = info.pairs() ? round_up(a.d_head, 2) : a.d_head;
  // Whole vectors on every target, so that no load of a row has a remainder.
  info.d_value_padded = round_up(a.d_value, kCachePanel);
  info.capacity = plan.cache->capacity;
  info.page = plan.cache->paged ? plan.cache->page : round_up(plan.cache->capacity, kCachePanel);
  return info;
}

}  // namespace mha
