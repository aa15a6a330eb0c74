// Two generated libraries beside a pipeline with its own Halide runtime: all link, and each does
// its work while the others are there. Values are constant along the keys, so that attention must
// return them unchanged.
#include <HalideBuffer.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "brighten.h"
#include "first_attention.h"
#include "second_block.h"

namespace {

void require(bool good, const char* what) {
  if (!good) {
    std::fprintf(stderr, "two_runtimes: %s: %s\n", what, mha_last_message());
    std::exit(1);
  }
}

void* workspace(size_t bytes) {
  return aligned_alloc(MHA_WORKSPACE_ALIGNMENT, (bytes + 63) / 64 * 64 + 64);
}

}  // namespace

int main() {
  Halide::Runtime::Buffer<float> input(1000), output(1000);
  input.fill(2.0f);
  require(brighten(input, output) == 0 && output(999) == 3.0f, "the program's own pipeline");

  mha_context* context = nullptr;
  require(mha_context_create(nullptr, &context) == MHA_OK, "context");

  // [L, H, D] with V constant along L: output row = V row.
  std::vector<float> q(3 * 16), k(3 * 16), v(3 * 16), o(3 * 16);
  for (int i = 0; i < 48; ++i) {
    q[i] = std::sin(i);
    k[i] = std::cos(i);
    v[i] = static_cast<float>(i % 16);
  }
  first_attention_args first = {};
  first.call.size = sizeof first;
  first.query.data = q.data();
  first.key.data = k.data();
  first.value.data = v.data();
  first.output.data = o.data();
  require(first_attention_workspace_size(&first, mha_context_threads(context),
                                         &first.call.workspace_size) == MHA_OK,
          "workspace of first_attention");
  first.call.workspace = workspace(first.call.workspace_size);
  require(first_attention_run(context, &first) == MHA_OK, "first_attention");
  for (int i = 0; i < 48; ++i) require(std::fabs(o[i] - v[i]) < 1e-5f, "output of first_attention");

  // Identity weights, and all rows of x equal: the block returns x.
  std::vector<float> identity(16 * 16), x(3 * 16), y(3 * 16);
  for (int i = 0; i < 16; ++i) identity[i * 17] = 1.0f;
  for (int i = 0; i < 48; ++i) x[i] = static_cast<float>(i % 16) / 16;
  std::vector<mha_weight_array> arrays;
  for (const char* name : {"w_q", "w_k", "w_v", "w_o"}) {
    arrays.push_back({name, identity.data(), MHA_F32, 2, {16, 16}});
  }
  mha_weights* weights = nullptr;
  require(second_block_weights_create(arrays.data(), arrays.size(), &weights) == MHA_OK,
          "weights of second_block");
  second_block_args second = {};
  second.call.size = sizeof second;
  second.call.weights = weights;
  second.x.data = x.data();
  second.output.data = y.data();
  require(second_block_workspace_size(&second, mha_context_threads(context),
                                      &second.call.workspace_size) == MHA_OK,
          "workspace of second_block");
  second.call.workspace = workspace(second.call.workspace_size);
  require(second_block_run(context, &second) == MHA_OK, "second_block");
  for (int i = 0; i < 48; ++i) require(std::fabs(y[i] - x[i]) < 1e-5f, "output of second_block");

  require(brighten(output, input) == 0 && input(0) == 4.0f, "the program's own pipeline, again");
  std::free(first.call.workspace);
  std::free(second.call.workspace);
  mha_weights_destroy(weights);
  mha_context_destroy(context);
  std::puts("all three ran");
}
