/* Runs a generated kernel on five positions and prints how far each output row is from a plain
 * computation. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tiny_attention.h"

enum { kLength = 5, kHeads = 2, kWidth = 16 };

static float query[kLength][kHeads][kWidth], key[kLength][kHeads][kWidth];
static float value[kLength][kHeads][kWidth], output[kLength][kHeads][kWidth];

/* softmax(q K^T / sqrt(D)) V of row i, which sees keys 0..i; returns the largest error of the
 * kernel. */
static double row_error(int i, int head) {
  double weights[kLength], sum = 0, worst = 0;
  for (int j = 0; j <= i; ++j) {
    double score = 0;
    for (int d = 0; d < kWidth; ++d) score += (double)query[i][head][d] * key[j][head][d];
    sum += weights[j] = exp(score / sqrt(kWidth));
  }
  for (int d = 0; d < kWidth; ++d) {
    double expected = 0;
    for (int j = 0; j <= i; ++j) expected += weights[j] / sum * value[j][head][d];
    worst = fmax(worst, fabs(expected - output[i][head][d]));
  }
  return worst;
}

int main(void) {
  unsigned state = 1;
  float* const tensors[] = {&query[0][0][0], &key[0][0][0], &value[0][0][0]};
  for (int t = 0; t < 3; ++t) {
    for (int i = 0; i < kLength * kHeads * kWidth; ++i) {
      state = state * 1664525u + 1013904223u;
      tensors[t][i] = (float)(state >> 8) / (1 << 23) - 1;
    }
  }

  mha_context* context = NULL;
  if (mha_context_create(NULL, &context) != MHA_OK) goto failed;

  tiny_attention_args args = {0};
  args.call.size = sizeof args;
  args.call.query_length = kLength;
  args.query.data = query;
  args.key.data = key;
  args.value.data = value;
  args.output.data = output;
  if (tiny_attention_workspace_size(&args, mha_context_threads(context),
                                    &args.call.workspace_size) != MHA_OK) {
    goto failed;
  }
  args.call.workspace = aligned_alloc(MHA_WORKSPACE_ALIGNMENT, args.call.workspace_size);
  if (tiny_attention_run(context, &args) != MHA_OK) goto failed;

  int good = 1;
  for (int i = 0; i < kLength; ++i) {
    for (int head = 0; head < kHeads; ++head) {
      double error = row_error(i, head);
      printf("row %d head %d: error %.1e\n", i, head, error);
      good &= error < 1e-6;
    }
  }
  free(args.call.workspace);
  mha_context_destroy(context);
  return good ? 0 : 1;

failed:
  fprintf(stderr, "minimal: %s\n", mha_last_message());
  return 1;
}
