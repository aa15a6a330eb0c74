/* Runs the second example of docs/runtime.md and compares it with a plain computation in double. */
#include <math.h>
#include <stdio.h>

int run_cached_example(float* query, float* key, float* value, float* output);

enum { kLength = 40, kHeads = 4, kKvHeads = 2, kWidth = 16 };
static float query[kLength][kHeads][kWidth], output[kLength][kHeads][kWidth];
static float key[kLength][kKvHeads][kWidth], value[kLength][kKvHeads][kWidth];

static void fill(float* numbers, int count, unsigned state) {
  for (int i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    numbers[i] = (float)(state >> 8) / (1 << 23) - 1;
  }
}

int main(void) {
  fill(&query[0][0][0], kLength * kHeads * kWidth, 7);
  fill(&key[0][0][0], kLength * kKvHeads * kWidth, 8);
  fill(&value[0][0][0], kLength * kKvHeads * kWidth, 9);
  if (run_cached_example(&query[0][0][0], &key[0][0][0], &value[0][0][0], &output[0][0][0]) != 0)
    return 1;
  double worst = 0;
  for (int h = 0; h < kHeads; ++h) {
    const int g = h / (kHeads / kKvHeads);
    for (int i = 0; i < kLength; ++i) {
      double weights[kLength], sum = 0;
      for (int j = 0; j <= i; ++j) {
        double score = 0;
        for (int d = 0; d < kWidth; ++d) score += (double)query[i][h][d] * key[j][g][d];
        sum += weights[j] = exp(score / 4);
      }
      for (int d = 0; d < kWidth; ++d) {
        double expected = 0;
        for (int j = 0; j <= i; ++j) expected += weights[j] / sum * value[j][g][d];
        worst = fmax(worst, fabs(expected - output[i][h][d]));
      }
    }
  }
  printf("largest difference %.3g\n", worst);
  /* Values are below 1 and scores below 4, so that a few roundings of 2^-24 are all there may be.
   */
  return worst < 2e-6 ? 0 : 1;
}
