/* Runs a generated kernel whose output is a few bytes shorter than the kernel was told, if SHORT is
 * set. Built with the sanitizer that the library was generated for, which is to see the stage write
 * past the end. */
#include <handmade.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
  const size_t bytes = 2 * 64 * 4 * 8 * sizeof(float);
  mha_context_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.threads = 2;
  mha_context* context = NULL;
  if (mha_context_create(&options, &context) != MHA_OK) return 1;
  handmade_args args;
  memset(&args, 0, sizeof args);
  args.call.size = sizeof args;
  args.query.data = calloc(1, bytes);
  args.output.data = calloc(1, bytes - SHORT);
  if (handmade_workspace_size(&args, 2, &args.call.workspace_size) != MHA_OK) return 1;
  args.call.workspace =
      aligned_alloc(MHA_WORKSPACE_ALIGNMENT, (args.call.workspace_size + 63) / 64 * 64);
  if (handmade_run(context, &args) != MHA_OK) return 1;
  free(args.call.workspace);
  free(args.query.data);
  free(args.output.data);
  mha_context_destroy(context);
  return 0;
}
