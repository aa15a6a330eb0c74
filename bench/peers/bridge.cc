#include "bench/peers/bridge.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "bench/peak.h"
#include "mha/kernel.h"

namespace {

thread_local std::string message;

mha_status failed(const std::string& what) {
  message = what;
  return MHA_INVALID_ARGUMENT;
}

mha_status passed_on(mha_status status) {
  if (status != MHA_OK) message = std::string(mha_status_name(status)) + ": " + mha_last_message();
  return status;
}

struct Free {
  void operator()(void* pointer) const { std::free(pointer); }
};

struct Step {
  std::vector<char> args;
  mha_weights* weights = nullptr;
  mha_cache* cache = nullptr;
  int32_t sequence = 0;
  int64_t cached = 0;  // keys of the sequence when a call begins

  mha_call& call() { return *reinterpret_cast<mha_call*>(args.data()); }
};

}  // namespace

struct mha_peers_run {
  const mha_kernel* kernel = nullptr;
  mha_context* context = nullptr;
  std::vector<Step> steps;
  std::unique_ptr<void, Free> workspace;

  ~mha_peers_run() {
    for (Step& step : steps) {
      mha_weights_destroy(step.weights);
      mha_cache_destroy(step.cache);
    }
    mha_context_destroy(context);
  }
  bool has(int32_t step) const { return step >= 0 && static_cast<size_t>(step) < steps.size(); }
};

mha_status mha_peers_open(const mha_kernel* kernel, int32_t threads, int32_t steps,
                          mha_peers_run** run) {
  *run = nullptr;
  if (steps < 1) return failed("steps must be at least 1");
  if (mha_status status = passed_on(mha_kernel_check(kernel)); status != MHA_OK) return status;
  auto made = std::make_unique<mha_peers_run>();
  made->kernel = kernel;
  mha_context_options options = {};
  options.size = sizeof options;
  options.threads = threads;
  mha_status status = passed_on(mha_context_create(&options, &made->context));
  if (status != MHA_OK) return status;
  made->steps.resize(static_cast<size_t>(steps));
  for (Step& step : made->steps) {
    step.args.assign(kernel->args_size, 0);
    step.call().size = kernel->args_size;
  }
  size_t bytes = 0;
  status = passed_on(mha_workspace_size(kernel, made->steps[0].args.data(),
                                        mha_context_threads(made->context), &bytes));
  if (status != MHA_OK) return status;
  // A page more than needed, touched: a call pays for no page of the system's.
  bytes = (bytes + 8191) / 4096 * 4096;
  made->workspace.reset(std::aligned_alloc(4096, bytes));
  if (!made->workspace) return failed("no memory for the workspace");
  std::memset(made->workspace.get(), 0, bytes);
  for (Step& step : made->steps) {
    step.call().workspace = made->workspace.get();
    step.call().workspace_size = bytes;
  }
  *run = made.release();
  return MHA_OK;
}

mha_status mha_peers_tensor(mha_peers_run* run, int32_t step, const char* name, void* data) {
  if (!run->has(step)) return failed("there is no step " + std::to_string(step));
  for (uint64_t i = 0; i < run->kernel->tensor_count; i++) {
    const mha_tensor_info& info = run->kernel->tensors[i];
    if (std::strcmp(info.name, name) != 0) continue;
    char* args = run->steps[static_cast<size_t>(step)].args.data();
    reinterpret_cast<mha_tensor*>(args + info.offset)->data = data;
    return MHA_OK;
  }
  return failed(std::string("the kernel has no tensor ") + name);
}

mha_status mha_peers_weights(mha_peers_run* run, int32_t step, int32_t count,
                             const char* const* names, const float* const* data,
                             const int64_t* rows, const int64_t* columns) {
  if (!run->has(step)) return failed("there is no step " + std::to_string(step));
  std::vector<mha_weight_array> arrays(static_cast<size_t>(count));
  for (size_t i = 0; i < arrays.size(); i++) {
    arrays[i].name = names[i];
    arrays[i].data = data[i];
    arrays[i].dtype = MHA_F32;
    arrays[i].rank = 2;
    arrays[i].shape[0] = rows[i];
    arrays[i].shape[1] = columns[i];
  }
  Step& target = run->steps[static_cast<size_t>(step)];
  mha_weights* packed = nullptr;
  const mha_status status =
      passed_on(mha_weights_create(run->kernel, arrays.data(), arrays.size(), &packed));
  if (status != MHA_OK) return status;
  mha_weights_destroy(target.weights);
  target.weights = packed;
  target.call().weights = packed;
  return MHA_OK;
}

mha_status mha_peers_cache(mha_peers_run* run, int32_t step, int64_t count, const float* keys,
                           const float* values) {
  if (!run->has(step)) return failed("there is no step " + std::to_string(step));
  if (run->kernel->cache == nullptr) return failed("the kernel has no cache");
  Step& target = run->steps[static_cast<size_t>(step)];
  if (target.cache != nullptr) return failed("the step has a cache already");
  mha_cache_options options = {};
  options.size = sizeof options;
  options.sequences = 1;
  mha_status status = passed_on(mha_cache_create(run->kernel, &options, &target.cache));
  if (status == MHA_OK) status = passed_on(mha_sequence_create(target.cache, &target.sequence));
  if (status == MHA_OK && count > 0)
    status =
        passed_on(mha_cache_append(target.cache, 0, target.sequence, count, MHA_F32, keys, values));
  target.cached = count;
  target.call().cache = target.cache;
  target.call().sequences = &target.sequence;
  return status;
}

mha_status mha_peers_call(mha_peers_run* run) {
  for (const Step& step : run->steps) {
    mha_status status = MHA_OK;
    if (step.cache != nullptr) status = mha_sequence_rewind(step.cache, step.sequence, step.cached);
    if (status == MHA_OK) status = mha_run(run->kernel, run->context, step.args.data());
    if (status != MHA_OK) return passed_on(status);
  }
  return MHA_OK;
}

void mha_peers_close(mha_peers_run* run) { delete run; }

const char* mha_peers_message(void) { return message.c_str(); }

double mha_peers_limit(const char* limit, int32_t threads) {
  const std::string name = limit;
  if (name == "f32") return mha::PeakMeter(threads, mha::best_peak_isa()).sample_flops();
  if (name == "bf16") return mha::PeakMeter(threads, mha::best_bf16_peak_isa()).sample_flops();
  if (name != "read") return 0;
  // Kept: each holds what it reads.
  static std::map<int32_t, mha::PeakMeter> meters;
  return meters.try_emplace(threads, threads, mha::best_peak_isa()).first->second.sample_read();
}
