#include <mha/mha.h>
#include <stdio.h>
#include <stdlib.h>

#include "cached.h" /* generated from cached_example.yaml: libcached.a, cached.h */

static int failed(const char* what, mha_status status) {
  if (status == MHA_OK) return 0;
  fprintf(stderr, "%s: %s: %s\n", what, mha_status_name(status), mha_last_message());
  return 1;
}

/* One sequence of 40 tokens: a prompt of 30 in two parts, then one token at a time. query and
 * output are [40, 4, 16], key and value [40, 2, 16]. */
int run_cached_example(float* query, float* key, float* value, float* output) {
  mha_context* context = NULL;
  mha_cache* cache = NULL;
  int32_t sequence = 0;
  const mha_cache_options options = {sizeof options, /*sequences=*/8, /*layers=*/1, /*pages=*/64};
  int status = failed("context", mha_context_create(NULL, &context));
  if (status == 0) status = failed("cache", cached_cache_create(&options, &cache));
  if (status == 0) status = failed("sequence", mha_sequence_create(cache, &sequence));

  /* Without key_length the size is that for a full cache, which does for every call. */
  cached_args args = {0};
  args.call.size = sizeof args;
  size_t bytes = 0;
  if (status == 0)
    status = failed("size", cached_workspace_size(&args, mha_context_threads(context), &bytes));
  args.call.workspace = status == 0 ? aligned_alloc(MHA_WORKSPACE_ALIGNMENT, bytes) : NULL;
  args.call.workspace_size = bytes;
  args.call.cache = cache;
  args.call.sequences = &sequence;

  for (int64_t done = 0, count; status == 0 && done < 40; done += count) {
    count = done == 0 ? 20 : done < 30 ? 10 : 1;
    args.call.query_length = count;
    args.query.data = query + done * 4 * 16;
    args.key.data = key + done * 2 * 16;
    args.value.data = value + done * 2 * 16;
    args.output.data = output + done * 4 * 16;
    status = failed("decode", cached_decode(context, &args));
  }

  free(args.call.workspace);
  mha_cache_destroy(cache);
  mha_context_destroy(context);
  return status;
}
