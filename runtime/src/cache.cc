// Caches and the sequences in them: making and freeing, forks, rewinding.
#include "runtime/src/cache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

namespace {

constexpr size_t kHugePage = size_t{1} << 21;

// The generator's table must not lead outside a page.
bool makes_sense(const mha_cache_info& info) {
  const bool pairs = info.dtype == MHA_BF16;
  return (info.dtype == MHA_F32 || info.dtype == MHA_BF16 || info.dtype == MHA_F16) &&
         info.key_form == (pairs ? MHA_FORM_KEY_PAIR_PANELS : MHA_FORM_KEY_PANELS) + 0u &&
         info.value_form == (pairs ? MHA_FORM_VALUE_PAIRS : MHA_FORM_VALUE_ROWS) + 0u &&
         info.kv_heads >= 1 && info.d_head >= 1 && info.d_value >= 1 &&
         info.d_head_padded >= info.d_head && (!pairs || info.d_head_padded % 2 == 0) &&
         info.d_value_padded >= info.d_value && info.d_value_padded % MHA_CACHE_PANEL == 0 &&
         info.capacity >= 1 && info.capacity <= mha::kMaxElements && info.page >= 1 &&
         info.page % MHA_CACHE_PANEL == 0 && info.page <= mha::kMaxElements;
}

// The elements of one page, or -1 when they are too many.
int64_t page_elements(const mha_cache_info& info, int64_t width) {
  int64_t elements;
  if (__builtin_mul_overflow(info.kv_heads, info.page, &elements) ||
      __builtin_mul_overflow(elements, width, &elements)) {
    return -1;
  }
  return elements <= mha::kMaxElements ? elements : -1;
}

// Zeroed, so that the pages of it are there before the first call. NULL where there is none.
void* pool_memory(size_t bytes) {
  const size_t alignment = bytes >= kHugePage ? kHugePage : size_t{MHA_WORKSPACE_ALIGNMENT};
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes) != 0) return nullptr;
  // Reading a long cache misses the TLB at every 4 KiB otherwise. That the system may decline is
  // fine.
  if (alignment == kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
  memset(memory, 0, bytes);
  return memory;
}

// `count` elements of T at *at; moves it behind them.
template <typename T>
T* carve(uint8_t** at, int64_t count) {
  T* begin = reinterpret_cast<T*>(*at);
  *at += static_cast<size_t>(count) * sizeof(T);
  return begin;
}

mha_status make_bookkeeping(mha_cache* cache) {
  const int64_t sequences = cache->sequences, pages = cache->pages;
  const int64_t words =
      sequences * cache->pages_per_sequence + sequences + cache->layers * sequences + 3 * pages;
  const size_t bytes = static_cast<size_t>(words) * sizeof(int32_t) +
                       static_cast<size_t>(sequences) * (sizeof(mha::SequenceRow) + 1);
  uint8_t* at = static_cast<uint8_t*>(calloc(bytes, 1));
  if (at == nullptr) return MHA_OUT_OF_MEMORY;
  cache->bytes += bytes;
  cache->table = carve<int32_t>(&at, sequences * cache->pages_per_sequence);
  cache->held = carve<int32_t>(&at, sequences);
  cache->lengths = carve<int32_t>(&at, cache->layers * sequences);
  cache->references = carve<int32_t>(&at, pages);
  cache->claims = carve<int32_t>(&at, pages);
  cache->unused = carve<int32_t>(&at, pages);
  cache->rows = carve<mha::SequenceRow>(&at, sequences);
  cache->in_call = carve<uint8_t>(&at, sequences);
  for (int64_t s = 0; s < sequences; ++s) cache->held[s] = mha::kNoSequence;
  // The lowest page is taken first.
  for (int64_t p = 0; p < pages; ++p) cache->unused[p] = static_cast<int32_t>(pages - 1 - p);
  cache->unused_count = pages;
  return MHA_OK;
}

mha_status make_pools(mha_cache* cache) {
  const size_t layers = static_cast<size_t>(cache->layers);
  void** pools = static_cast<void**>(calloc(2 * layers, sizeof(void*)));
  if (pools == nullptr) return MHA_OUT_OF_MEMORY;
  cache->keys = pools;
  cache->values = pools + layers;
  cache->bytes += 2 * layers * sizeof(void*);
  const size_t element = mha_internal_dtype_bytes(cache->info.dtype);
  const size_t sizes[2] = {
      static_cast<size_t>(cache->pages) * static_cast<size_t>(cache->key_elements) * element,
      static_cast<size_t>(cache->pages) * static_cast<size_t>(cache->value_elements) * element};
  for (size_t i = 0; i < 2 * layers; ++i) {
    pools[i] = pool_memory(sizes[i / layers]);
    if (pools[i] == nullptr) return MHA_OUT_OF_MEMORY;
    cache->bytes += sizes[i / layers];
  }
  return MHA_OK;
}

mha_status check_options(const mha_cache_options* options) {
  if (options == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "options is NULL");
  if (options->size != sizeof *options) {
    return mha_internal_fail(
        MHA_INVALID_ARGUMENT,
        "options->size is %zu: set it to sizeof(mha_cache_options), which is %zu", options->size,
        sizeof *options);
  }
  if (options->sequences < 1 || options->layers < 0 || options->pages < 0) {
    return mha_internal_fail(
        MHA_OUT_OF_RANGE,
        "options has %d sequences, %d layers and %lld pages; a cache has at least one sequence",
        options->sequences, options->layers, static_cast<long long>(options->pages));
  }
  return MHA_OK;
}

// Fills in the sizes; nothing may reach 2^31 elements, as stages index with 32 bits.
mha_status set_sizes(const mha_kernel* kernel, const mha_cache_options* options, mha_cache* cache) {
  const mha_cache_info& info = cache->info;
  cache->sequences = options->sequences;
  cache->layers = options->layers > 0 ? options->layers : 1;
  cache->pages_per_sequence = (info.capacity + info.page - 1) / info.page;
  cache->key_elements = page_elements(info, info.d_head_padded);
  cache->value_elements = page_elements(info, info.d_value_padded);
  if (cache->key_elements < 0 || cache->value_elements < 0) {
    return mha_internal_fail(MHA_OUT_OF_RANGE,
                             "a page of %lld keys of kernel '%s' has 2^31 elements or more",
                             static_cast<long long>(info.page), kernel->info.name);
  }
  const int64_t all = cache->sequences * cache->pages_per_sequence;
  cache->pages = options->pages > 0 ? options->pages : all;
  const int64_t larger =
      cache->key_elements > cache->value_elements ? cache->key_elements : cache->value_elements;
  const int64_t most = mha::kMaxElements / larger;
  if (cache->pages > most) {
    return mha_internal_fail(
        MHA_OUT_OF_RANGE,
        "%lld pages of %lld keys would have 2^31 elements or more in one layer; kernel '%s' takes "
        "up to %lld pages",
        static_cast<long long>(cache->pages), static_cast<long long>(info.page), kernel->info.name,
        static_cast<long long>(most));
  }
  if (all > mha::kMaxElements || int64_t{cache->layers} * cache->sequences > mha::kMaxElements) {
    return mha_internal_fail(
        MHA_OUT_OF_RANGE, "%d sequences of up to %lld pages in %d layers are too many",
        cache->sequences, static_cast<long long>(cache->pages_per_sequence), cache->layers);
  }
  return MHA_OK;
}

int32_t free_slot(const mha_cache* cache) {
  for (int32_t s = 0; s < cache->sequences; ++s) {
    if (cache->held[s] == mha::kNoSequence) return s;
  }
  return mha::kNoSequence;
}

mha_status no_slot(const mha_cache* cache) {
  return mha_internal_fail(MHA_CACHE_FULL, "the cache has %d sequences, and all are there",
                           cache->sequences);
}

int32_t* length_of(mha_cache* cache, int32_t layer, int32_t sequence) {
  return &cache->lengths[int64_t{layer} * cache->sequences + sequence];
}

// Acquires the cache for a change of one sequence, which must be there.
mha_status acquire_for(mha_cache* cache, int32_t sequence) {
  mha_status status = mha_internal_cache_acquire(cache);
  if (status != MHA_OK) return status;
  status = mha_internal_cache_check_sequence(cache, sequence);
  if (status != MHA_OK) mha_internal_cache_release(cache);
  return status;
}

}  // namespace

extern "C" {

mha_status mha_internal_cache_acquire(mha_cache* cache) {
  if (cache == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "cache is NULL");
  if (__atomic_exchange_n(&cache->busy, 1, __ATOMIC_ACQUIRE) == 0) return MHA_OK;
  return mha_internal_fail(MHA_BUSY,
                           "the cache is in use by another call: one at a time may use it");
}

void mha_internal_cache_release(mha_cache* cache) {
  __atomic_store_n(&cache->busy, 0, __ATOMIC_RELEASE);
}

mha_status mha_internal_cache_check_sequence(const mha_cache* cache, int32_t sequence) {
  if (sequence >= 0 && sequence < cache->sequences && cache->held[sequence] != mha::kNoSequence)
    return MHA_OK;
  return mha_internal_fail(MHA_OUT_OF_RANGE, "the cache has no sequence %d%s", sequence,
                           sequence >= 0 && sequence < cache->sequences ? " at the moment" : "");
}

mha_status mha_internal_cache_check_layer(const mha_cache* cache, int32_t layer) {
  if (layer >= 0 && layer < cache->layers) return MHA_OK;
  return mha_internal_fail(MHA_OUT_OF_RANGE, "layer is %d; the cache has %d", layer, cache->layers);
}

mha_status mha_cache_create(const mha_kernel* library, const mha_cache_options* options,
                            mha_cache** cache) {
  if (cache == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "cache is NULL");
  *cache = nullptr;
  const mha_kernel* kernel;
  mha_status status = mha_internal_choose(library, &kernel);
  if (status == MHA_OK) status = check_options(options);
  if (status != MHA_OK) return status;
  if (kernel->cache == nullptr) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "the spec of kernel '%s' has no kv_cache",
                             kernel->info.name);
  }
  if (!makes_sense(*kernel->cache)) {
    return mha_internal_fail(MHA_INTERNAL,
                             "the cache of kernel '%s' makes no sense: please report this",
                             kernel->info.name);
  }
  mha_cache* made = static_cast<mha_cache*>(calloc(1, sizeof(mha_cache)));
  if (made == nullptr) return mha_internal_fail(MHA_OUT_OF_MEMORY, "no memory for a cache");
  made->info = *kernel->cache;
  made->bytes = sizeof *made;
  status = set_sizes(kernel, options, made);
  if (status == MHA_OK) {
    status = make_bookkeeping(made);
    if (status == MHA_OK) status = make_pools(made);
    if (status != MHA_OK) {
      mha_internal_fail(status, "no memory for a cache of %lld pages of %lld keys in %d layers",
                        static_cast<long long>(made->pages),
                        static_cast<long long>(made->info.page), made->layers);
    }
  }
  if (status != MHA_OK) {
    mha_cache_destroy(made);
    return status;
  }
  *cache = made;
  return MHA_OK;
}

void mha_cache_destroy(mha_cache* cache) {
  if (cache == nullptr) return;
  // Keys and values lie in one list.
  for (int64_t i = 0; cache->keys != nullptr && i < 2 * int64_t{cache->layers}; ++i)
    free(cache->keys[i]);
  free(cache->keys);
  free(cache->table);
  free(cache);
}

size_t mha_cache_bytes(const mha_cache* cache) { return cache == nullptr ? 0 : cache->bytes; }

mha_status mha_cache_pages(mha_cache* cache, int64_t* free_pages, int64_t* pages,
                           int64_t* page_keys) {
  const mha_status status = mha_internal_cache_acquire(cache);
  if (status != MHA_OK) return status;
  if (free_pages != nullptr) *free_pages = cache->unused_count;
  if (pages != nullptr) *pages = cache->pages;
  if (page_keys != nullptr) *page_keys = cache->info.page;
  mha_internal_cache_release(cache);
  return MHA_OK;
}

mha_status mha_sequence_create(mha_cache* cache, int32_t* sequence) {
  if (sequence == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "sequence is NULL");
  mha_status status = mha_internal_cache_acquire(cache);
  if (status != MHA_OK) return status;
  const int32_t slot = free_slot(cache);
  if (slot == mha::kNoSequence) {
    status = no_slot(cache);
  } else {
    cache->held[slot] = 0;
    *sequence = slot;
  }
  mha_internal_cache_release(cache);
  return status;
}

mha_status mha_sequence_fork(mha_cache* cache, int32_t sequence, int32_t* fork) {
  if (fork == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "fork is NULL");
  mha_status status = acquire_for(cache, sequence);
  if (status != MHA_OK) return status;
  const int32_t slot = free_slot(cache);
  if (slot == mha::kNoSequence) {
    status = no_slot(cache);
  } else {
    const int64_t width = cache->pages_per_sequence;
    const int32_t held = cache->held[sequence];
    const int32_t* from = cache->table + sequence * width;
    memcpy(cache->table + slot * width, from, static_cast<size_t>(held) * sizeof(int32_t));
    for (int32_t i = 0; i < held; ++i) ++cache->references[from[i]];
    cache->held[slot] = held;
    for (int32_t layer = 0; layer < cache->layers; ++layer)
      *length_of(cache, layer, slot) = *length_of(cache, layer, sequence);
    *fork = slot;
  }
  mha_internal_cache_release(cache);
  return status;
}

mha_status mha_sequence_rewind(mha_cache* cache, int32_t sequence, int64_t length) {
  mha_status status = acquire_for(cache, sequence);
  if (status != MHA_OK) return status;
  int32_t longest = 0;
  for (int32_t layer = 0; layer < cache->layers; ++layer) {
    const int32_t has = *length_of(cache, layer, sequence);
    longest = has > longest ? has : longest;
  }
  if (length < 0 || length > longest) {
    status = mha_internal_fail(MHA_OUT_OF_RANGE, "length is %lld; sequence %d has %d keys",
                               static_cast<long long>(length), sequence, longest);
  } else {
    for (int32_t layer = 0; layer < cache->layers; ++layer) {
      int32_t* has = length_of(cache, layer, sequence);
      if (*has > length) *has = static_cast<int32_t>(length);
    }
    mha_internal_cache_trim(cache, sequence);
  }
  mha_internal_cache_release(cache);
  return status;
}

mha_status mha_sequence_length(mha_cache* cache, int32_t sequence, int64_t* length) {
  if (length == nullptr) return mha_internal_fail(MHA_INVALID_ARGUMENT, "length is NULL");
  const mha_status status = acquire_for(cache, sequence);
  if (status != MHA_OK) return status;
  *length = *length_of(cache, 0, sequence);
  for (int32_t layer = 1; layer < cache->layers; ++layer) {
    const int32_t has = *length_of(cache, layer, sequence);
    if (has < *length) *length = has;
  }
  mha_internal_cache_release(cache);
  return MHA_OK;
}

mha_status mha_sequence_destroy(mha_cache* cache, int32_t sequence) {
  const mha_status status = acquire_for(cache, sequence);
  if (status != MHA_OK) return status;
  for (int32_t layer = 0; layer < cache->layers; ++layer) *length_of(cache, layer, sequence) = 0;
  mha_internal_cache_trim(cache, sequence);
  cache->held[sequence] = mha::kNoSequence;
  mha_internal_cache_release(cache);
  return MHA_OK;
}

}  // extern "C"
