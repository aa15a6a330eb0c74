#include "examples/minilm/generated_attention.h"

#include <cstdlib>
#include <new>

#include "examples/common/status.h"
#include "minilm_l6.h"
#include "minilm_l6_probe.h"

namespace mha::minilm {

using examples::check;

GeneratedAttention::GeneratedAttention(const std::string& weights_file, int threads)
    : weights_file_(weights_file), weights_(kLayers), probe_weights_(kLayers) {
  mha_context_options options = {};
  options.size = sizeof options;
  options.threads = threads;
  mha_context* context = nullptr;
  check(mha_context_create(&options, &context));
  context_.reset(context);
  for (int layer = 0; layer < kLayers; ++layer) {
    weights_[static_cast<size_t>(layer)] = load(minilm_l6_kernel, layer);
  }
}

GeneratedAttention::Owned<mha_weights> GeneratedAttention::load(const mha_kernel& kernel,
                                                                int layer) const {
  mha_weights* weights = nullptr;
  check(mha_weights_load(&kernel, weights_file_.c_str(), layer, &weights));
  return Owned<mha_weights>(weights);
}

void* GeneratedAttention::workspace(size_t bytes) {
  if (bytes > workspace_size_) {
    constexpr size_t kAlignment = MHA_WORKSPACE_ALIGNMENT;
    const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void* memory = std::aligned_alloc(kAlignment, rounded);
    if (memory == nullptr) throw std::bad_alloc();
    workspace_.reset(memory);
    workspace_size_ = rounded;
  }
  return workspace_.get();
}

void GeneratedAttention::run(int layer, int64_t length, const float* x, float* output,
                             float* weights) {
  const auto index = static_cast<size_t>(layer);
  // The two kernels' argument structs differ in their outputs only; so do the two branches.
  auto prepare = [&](auto* args, const mha_kernel& kernel, const mha_weights* packed) {
    args->call.size = sizeof *args;
    args->call.query_length = length;
    args->call.weights = packed;
    size_t bytes = 0;
    check(mha_workspace_size(&kernel, args, threads(), &bytes));
    args->call.workspace = workspace(bytes);
    args->call.workspace_size = workspace_size_;
    args->x.data = const_cast<float*>(x);
    args->output.data = output;
  };
  if (weights == nullptr) {
    minilm_l6_args args = {};
    prepare(&args, minilm_l6_kernel, weights_[index].get());
    check(minilm_l6_run(context_.get(), &args));
  } else {
    if (!probe_weights_[index]) probe_weights_[index] = load(minilm_l6_probe_kernel, layer);
    minilm_l6_probe_args args = {};
    prepare(&args, minilm_l6_probe_kernel, probe_weights_[index].get());
    args.weights.data = weights;
    check(minilm_l6_probe_run(context_.get(), &args));
  }
}

int GeneratedAttention::threads() const { return mha_context_threads(context_.get()); }

mha_kernel_info GeneratedAttention::info() const {
  mha_kernel_info info;
  check(mha_kernel_get_info(&minilm_l6_kernel, &info));
  return info;
}

double GeneratedAttention::flops(int64_t length) {
  const double l = static_cast<double>(length), m = static_cast<double>(kWidth);
  return 2 * (4 * l * m * m + 2 * l * l * m);
}

}  // namespace mha::minilm
