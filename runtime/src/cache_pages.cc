// Which pages sequences hold: room for new keys, copies on write, giving back.
#include <string.h>

#include "runtime/src/cache.h"

namespace {

using mha::SequenceRow;

int32_t* table_of(mha_cache* cache, int32_t sequence) {
  return cache->table + sequence * cache->pages_per_sequence;
}

int32_t length_of(const mha_cache* cache, int32_t layer, int32_t sequence) {
  return cache->lengths[int64_t{layer} * cache->sequences + sequence];
}

// The pages that new keys of a row fall into; empty where it has none.
struct Reach {
  int64_t first, end;
};
Reach reach_of(const mha_cache* cache, int32_t layer, const SequenceRow& row) {
  if (row.new_keys == 0) return {0, 0};
  const int64_t length = length_of(cache, layer, row.slot), page = cache->info.page;
  return {length / page, (length + row.new_keys - 1) / page + 1};
}

// How many pages the rows take from the pool. Two sequences that share a page and both write it
// need one copy, as the second then has it for itself: hence the claims.
int64_t pages_needed(mha_cache* cache, int32_t layer, const SequenceRow* rows, int64_t count) {
  int64_t needed = 0;
  for (int64_t i = 0; i < count; ++i) {
    const Reach reach = reach_of(cache, layer, rows[i]);
    const int32_t* table = table_of(cache, rows[i].slot);
    for (int64_t p = reach.first; p < reach.end; ++p) {
      if (p >= cache->held[rows[i].slot]) {
        ++needed;
      } else if (cache->references[table[p]] - cache->claims[table[p]] > 1) {
        ++cache->claims[table[p]];
        ++needed;
      }
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    const Reach reach = reach_of(cache, layer, rows[i]);
    const int32_t* table = table_of(cache, rows[i].slot);
    for (int64_t p = reach.first; p < reach.end && p < cache->held[rows[i].slot]; ++p)
      cache->claims[table[p]] = 0;
  }
  return needed;
}

int32_t take_page(mha_cache* cache) {
  const int32_t page = cache->unused[--cache->unused_count];
  cache->references[page] = 1;
  return page;
}

// The first `keys` keys of every head, rounded up to whole panels. Of a head K and V alike lie in
// the order of the keys, so that they begin its part of the page.
void copy_heads(const mha_cache& cache, void* pool, int64_t page_elements, int32_t from, int32_t to,
                int64_t keys) {
  const size_t element = mha_internal_dtype_bytes(cache.info.dtype);
  const size_t page = static_cast<size_t>(page_elements) * element;
  const size_t head = page / static_cast<size_t>(cache.info.kv_heads);
  const int64_t whole = (keys + MHA_CACHE_PANEL - 1) / MHA_CACHE_PANEL * int64_t{MHA_CACHE_PANEL};
  const size_t bytes = head / static_cast<size_t>(cache.info.page) * static_cast<size_t>(whole);
  uint8_t* base = static_cast<uint8_t*>(pool);
  for (size_t g = 0; g < static_cast<size_t>(cache.info.kv_heads); ++g) {
    memcpy(base + static_cast<size_t>(to) * page + g * head,
           base + static_cast<size_t>(from) * page + g * head, bytes);
  }
}

// Gives the sequence its own copy of its page number `index`, in all layers.
void copy_page(mha_cache* cache, int32_t sequence, int64_t index) {
  int32_t* entry = table_of(cache, sequence) + index;
  const int32_t from = *entry, to = take_page(cache);
  for (int32_t layer = 0; layer < cache->layers; ++layer) {
    int64_t keys = length_of(cache, layer, sequence) - index * cache->info.page;
    if (keys > cache->info.page) keys = cache->info.page;
    if (keys <= 0) continue;
    copy_heads(*cache, cache->keys[layer], cache->key_elements, from, to, keys);
    copy_heads(*cache, cache->values[layer], cache->value_elements, from, to, keys);
  }
  mha_internal_cache_drop_page(cache, from);
  *entry = to;
}

}  // namespace

extern "C" {

void mha_internal_cache_drop_page(mha_cache* cache, int32_t page) {
  if (--cache->references[page] == 0) cache->unused[cache->unused_count++] = page;
}

void mha_internal_cache_trim(mha_cache* cache, int32_t sequence) {
  int32_t longest = 0;
  for (int32_t layer = 0; layer < cache->layers; ++layer) {
    const int32_t length = length_of(cache, layer, sequence);
    longest = length > longest ? length : longest;
  }
  const int64_t keep = (longest + cache->info.page - 1) / cache->info.page;
  int32_t* table = table_of(cache, sequence);
  while (cache->held[sequence] > keep) {
    const int32_t last = --cache->held[sequence];
    mha_internal_cache_drop_page(cache, table[last]);
    table[last] = 0;
  }
}

mha_status mha_internal_cache_prepare(mha_cache* cache, int32_t layer, const SequenceRow* rows,
                                      int64_t count) {
  const int64_t needed = pages_needed(cache, layer, rows, count);
  if (needed > cache->unused_count) {
    return mha_internal_fail(
        MHA_CACHE_FULL,
        "the new keys need %lld more pages of %lld keys; of the cache's %lld pages %lld are free",
        static_cast<long long>(needed), static_cast<long long>(cache->info.page),
        static_cast<long long>(cache->pages), static_cast<long long>(cache->unused_count));
  }
  for (int64_t i = 0; i < count; ++i) {
    const int32_t sequence = rows[i].slot;
    const Reach reach = reach_of(cache, layer, rows[i]);
    int32_t* table = table_of(cache, sequence);
    for (int64_t p = reach.first; p < reach.end; ++p) {
      if (p >= cache->held[sequence]) {
        table[p] = take_page(cache);
        ++cache->held[sequence];
      } else if (cache->references[table[p]] > 1) {
        copy_page(cache, sequence, p);
      }
    }
  }
  return MHA_OK;
}

}  // extern "C"
