/* Runs the example of docs/runtime.md and compares it with a plain computation in double. */
#include <math.h>
#include <stdio.h>

int run_example(float* query, float* key, float* value, float* output);

enum { kLength = 20, kHeads = 2, kWidth = 16 };
static float query[kLength][kHeads][kWidth], key[kLength][kHeads][kWidth];
static float value[kLength][kHeads][kWidth], output[kLength][kHeads][kWidth];

int main(void) {
  unsigned state = 7;
  float* const tensors[] = {&query[0][0][0], &key[0][0][0], &value[0][0][0]};
  for (int t = 0; t < 3; ++t) {
    for (int i = 0; i < kLength * kHeads * kWidth; ++i) {
      state = state * 1664525u + 1013904223u;
      tensors[t][i] = (float)(state >> 8) / (1 << 23) - 1;
    }
  }
  if (run_example(&query[0][0][0], &key[0][0][0], &value[0][0][0], &output[0][0][0]) != 0) return 1;
  double worst = 0;
  for (int h = 0; h < kHeads; ++h) {
    for (int i = 0; i < kLength; ++i) {
      double weights[kLength], sum = 0;
      for (int j = 0; j < kLength; ++j) {
        double score = 0;
        for (int d = 0; d < kWidth; ++d) score += (double)query[i][h][d] * key[j][h][d];
        sum += weights[j] = exp(score / 4);
      }
      for (int d = 0; d < kWidth; ++d) {
        double expected = 0;
        for (int j = 0; j < kLength; ++j) expected += weights[j] / sum * value[j][h][d];
        worst = fmax(worst, fabs(expected - output[i][h][d]));
      }
    }
  }
  printf("largest difference %.3g\n", worst);
  /* Values are below 1 and scores below 4, so that a few roundings of 2^-24 are all there may be.
   */
  return worst < 2e-6 ? 0 : 1;
}
