// A cache as its files see it: pools of pages, a table of pages for each sequence, and how many
// sequences hold a page. What a page looks like inside: mha_cache_info in mha/kernel.h.
#ifndef MHA_RUNTIME_SRC_CACHE_H_
#define MHA_RUNTIME_SRC_CACHE_H_

#include "runtime/src/internal.h"

namespace mha {

enum : int32_t { kNoSequence = -1 };

// What a call says of one of its sequences, as stages get it (MHA_OPERAND_SEQUENCES).
struct SequenceRow {
  int32_t slot, cached, queries, first_row, keys, first_key, new_keys, reserved;
};
static_assert(sizeof(SequenceRow) == MHA_SEQUENCE_FIELDS * sizeof(int32_t));

}  // namespace mha

struct mha_cache {
  mha_cache_info info;
  int32_t busy;  // atomic; 1 while a call or a change is in progress
  int32_t sequences, layers;
  int64_t pages, pages_per_sequence;
  // Elements of one page in a pool.
  int64_t key_elements, value_elements;
  size_t bytes;  // of everything

  void** keys;    // [layers] pools of keys
  void** values;  // [layers]

  // In one block of memory that begins at `table`.
  int32_t* table;          // [sequences][pages_per_sequence]; 0 behind the pages that are held
  int32_t* held;           // [sequences] pages, from the first on; kNoSequence: not there
  int32_t* lengths;        // [layers][sequences]
  int32_t* references;     // [pages] sequences that hold the page
  int32_t* claims;         // [pages] of a preparation in progress, else 0
  int32_t* unused;         // [pages] a stack of pages that nobody holds
  mha::SequenceRow* rows;  // [sequences] of the running call
  uint8_t* in_call;        // [sequences] of a call that is being checked, else 0
  int64_t unused_count;
};

#pragma GCC visibility push(hidden)
extern "C" {

// --- cache.cc ---
mha_status mha_internal_cache_acquire(mha_cache* cache);
void mha_internal_cache_release(mha_cache* cache);
// The rest is for the thread that has acquired the cache.
mha_status mha_internal_cache_check_sequence(const mha_cache* cache, int32_t sequence);
mha_status mha_internal_cache_check_layer(const mha_cache* cache, int32_t layer);

// --- cache_pages.cc ---
void mha_internal_cache_drop_page(mha_cache* cache, int32_t page);
// Gives up the pages behind the longest layer of a sequence.
void mha_internal_cache_trim(mha_cache* cache, int32_t sequence);
// Makes room for rows[i].new_keys more keys of sequences rows[i].slot in this layer, in pages that
// belong to each alone. Changes nothing where there are too few pages.
mha_status mha_internal_cache_prepare(mha_cache* cache, int32_t layer, const mha::SequenceRow* rows,
                                      int64_t count);

// --- cache_call.cc ---
// Acquires the cache of a call and checks what the call says of it; fills in the rows (but for keys
// and first_key), the call's Lk and, where `share` is set, its shared keys.
mha_status mha_internal_cache_begin(const mha_kernel* kernel, const mha_call* call, bool share,
                                    mha::Lengths* lengths);
// The call is over: where it `succeeded`, its sequences are longer now. Releases the cache.
void mha_internal_cache_end(const mha_call* call, int64_t batch, bool succeeded);

}  // extern "C"
#pragma GCC visibility pop

#endif  // MHA_RUNTIME_SRC_CACHE_H_
