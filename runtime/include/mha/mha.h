/* The runtime of generated attention kernels: C11, no exceptions, no printing, no abort.
 *
 * Every function that can fail returns an mha_status; mha_last_message() then says, for the calling
 * thread, what was wrong and where. Axes: B batch, H query heads, G key/value heads, Lq queries, Lk
 * keys, D head width, Dv value width, M model width. */
#ifndef MHA_MHA_H_
#define MHA_MHA_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MHA_VERSION_MAJOR 0
#define MHA_VERSION_MINOR 1
#define MHA_VERSION_PATCH 0

typedef enum mha_status {
  MHA_OK = 0,
  /* A null pointer, a bad stride, a missing tensor, an unknown name. */
  MHA_INVALID_ARGUMENT = 1,
  /* A length, index or offset outside what the kernel was generated for. */
  MHA_OUT_OF_RANGE = 2,
  /* Data not aligned to its element, or a workspace not to MHA_WORKSPACE_ALIGNMENT. */
  MHA_MISALIGNED = 3,
  /* An output overlaps another argument or itself. */
  MHA_OVERLAP = 4,
  MHA_WORKSPACE_TOO_SMALL = 5,
  /* Memory or a thread that the system did not give. */
  MHA_OUT_OF_MEMORY = 6,
  /* This machine lacks what the kernel's target needs. */
  MHA_UNSUPPORTED_CPU = 7,
  /* Kernel and runtime were built by different versions. */
  MHA_ABI_MISMATCH = 8,
  /* A weights file that is cut short, inconsistent, of the wrong shape or dtype. */
  MHA_BAD_FILE = 9,
  /* The system could not open or read a file. */
  MHA_IO_ERROR = 10,
  /* A bug of ours: please report it. */
  MHA_INTERNAL = 11,
  /* The cache has no free page, or no free sequence, left for this. */
  MHA_CACHE_FULL = 12,
  /* Another thread is using the cache at this moment. */
  MHA_BUSY = 13
} mha_status;

typedef enum mha_dtype {
  MHA_F32 = 0,
  MHA_BF16 = 1,
  MHA_F16 = 2,
  MHA_I32 = 3,
  MHA_I64 = 4,
  MHA_U8 = 5,
  MHA_BOOL = 6,
  MHA_I8 = 7,
  /* A type of the safetensors format that no kernel takes: F64, U16, F8_E4M3, ... */
  MHA_DTYPE_OTHER = 255
} mha_dtype;

typedef enum mha_memory { MHA_MEMORY_HOST = 0 } mha_memory;

/* A kernel (a table in a generated library), a context (threads), packed weights (immutable,
 * shareable). */
typedef struct mha_kernel mha_kernel;
typedef struct mha_context mha_context;
typedef struct mha_weights mha_weights;
/* Keys and values of sequences, for kernels whose spec has kv_cache. */
typedef struct mha_cache mha_cache;
typedef struct mha_safetensors mha_safetensors;

enum { MHA_MAX_RANK = 5, MHA_WORKSPACE_ALIGNMENT = 64 };

/* flags of a tensor: without MHA_STRIDED the tensor is dense in its axis order and `strides` is not
 * read. MHA_REPEATED, for a mask alone: its innermost axis is one element, which stands for all. */
enum { MHA_STRIDED = 1, MHA_REPEATED = 2 };

/* A view of the caller's memory. `strides` counts elements, outermost axis first; the innermost
 * axis is always dense and has no entry. Strides may not be negative; an input may repeat itself by
 * stride 0; the stride of an axis of one element is not looked at. Element alignment suffices. data
 * NULL: not given. */
typedef struct mha_tensor {
  void* data;
  int64_t strides[MHA_MAX_RANK - 1];
  uint32_t flags;
  uint32_t memory; /* mha_memory */
} mha_tensor;

/* The head of every NAME_args; the tensors follow it. Zero a NAME_args before filling it. */
typedef struct mha_call {
  size_t size; /* sizeof(NAME_args) */
  /* 0: the spec's value, or its maximum where the spec gives a range. Where Lk = Lq key_length is 0
   * or query_length. */
  int64_t batch;
  int64_t query_length;
  int64_t key_length;
  const mha_weights* weights; /* op block only */
  /* At least NAME_workspace_size() bytes, aligned to MHA_WORKSPACE_ALIGNMENT, for this call alone
   * while it runs. What it holds before and after means nothing. */
  void* workspace;
  size_t workspace_size;
  /* Of a kernel with kv_cache, else NULL: the cache, and the number of the sequence in it that each
   * of the `batch` sequences of this call continues; no number twice. The call brings query_length
   * new tokens for each (packed: its rows), whose keys follow those that the sequence has.
   * key_length is Lk of tensors such as masks: 0, or at least what the longest sequence has after
   * the call (and at least 1). */
  mha_cache* cache;
  const int32_t* sequences;
  int32_t layer; /* of the cache */
  /* Where the spec of a kernel with kv_cache has key_length or cross: the keys that the call brings
   * to each sequence, for tokens need not be queries then. 0: none, and the tensors of new keys are
   * not looked at; but for mha_append and mha_workspace_size the spec's value or maximum. With
   * cross and without key_length it is 0 or query_length (packed: one a row). Else 0 or
   * query_length, and one key a query comes. */
  int32_t new_keys;
} mha_call;

/* --- errors and versions --- */
const char* mha_status_name(mha_status status);
/* The message of this thread's last failing call; "" when there was none. Valid until that
 * thread's next failing call. */
const char* mha_last_message(void);
const char* mha_version(void);
/* "F32": the name that the safetensors format has for it. */
const char* mha_dtype_name(mha_dtype dtype);

/* --- contexts --- */
/* Runs body(body_context, i) for every i in [0, count), on any threads in any order, and returns
 * when all are done. count is at most `threads` of mha_context_options. */
typedef void (*mha_parallel_for)(void* user, int32_t count,
                                 void (*body)(void* body_context, int32_t i), void* body_context);
typedef void (*mha_log)(void* user, const char* message);

typedef struct mha_context_options {
  size_t size;                   /* sizeof(mha_context_options) */
  int32_t threads;               /* counts the caller; 0: the CPUs that the process may use */
  mha_parallel_for parallel_for; /* NULL: a pool of threads - 1 threads of our own */
  void* parallel_for_user;
  mha_log log; /* NULL: silent */
  void* log_user;
} mha_context_options;

/* options may be NULL. A context may be used by many threads at once. After fork() the child makes
 * its own. */
mha_status mha_context_create(const mha_context_options* options, mha_context** context);
void mha_context_destroy(mha_context* context); /* NULL is fine */
int32_t mha_context_threads(const mha_context* context);

/* --- weights --- */
/* A weight as the model has it: row-major, y = x W^T + b. w_q [H*D, M], w_k [G*D, M], w_v [G*Dv,
 * M], w_o [M, H*Dv]; biases [rows]. dtype F32, BF16 or F16. */
typedef struct mha_weight_array {
  const char* name;
  const void* data;
  mha_dtype dtype;
  int32_t rank;
  int64_t shape[MHA_MAX_RANK];
} mha_weight_array;

/* Packs the arrays into the kernel's own form; the arrays are not needed afterwards. Every weight
 * of the kernel must be there once and no other. */
mha_status mha_weights_create(const mha_kernel* kernel, const mha_weight_array* arrays,
                              size_t count, mha_weights** weights);
/* Reads them from a safetensors file (or an .index.json of shards). Names are those of the spec's
 * weights_from, with {layer} replaced by `layer`, else w_q, w_k, ... */
mha_status mha_weights_load(const mha_kernel* kernel, const char* path, int32_t layer,
                            mha_weights** weights);
void mha_weights_destroy(mha_weights* weights);

/* --- caches --- */
/* A cache holds K and V of many sequences, in pages that sequences may share: a fork copies nothing
 * until one of the two goes on. It serves every kernel whose kv_cache, dtype, kv_heads, d_head and
 * d_value are those of the kernel that it was made for, in any number of layers. Where the spec's
 * cache is contiguous, a sequence is one page.
 *
 * A cache serves one call at a time: what meets another call or change in progress is refused with
 * MHA_BUSY and has no effect. Its memory is taken when it is made; calls allocate nothing. */
typedef struct mha_cache_options {
  size_t size;       /* sizeof(mha_cache_options) */
  int32_t sequences; /* that are there at a time, at most */
  int32_t layers;    /* that keep the same sequences, each with its own K and V; 0: 1 */
  /* In each layer; 0: as many as all sequences can hold, which may be far more than they do. */
  int64_t pages;
} mha_cache_options;

mha_status mha_cache_create(const mha_kernel* kernel, const mha_cache_options* options,
                            mha_cache** cache);
void mha_cache_destroy(mha_cache* cache); /* NULL is fine; no call may be running with it */
/* What the cache takes of memory. */
size_t mha_cache_bytes(const mha_cache* cache);
/* Pages that no sequence holds, and all; keys of a page. Each pointer may be NULL. */
mha_status mha_cache_pages(mha_cache* cache, int64_t* free_pages, int64_t* pages,
                           int64_t* page_keys);

/* Sequences are numbers from 0, used again after they are destroyed. */
mha_status mha_sequence_create(mha_cache* cache, int32_t* sequence);
/* A new sequence that begins as the old one stands now, and shares its pages. */
mha_status mha_sequence_fork(mha_cache* cache, int32_t sequence, int32_t* fork);
/* Forgets all keys from `length` on, in every layer; length is at most what the sequence has. */
mha_status mha_sequence_rewind(mha_cache* cache, int32_t sequence, int64_t length);
/* The keys that the sequence has in every layer (of its shortest one). */
mha_status mha_sequence_length(mha_cache* cache, int32_t sequence, int64_t* length);
mha_status mha_sequence_destroy(mha_cache* cache, int32_t sequence);

/* Rows [first, first + count) of a sequence, as attention reads them (after norm and RoPE): keys
 * [count, G, D] and values [count, G, Dv], dense; either may be NULL. G counts the KV heads that
 * pruned_heads leaves. dtype: the cache's, or F32. */
mha_status mha_cache_read(mha_cache* cache, int32_t layer, int32_t sequence, int64_t first,
                          int64_t count, mha_dtype dtype, void* keys, void* values);
/* Puts such rows behind the last of a sequence; dtype F32 is rounded to nearest even. */
mha_status mha_cache_append(mha_cache* cache, int32_t layer, int32_t sequence, int64_t count,
                            mha_dtype dtype, const void* keys, const void* values);

/* --- running --- */
/* Bytes that a call with these lengths needs with a context of `threads` threads. `args` is a
 * NAME_args of which only the lengths are read and, for a packed batch, sequence_starts: without it
 * (data NULL) every sequence counts as query_length rows. With kv_cache key_length
 * counts, 0 being the capacity; cache and sequences are not looked at. */
mha_status mha_workspace_size(const mha_kernel* kernel, const void* args, int32_t threads,
                              size_t* bytes);
/* Checks everything, then computes. Allocates nothing. What NAME_run calls. The inputs, index
 * tensors such as key_lengths among them, must not change until it returns. */
mha_status mha_run(const mha_kernel* kernel, mha_context* context, const void* args);
/* The same for a kernel with kv_cache, with less to do; what NAME_append and NAME_decode_shared
 * call. NAME_decode is mha_run: the new keys go into the cache, then the queries attend to all that
 * their sequence has.
 * mha_append: keys and values of the new tokens go into the cache, nothing attends. Tensors that
 * this does not need, outputs among them, are not looked at.
 * mha_decode_shared: as mha_run, but what the sequences of the call have in common is read once for
 * all of them: the leading whole pages that all share since they were forked (cascade decoding).
 * Any sequences may be given; without common pages it does what mha_run does. Equal to it within
 * rounding. */
mha_status mha_append(const mha_kernel* kernel, mha_context* context, const void* args);
mha_status mha_decode_shared(const mha_kernel* kernel, mha_context* context, const void* args);
/* MHA_OK when this machine can run the kernel and the runtime fits it. */
mha_status mha_kernel_check(const mha_kernel* kernel);

/* A library may hold its kernel for several targets. When the kernel is first used, by any function
 * here, the best target that this machine can run is chosen, and stays chosen: weights are packed
 * for it, and every call runs it. Where the environment variable MHA_TARGET is set and not empty at
 * that moment, it names the target; one that the library does not hold is MHA_INVALID_ARGUMENT, one
 * that this machine cannot run MHA_UNSUPPORTED_CPU, and nothing is chosen yet. */
typedef struct mha_target_info {
  uint32_t index, count; /* this one, from 0, of so many; the best first */
  uint32_t runs_here;    /* 1: this machine can run it */
  uint32_t reserved;
  const char* name; /* "zen5" */
  /* The kernel of this target alone. Used in place of the library's, it runs in this target
   * whatever was chosen, with weights that were packed for it; a cache serves all. */
  const mha_kernel* kernel;
} mha_target_info;
/* Chooses nothing. index: 0 to count - 1; count is filled in for any index. */
mha_status mha_kernel_target(const mha_kernel* kernel, uint32_t index, mha_target_info* info);

/* What a kernel is. All strings live as long as the kernel. */
typedef struct mha_kernel_info {
  const char* name;
  const char* spec;            /* canonical JSON of the spec */
  const char* target;          /* "zen5", "x86-64-v3", ...: the one that is chosen */
  const char* schedule;        /* the parameters, one line a stage; of each variant, if several */
  const char* schedule_origin; /* "default" or "record" */
  const char* generator;       /* version */
} mha_kernel_info;
/* Of a kernel that this machine cannot run too; where it has several targets, `target` then lists
 * them and the schedule is "". */
mha_status mha_kernel_get_info(const mha_kernel* kernel, mha_kernel_info* info);

/* A kernel for a range of lengths may hold its stages in several variants, each arranged for a
 * range of query lengths. A call is served by the one that its query length falls to. */
typedef struct mha_variant_info {
  uint32_t index, count; /* this one, from 0, of so many */
  int64_t min_query_length, max_query_length;
  const char* schedule; /* the parameters, one line a stage */
} mha_variant_info;
/* The variant that serves calls of this query length (0: as in mha_call). */
mha_status mha_kernel_variant(const mha_kernel* kernel, int64_t query_length,
                              mha_variant_info* info);

/* --- safetensors, read only --- */
typedef struct mha_safetensors_tensor {
  const char* name;
  mha_dtype dtype;
  int32_t rank;
  int64_t shape[8];
  const void*
      data; /* element alignment is not promised by the format: copy before use if misaligned */
  size_t bytes;
} mha_safetensors_tensor;

mha_status mha_safetensors_open(const char* path, mha_safetensors** file);
/* The same over memory that the caller keeps alive. */
mha_status mha_safetensors_parse(const void* data, size_t bytes, mha_safetensors** file);
void mha_safetensors_close(mha_safetensors* file);
size_t mha_safetensors_count(const mha_safetensors* file);
/* Tensors in the order of their data. */
mha_status mha_safetensors_get(const mha_safetensors* file, size_t index,
                               mha_safetensors_tensor* tensor);
mha_status mha_safetensors_find(const mha_safetensors* file, const char* name,
                                mha_safetensors_tensor* tensor);

#ifdef __cplusplus
}
#endif

#endif /* MHA_MHA_H_ */
