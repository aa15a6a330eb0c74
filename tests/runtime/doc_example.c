#include <mha/mha.h>
#include <stdio.h>
#include <stdlib.h>

#include "example.h" /* generated from example.yaml: libexample.a, example.h */

static int failed(const char* what, mha_status status) {
  if (status == MHA_OK) return 0;
  fprintf(stderr, "%s: %s: %s\n", what, mha_status_name(status), mha_last_message());
  return 1;
}

/* softmax(Q K^T / 4) V for one sequence of 20 tokens, 2 heads of 16, each tensor [1, 20, 2, 16]. */
int run_example(float* query, float* key, float* value, float* output) {
  mha_context* context = NULL;
  if (failed("context", mha_context_create(NULL, &context))) return 1;

  example_args args = {0};
  args.call.size = sizeof args;
  args.call.query_length = 20; /* the spec says {min: 1, max: 64} */
  args.query.data = query;
  args.key.data = key;
  args.value.data = value;
  args.output.data = output;

  size_t bytes = 0;
  int status = failed("size", example_workspace_size(&args, mha_context_threads(context), &bytes));
  args.call.workspace = status == 0 ? aligned_alloc(MHA_WORKSPACE_ALIGNMENT, bytes) : NULL;
  args.call.workspace_size = bytes;
  if (status == 0) status = failed("run", example_run(context, &args));

  free(args.call.workspace);
  mha_context_destroy(context);
  return status;
}
