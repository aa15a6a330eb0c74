// A call as the files that check and run it see it.
#ifndef MHA_RUNTIME_SRC_CALL_H_
#define MHA_RUNTIME_SRC_CALL_H_

#include "runtime/src/cache.h"

namespace mha {

// One call in flight.
struct Call {
  const mha_kernel* kernel;
  const mha_variant* variant;
  const mha_call* args;
  mha_context* context;
  mha::Entry entry;
  mha_cache* cache;  // NULL: the kernel has none
  Lengths lengths;
  TensorView views[MHA_MAX_TENSORS];
  Layout layout;
  Failure failure;
};

}  // namespace mha

#pragma GCC visibility push(hidden)
extern "C" {

// --- stage.cc ---
// key_lengths and key_starts of sequence b, as far as the kernel has them and the call reads them.
void mha_internal_set_visible(const mha::Call* call, int64_t b, int32_t* keys, int32_t* first_key);
// Runs all tasks of one stage.
mha_status mha_internal_run_stage(mha::Call* call, const mha_stage* stage);

}  // extern "C"
#pragma GCC visibility pop

#endif  // MHA_RUNTIME_SRC_CALL_H_
