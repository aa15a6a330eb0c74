// Nanoseconds that a call spends to find the target which was chosen for this machine: beside a
// call of the smallest kernel, through the library and by that target alone. Exits 1 above the
// bound.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "dispatch.h"

namespace {

constexpr double kMostNanoseconds = 20;

// Of one call of `body`, the least of many rounds.
template <typename Body>
double nanoseconds(int calls, const Body& body) {
  using Clock = std::chrono::steady_clock;
  double least = 1e9;
  for (int round = 0; round < 200; ++round) {
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < calls; ++i) body();
    const std::chrono::duration<double, std::nano> time = Clock::now() - start;
    least = std::min(least, time.count() / calls);
  }
  return least;
}

void require(mha_status status) {
  if (status == MHA_OK) return;
  std::fprintf(stderr, "%s\n", mha_last_message());
  std::exit(2);
}

// The best target's kernel that runs here, which needs no choice.
const mha_kernel* target_alone() {
  mha_kernel_info chosen;
  require(mha_kernel_get_info(&dispatch_kernel, &chosen));
  mha_target_info target = {};
  for (uint32_t i = 0; i == 0 || i < target.count; ++i) {
    require(mha_kernel_target(&dispatch_kernel, i, &target));
    if (target.name == chosen.target) return target.kernel;
  }
  return nullptr;
}

}  // namespace

int main() {
  mha_context_options options = {};
  options.size = sizeof options;
  options.threads = 1;
  mha_context* context = nullptr;
  require(mha_context_create(&options, &context));
  std::vector<float> operands(4 * 4 * 8, 0.5f);
  dispatch_args args = {};
  args.call.size = sizeof args;
  args.query.data = operands.data();
  args.key.data = operands.data() + 32;
  args.value.data = operands.data() + 64;
  args.output.data = operands.data() + 96;
  require(dispatch_workspace_size(&args, 1, &args.call.workspace_size));
  args.call.workspace = std::aligned_alloc(MHA_WORKSPACE_ALIGNMENT, args.call.workspace_size);
  const mha_kernel* alone = target_alone();

  const double choice = nanoseconds(10000, [] { require(mha_kernel_check(&dispatch_kernel)); });
  const double library = nanoseconds(500, [&] { require(dispatch_run(context, &args)); });
  const double target = nanoseconds(500, [&] { require(mha_run(alone, context, &args)); });
  std::printf(
      "the choice by itself: %.1f ns (at most %.0f)\n"
      "a call of the smallest kernel: %.0f ns through the library, %.0f ns by its target\n",
      choice, kMostNanoseconds, library, target);
  std::free(args.call.workspace);
  mha_context_destroy(context);
  return choice <= kMostNanoseconds ? 0 : 1;
}
