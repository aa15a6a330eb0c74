/* Calls one kernel (-DKERNEL=NAME_kernel) with every tensor in an allocation of exactly its size,
 * so that a sanitizer sees any access beside it, and with several threads, so that it sees any
 * race. Knows the kernel by its tables alone. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mha/kernel.h"
#include "mha/mha.h"

extern const mha_kernel KERNEL;

#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
/* LLVM's code calls these by name; GCC's runtime has them as its interceptors of the plain
 * functions alone. */
void* __tsan_memset(void* to, int value, size_t bytes) { return memset(to, value, bytes); }
void* __tsan_memcpy(void* to, const void* from, size_t bytes) { return memcpy(to, from, bytes); }
void* __tsan_memmove(void* to, const void* from, size_t bytes) { return memmove(to, from, bytes); }
#endif

static int64_t extent(const mha_extent* e, const mha_call* call) {
  int64_t value = e->symbol == MHA_SYMBOL_BATCH   ? call->batch
                  : e->symbol == MHA_SYMBOL_QUERY ? call->query_length
                  : e->symbol == MHA_SYMBOL_KEY   ? call->key_length
                                                  : 1;
  return e->scale * ((value + e->round - 1) / e->round * e->round);
}

static float* random_floats(int64_t count) {
  float* values = malloc((size_t)count * sizeof(float));
  if (values == NULL) exit(1);
  for (int64_t i = 0; i < count; ++i) values[i] = (float)rand() / (float)RAND_MAX - 0.5F;
  return values;
}

static void check(mha_status status) {
  if (status == MHA_OK) return;
  fprintf(stderr, "%s: %s\n", mha_status_name(status), mha_last_message());
  exit(1);
}

static void run(int64_t batch, int64_t query, int64_t key, mha_context* context,
                const mha_weights* weights) {
  char* args = calloc(1, KERNEL.args_size);
  if (args == NULL) exit(1);
  mha_call* call = (mha_call*)args;
  call->size = KERNEL.args_size;
  call->batch = batch;
  call->query_length = query;
  call->key_length = key;
  call->weights = weights;
  void* data[MHA_MAX_TENSORS] = {0};
  for (uint64_t t = 0; t < KERNEL.tensor_count; ++t) {
    const mha_tensor_info* info = &KERNEL.tensors[t];
    int64_t count = 1;
    for (uint32_t axis = 0; axis < info->rank; ++axis) count *= extent(&info->axes[axis], call);
    data[t] = random_floats(count);
    if (info->dtype == MHA_I32) {
      for (int64_t i = 0; i < count; ++i) {
        ((int32_t*)data[t])[i] = (int32_t)(info->check == MHA_CHECK_KEYS ? key - i % 2 : 1);
      }
    }
    ((mha_tensor*)(args + info->offset))->data = data[t];
  }
  size_t bytes = 0;
  check(mha_workspace_size(&KERNEL, args, mha_context_threads(context), &bytes));
  call->workspace_size = bytes;
  call->workspace = aligned_alloc(MHA_WORKSPACE_ALIGNMENT, (bytes + 64) / 64 * 64);
  if (call->workspace == NULL) exit(1);
  for (int repeat = 0; repeat < 3; ++repeat) check(mha_run(&KERNEL, context, args));
  for (uint64_t t = 0; t < KERNEL.tensor_count; ++t) free(data[t]);
  free(call->workspace);
  free(args);
}

int main(void) {
  mha_context_options options = {0};
  options.size = sizeof options;
  options.threads = 3;
  mha_context* context = NULL;
  check(mha_context_create(&options, &context));

  mha_weights* weights = NULL;
  if (KERNEL.weight_count > 0) {
    mha_weight_array* arrays = calloc(KERNEL.weight_count, sizeof *arrays);
    if (arrays == NULL) return 1;
    for (uint64_t w = 0; w < KERNEL.weight_count; ++w) {
      const mha_weight_info* info = &KERNEL.weights[w];
      int64_t count = 1;
      for (uint32_t axis = 0; axis < info->rank; ++axis) {
        arrays[w].shape[axis] = info->shape[axis];
        count *= info->shape[axis];
      }
      arrays[w].name = info->name;
      arrays[w].dtype = MHA_F32;
      arrays[w].rank = (int32_t)info->rank;
      arrays[w].data = random_floats(count);
    }
    check(mha_weights_create(&KERNEL, arrays, KERNEL.weight_count, &weights));
    for (uint64_t w = 0; w < KERNEL.weight_count; ++w) free((void*)arrays[w].data);
    free(arrays);
  }
  const mha_length_range q = KERNEL.query_length;
  const mha_length_range k = KERNEL.self_length ? q : KERNEL.key_length;
  run(KERNEL.batch.max, q.max, k.max, context, weights);
  run(KERNEL.batch.min, q.min, k.min, context, weights);
  run(KERNEL.batch.max, (q.min + q.max) / 2, (k.min + k.max) / 2, context, weights);
  // The last call of each variant and the first of the next.
  for (uint64_t v = 0; v < KERNEL.variant_count; ++v) {
    const int64_t to = KERNEL.variants[v].max_query_length;
    run(KERNEL.batch.max, to, KERNEL.self_length ? to : k.max, context, weights);
    if (to < q.max)
      run(KERNEL.batch.min, to + 1, KERNEL.self_length ? to + 1 : k.max, context, weights);
  }
  mha_weights_destroy(weights);
  mha_context_destroy(context);
  printf("ran %s\n", KERNEL.info.name);
  return 0;
}
