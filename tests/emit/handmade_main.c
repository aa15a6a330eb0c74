/* Linked with a generated library by emit_test: the tables say what the program said, and a call
 * computes. */
#include <handmade.h>
#include <mha/kernel.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                              \
  do {                                                                                \
    if (!(condition)) {                                                               \
      fprintf(stderr, "line %d: %s: %s\n", __LINE__, #condition, mha_last_message()); \
      return 1;                                                                       \
    }                                                                                 \
  } while (0)

int main(void) {
  const mha_kernel* kernel = &handmade_kernel;
  CHECK(kernel->abi == MHA_KERNEL_ABI);
  CHECK(kernel->struct_size == sizeof(mha_kernel));
  CHECK(kernel->args_size == sizeof(handmade_args));
  CHECK(strcmp(kernel->info.name, "handmade") == 0);
  CHECK(strcmp(kernel->info.schedule_origin, "default") == 0);
  CHECK(strstr(kernel->info.spec, "\"d_head\"") != NULL);
  CHECK(strcmp(kernel->info.schedule, "double: lanes=4\n") == 0);
  CHECK(kernel->self_length == 1 && kernel->offset_kind == 0);
  CHECK(kernel->key_lengths_tensor == -1 && kernel->query_offset_tensor == -1);
  CHECK(kernel->batch.min == 1 && kernel->batch.max == 2 && kernel->query_length.max == 64);
  CHECK(kernel->weight_count == 0 && kernel->pack_count == 0);
  CHECK(kernel->tensor_count == 2 && kernel->variant_count == 1);
  const mha_variant* variant = &kernel->variants[0];
  CHECK(variant->max_query_length == 64 && variant->buffer_count == 0 && variant->stage_count == 1);
  CHECK(strcmp(variant->schedule, "double: lanes=4\n") == 0);
  CHECK(strcmp(kernel->tensors[1].name, "output") == 0 &&
        kernel->tensors[1].role == MHA_ROLE_OUTPUT);
  CHECK(kernel->tensors[0].offset == offsetof(handmade_args, query));
  CHECK(kernel->tensors[1].offset == offsetof(handmade_args, output));
  CHECK(kernel->tensors[0].rank == 4 && kernel->tensors[0].axes[1].symbol == MHA_SYMBOL_QUERY);
  CHECK(kernel->tensors[0].axes[2].scale == 4 && kernel->tensors[0].axes[2].round == 1);
  const mha_stage* stage = &variant->stages[0];
  CHECK(strcmp(stage->name, "double") == 0 && stage->operand_count == 3);
  CHECK(stage->operands[1].kind == MHA_OPERAND_SCALAR &&
        stage->operands[1].index == MHA_SYMBOL_TASK0);
  CHECK(stage->operands[2].index == 1 && stage->operands[2].axes[0] == 3 &&
        stage->operands[2].axes[3] == 0);
  CHECK(stage->grid_rank == 1 && stage->batch_axis == -1 && stage->grid[0].tile == 1);
  /* 2 x 64 x 4 x 8 floats, already a multiple of 64 bytes. */
  CHECK(stage->scratch_bytes == 2 * 64 * 4 * 8 * sizeof(float) + MHA_SCRATCH_HEADER);

  enum { kCount = 2 * 50 * 4 * 8 };
  static float query[kCount], output[kCount];
  for (int i = 0; i < kCount; ++i) query[i] = (float)i;
  mha_context_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.threads = 1;
  mha_context* context = NULL;
  CHECK(mha_context_create(&options, &context) == MHA_OK);
  handmade_args args;
  memset(&args, 0, sizeof args);
  args.call.size = sizeof args;
  args.call.query_length = 50;
  args.query.data = query;
  args.output.data = output;
  size_t bytes = 0;
  CHECK(handmade_workspace_size(&args, 1, &bytes) == MHA_OK);
  args.call.workspace = aligned_alloc(MHA_WORKSPACE_ALIGNMENT, (bytes + 63) / 64 * 64);
  args.call.workspace_size = bytes;
  CHECK(handmade_run(context, &args) == MHA_OK);
  for (int i = 0; i < kCount; ++i) CHECK(output[i] == 2.0f * (query[i] + 1.0f));
  free(args.call.workspace);
  mha_context_destroy(context);
  return 0;
}
