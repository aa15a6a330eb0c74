// What the files of the runtime share. The archive must link into a C program, so there is nothing
// here that needs libstdc++: no exceptions, no `new`, no virtual functions, no std:: containers or
// atomics (whose inline functions turn into global symbols in debug builds); shared words use the
// compiler's __atomic builtins.
//
// Functions that cross files have C linkage and start with mha_internal_, because every global
// symbol of the archive starts with mha_.
#ifndef MHA_RUNTIME_SRC_INTERNAL_H_
#define MHA_RUNTIME_SRC_INTERNAL_H_

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "mha/kernel.h"
#include "mha/mha.h"

namespace mha {

enum : int64_t {
  kMaxThreads = 1024,
  // Stages index with int32, so that no array may reach this many elements.
  kMaxElements = (int64_t{1} << 31) - 1,
  // Of query_offset, either way.
  kFarthestOffset = int64_t{1} << 30,
};

// Halide's numbers for errors, and one of ours.
enum : int { kGenericError = -1, kOutOfMemory = -11, kHookIncomplete = -1000 };

// The lengths of one call, indexed by MHA_SYMBOL_*.
struct Lengths {
  int64_t symbol[MHA_SYMBOL_NEW_KEYS + 1];
};

// What a call is to do.
enum Entry { kRun, kAppend, kDecodeShared };

// A number of an index tensor, held within what was checked: should the caller change the tensor in
// the meantime, results may be wrong, but nothing outside of the tensors is read.
static inline int32_t load_within(const int32_t* value, int64_t low, int64_t high) {
  const int64_t read = __atomic_load_n(value, __ATOMIC_RELAXED);
  return static_cast<int32_t>(read < low ? low : read > high ? high : read);
}

// A tensor of the caller after the checks: extents and strides in elements, outermost axis first.
struct TensorView {
  uint8_t* data;
  int64_t extents[MHA_MAX_RANK];
  int64_t strides[MHA_MAX_RANK];
};

// Where everything lies in a workspace: the buffers, then one slot for each thread.
struct Layout {
  size_t buffer_offsets[MHA_MAX_BUFFERS];
  size_t slots_offset;
  size_t slot_stride;
  size_t scratch_bytes;  // of a slot, for halide_malloc
  size_t total;
};

// The first failure of a stage, written by the task that met it.
struct Failure {
  int32_t code;      // atomic; 0: none
  const char* text;  // a constant
  char detail[160];
};

// The head of a thread's slot, and what Halide's user_context points to: how a task finds its
// scratch.
struct Slot {
  Failure* failure;
  uint8_t* scratch;
  size_t size;
  size_t top;   // bytes taken
  size_t last;  // offset of the topmost allocation's header; SIZE_MAX: none
};
enum : size_t { kSlotHead = 64, kSlotTail = 64 };
static_assert(sizeof(Slot) <= kSlotHead);

// A weight that was checked, wherever it lies: element (r, c) is at data + (r * row_stride + c *
// column_stride) elements.
struct WeightView {
  const uint8_t* data;
  mha_dtype dtype;
  int64_t row_stride, column_stride;
};

struct Pool;

}  // namespace mha

struct mha_context {
  int32_t threads;
  mha_parallel_for parallel_for;
  void* parallel_for_user;
  mha_log log;
  void* log_user;
  mha::Pool* pool;  // NULL with a hook or with one thread
};

struct mha_weights {
  const mha_kernel* kernel;
  uint32_t abi;
  uint8_t* data;  // all packed arrays in one block
  size_t bytes;
  uint8_t** packs;       // one a mha_pack_info
  char packed_for[112];  // "kernel 'x', target zen4": the kernel's own text may be gone
};

#pragma GCC visibility push(hidden)
extern "C" {

// --- status.cc ---
// Stores the message of this thread and returns the status, so that a check ends with `return ...`.
mha_status mha_internal_fail(mha_status status, const char* format, ...)
    __attribute__((format(printf, 2, 3)));
// Puts "prefix" before this thread's message.
void mha_internal_prefix_message(const char* prefix);

// --- cpu.cc ---
// The features as words, into `text`.
void mha_internal_feature_names(uint64_t features, char* text, size_t size);

// --- target.cc ---
// The kernel of one target that serves calls of `kernel`, which this machine can run: the one that
// was chosen, or that is chosen now.
mha_status mha_internal_choose(const mha_kernel* kernel, const mha_kernel** chosen);
// The same for questions about sizes, which a kernel for another machine has too, if it is for one
// target.
mha_status mha_internal_choose_any(const mha_kernel* kernel, const mha_kernel** chosen);

// --- pool.cc ---
mha_status mha_internal_pool_create(int32_t threads, mha::Pool** pool);
void mha_internal_pool_destroy(mha::Pool* pool);
// Runs body(body_context, i) for i = 0 on the calling thread and, where a worker is free in time,
// for further i < count on workers; returns when all that began are done. The body of i = 0 must be
// able to do all the work by itself.
void mha_internal_pool_run(mha::Pool* pool, int32_t count, void (*body)(void*, int32_t),
                           void* body_context);

// --- halide_hooks.cc ---
// Stores the failure if it is the first one; returns a code that is not 0.
int mha_internal_record(mha::Failure* failure, int code, const char* text, const char* detail);

// --- context.cc ---
void mha_internal_log(const mha_context* context, const char* message);

// --- layout.cc ---
size_t mha_internal_dtype_bytes(uint32_t dtype);
// Checks the struct that the caller passed and fills in the lengths of the call. Of a packed batch
// it reads sequence_starts, which may be absent where `starts_required` is false. `most_keys`:
// new_keys 0 stands for the most that a call may bring.
mha_status mha_internal_lengths(const mha_kernel* kernel, const void* args, bool starts_required,
                                bool most_keys, mha::Lengths* lengths);
// The value of an extent, or -1 when it overflows.
int64_t mha_internal_extent(const mha_extent* extent, const mha::Lengths* lengths);
// The variant that serves calls of so many queries; the one place where that is decided. NULL when
// the table makes no sense.
const mha_variant* mha_internal_variant(const mha_kernel* kernel, int64_t query_length);
// The layout of a call that `variant` serves. Its total is enough for every shorter call too, which
// another variant may serve, so that a workspace for the longest calls does for all.
mha_status mha_internal_layout(const mha_kernel* kernel, const mha_variant* variant,
                               const mha::Lengths* lengths, int32_t threads, mha::Layout* layout);
mha_status mha_internal_no_variant(const mha_kernel* kernel, int64_t query_length);

// --- check.cc ---
// The caller's descriptor of tensor `index`.
const mha_tensor* mha_internal_tensor(const mha_kernel* kernel, const mha_call* call,
                                      uint64_t index);
// Checks sequence_starts of a packed batch and sets the rows that it adds up to.
mha_status mha_internal_check_starts(const mha_kernel* kernel, const mha_call* call, bool required,
                                     mha::Lengths* lengths);
// Checks the tensors of a call, each and against each other, the weights and the workspace. Those
// that `entry` does not need are not looked at; their views have no data.
mha_status mha_internal_check_tensors(const mha_kernel* kernel, const mha_call* call,
                                      mha::Entry entry, const mha::Lengths* lengths,
                                      mha::TensorView* views);
mha_status mha_internal_check_overlap(const mha_kernel* kernel, const mha_call* call,
                                      const mha::Lengths* lengths, const mha::TensorView* views,
                                      size_t workspace_bytes);
mha_status mha_internal_check_values(const mha_kernel* kernel, const mha_call* call,
                                     const mha::Lengths* lengths, const mha::TensorView* views);

// --- pack.cc ---
// One view per mha_weight_info.
mha_status mha_internal_pack(const mha_kernel* kernel, const mha::WeightView* views,
                             mha_weights** weights);

// --- weights.cc ---
// "[6, 4]"
void mha_internal_shape_text(char* text, size_t size, int32_t rank, const int64_t* shape);
// Weights have one of three dtypes; `status` is what any other is called.
mha_status mha_internal_check_weight_dtype(const mha_weight_info* info, mha_dtype dtype,
                                           mha_status status);

}  // extern "C"
#pragma GCC visibility pop

#endif  // MHA_RUNTIME_SRC_INTERNAL_H_
