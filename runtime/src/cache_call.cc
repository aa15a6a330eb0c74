// What a call and its cache have to do with each other.
#include <stdio.h>
#include <string.h>

#include "runtime/src/cache.h"

namespace {

using mha::Lengths;
using mha::SequenceRow;

mha_status another_form(const mha_kernel* kernel, const mha_cache_info& has) {
  const mha_cache_info& wants = *kernel->cache;
  return mha_internal_fail(
      MHA_INVALID_ARGUMENT,
      "args.cache holds %s, %lld heads of %lld and %lld, %lld keys in pages of %lld; kernel '%s' "
      "has %s, %lld heads of %lld and %lld, %lld keys in pages of %lld",
      mha_dtype_name(static_cast<mha_dtype>(has.dtype)), static_cast<long long>(has.kv_heads),
      static_cast<long long>(has.d_head), static_cast<long long>(has.d_value),
      static_cast<long long>(has.capacity), static_cast<long long>(has.page), kernel->info.name,
      mha_dtype_name(static_cast<mha_dtype>(wants.dtype)), static_cast<long long>(wants.kv_heads),
      static_cast<long long>(wants.d_head), static_cast<long long>(wants.d_value),
      static_cast<long long>(wants.capacity), static_cast<long long>(wants.page));
}

// Where the rows of sequence b lie in a packed batch. The starts were checked; read again they may
// have changed, so that they are held to what was found.
void set_packed(const mha_kernel* kernel, const mha_call* call, const Lengths& lengths, int64_t b,
                SequenceRow* row) {
  const int32_t* starts = static_cast<const int32_t*>(
      mha_internal_tensor(kernel, call, static_cast<uint64_t>(kernel->sequence_starts_tensor))
          ->data);
  const int64_t rows = lengths.symbol[MHA_SYMBOL_ROWS], most = lengths.symbol[MHA_SYMBOL_QUERY];
  const int64_t first = mha::load_within(&starts[b], 0, rows);
  const int64_t end = mha::load_within(&starts[b + 1], first, rows);
  row->first_row = static_cast<int32_t>(first);
  row->queries = static_cast<int32_t>(end - first < most ? end - first : most);
}

// One row a sequence; marks the sequences of the first `marked` rows in in_call.
mha_status set_rows(const mha_kernel* kernel, const mha_call* call, const Lengths& lengths,
                    mha_cache* cache, int64_t* marked) {
  const mha_cache_info& info = cache->info;
  for (int64_t b = 0; b < lengths.symbol[MHA_SYMBOL_BATCH]; ++b) {
    const int32_t sequence = call->sequences[b];
    const mha_status status = mha_internal_cache_check_sequence(cache, sequence);
    if (status != MHA_OK) {
      char prefix[64];
      snprintf(prefix, sizeof prefix, "args.sequences[%lld]: ", static_cast<long long>(b));
      mha_internal_prefix_message(prefix);
      return status;
    }
    if (cache->in_call[sequence]) {
      return mha_internal_fail(MHA_INVALID_ARGUMENT,
                               "args.sequences[%lld] is %d, which stands in the list before",
                               static_cast<long long>(b), sequence);
    }
    // Rows fit: there are no more of them than sequences that differ.
    cache->in_call[sequence] = 1;
    SequenceRow* row = &cache->rows[b];
    *row = {};
    row->slot = sequence;
    *marked = b + 1;
    row->cached = cache->lengths[int64_t{call->layer} * cache->sequences + sequence];
    row->queries = static_cast<int32_t>(lengths.symbol[MHA_SYMBOL_QUERY]);
    if (kernel->sequence_starts_tensor >= 0) set_packed(kernel, call, lengths, b, row);
    const int64_t brought = lengths.symbol[MHA_SYMBOL_NEW_KEYS];
    const bool own = kernel->new_keys_kind == MHA_NEW_KEYS_OWN;
    row->new_keys = own ? static_cast<int32_t>(brought) : brought > 0 ? row->queries : 0;
    if (int64_t{row->cached} + row->new_keys > info.capacity) {
      return mha_internal_fail(
          MHA_OUT_OF_RANGE, "sequence %d has %d keys and would get %d more; its capacity is %lld",
          sequence, row->cached, row->new_keys, static_cast<long long>(info.capacity));
    }
    row->keys = row->cached + row->new_keys;
  }
  return MHA_OK;
}

// Lk of the call: as the caller says, or as much as there is. At least 1, as every axis.
mha_status set_keys(const mha_kernel* kernel, const mha_call* call, const mha_cache& cache,
                    Lengths* lengths) {
  int64_t longest = 1;
  for (int64_t b = 0; b < lengths->symbol[MHA_SYMBOL_BATCH]; ++b)
    longest = cache.rows[b].keys > longest ? cache.rows[b].keys : longest;
  if (call->key_length != 0 && call->key_length < longest) {
    return mha_internal_fail(
        MHA_OUT_OF_RANGE,
        "key_length is %lld; a sequence of the call has %lld keys with the new ones",
        static_cast<long long>(call->key_length), static_cast<long long>(longest));
  }
  if (call->key_length != 0) return MHA_OK;
  // Tensors have room for as many; code for more would write behind them.
  if (longest < kernel->key_length.min) {
    return mha_internal_fail(
        MHA_OUT_OF_RANGE,
        "key_length 0 stands for %lld, the keys of the longest sequence; kernel '%s' was generated "
        "for %lld to %lld",
        static_cast<long long>(longest), kernel->info.name,
        static_cast<long long>(kernel->key_length.min),
        static_cast<long long>(kernel->key_length.max));
  }
  lengths->symbol[MHA_SYMBOL_KEY] = longest;
  return MHA_OK;
}

// Keys in the leading pages that all sequences of the call have in common. Each holds them whole.
int64_t shared_keys(const mha_cache& cache, int64_t batch) {
  if (batch < 2) return 0;
  int64_t pages = cache.pages_per_sequence;
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t whole = cache.rows[b].cached / cache.info.page;
    pages = whole < pages ? whole : pages;
  }
  const int32_t* first = cache.table + cache.rows[0].slot * cache.pages_per_sequence;
  for (int64_t b = 1; b < batch; ++b) {
    const int32_t* table = cache.table + cache.rows[b].slot * cache.pages_per_sequence;
    int64_t same = 0;
    while (same < pages && table[same] == first[same]) ++same;
    pages = same;
  }
  return pages * cache.info.page;
}

mha_status begin(const mha_kernel* kernel, const mha_call* call, bool share, Lengths* lengths) {
  mha_cache* cache = call->cache;
  mha_status status = MHA_OK;
  const int64_t batch = lengths->symbol[MHA_SYMBOL_BATCH];
  if (memcmp(&cache->info, kernel->cache, sizeof cache->info) != 0)
    return another_form(kernel, cache->info);
  status = mha_internal_cache_check_layer(cache, call->layer);
  if (status != MHA_OK) return status;
  int64_t marked = 0;
  status = set_rows(kernel, call, *lengths, cache, &marked);
  for (int64_t b = 0; b < marked; ++b) cache->in_call[cache->rows[b].slot] = 0;
  if (status == MHA_OK) status = set_keys(kernel, call, *cache, lengths);
  if (status == MHA_OK && share) lengths->symbol[MHA_SYMBOL_SHARED] = shared_keys(*cache, batch);
  return status;
}

}  // namespace

extern "C" {

mha_status mha_internal_cache_begin(const mha_kernel* kernel, const mha_call* call, bool share,
                                    Lengths* lengths) {
  if (call->cache == nullptr || call->sequences == nullptr) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT,
                             "args.%s is NULL; kernel '%s' continues sequences of a cache",
                             call->cache == nullptr ? "cache" : "sequences", kernel->info.name);
  }
  if (reinterpret_cast<uintptr_t>(call->sequences) % sizeof(int32_t) != 0) {
    return mha_internal_fail(MHA_MISALIGNED,
                             "args.sequences is at %p, which is no multiple of its element's 4 "
                             "bytes",
                             static_cast<const void*>(call->sequences));
  }
  mha_status status = mha_internal_cache_acquire(call->cache);
  if (status != MHA_OK) return status;
  status = begin(kernel, call, share, lengths);
  if (status != MHA_OK) mha_internal_cache_release(call->cache);
  return status;
}

void mha_internal_cache_end(const mha_call* call, int64_t batch, bool succeeded) {
  mha_cache* cache = call->cache;
  int32_t* lengths = cache->lengths + int64_t{call->layer} * cache->sequences;
  for (int64_t b = 0; b < batch; ++b) {
    const SequenceRow& row = cache->rows[b];
    if (succeeded) lengths[row.slot] += row.new_keys;
    // Pages that were taken for keys that did not come.
    if (!succeeded) mha_internal_cache_trim(cache, row.slot);
  }
  mha_internal_cache_release(cache);
}

}  // extern "C"
