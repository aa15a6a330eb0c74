/* What Python calls through ctypes: a kernel of ours, ready to run, and the FMA peak. Linked into
 * one shared object with the kernel and the runtime (bench/peers/kernels.py). */
#ifndef MHA_BENCH_PEERS_BRIDGE_H_
#define MHA_BENCH_PEERS_BRIDGE_H_

#include "mha/mha.h"

#ifdef __cplusplus
extern "C" {
#endif

/* `steps` calls that follow one another, as the layers of a model do; each has tensors and weights
 * of its own, and all share one workspace. */
typedef struct mha_peers_run mha_peers_run;

/* Lengths are the spec's own. The functions return an mha_status; mha_peers_message() then says
 * what was wrong. */
mha_status mha_peers_open(const mha_kernel* kernel, int32_t threads, int32_t steps,
                          mha_peers_run** run);
/* Where a step's tensor lies: dense, in the kernel's axis order, alive until closed. */
mha_status mha_peers_tensor(mha_peers_run* run, int32_t step, const char* name, void* data);
/* Packs a step's F32 weights: matrices of rows[i] x columns[i], row-major. */
mha_status mha_peers_weights(mha_peers_run* run, int32_t step, int32_t count,
                             const char* const* names, const float* const* data,
                             const int64_t* rows, const int64_t* columns);
/* Of a kernel with kv_cache: a step's own cache, with one sequence that has `count` keys, F32 rows
 * [count, KV heads, width]. Every call of the step begins there anew. */
mha_status mha_peers_cache(mha_peers_run* run, int32_t step, int64_t count, const float* keys,
                           const float* values);
/* All steps, in order. */
mha_status mha_peers_call(mha_peers_run* run);
void mha_peers_close(mha_peers_run* run); /* NULL is fine */

/* The message of this thread's last failing call. */
const char* mha_peers_message(void);

/* One sample of what the machine can do at most on this many threads. "f32", "bf16": its
 * multiply-adds over such numbers, in FLOP/s, about 3 ms. "read": bytes read from memory a second,
 * about 20 ms; the first time more. 0 for any other word. */
double mha_peers_limit(const char* limit, int32_t threads);

#ifdef __cplusplus
}
#endif

#endif /* MHA_BENCH_PEERS_BRIDGE_H_ */
