#include "bench/kernels/runner.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>

namespace mha {

void require(mha_status status, const char* what) {
  if (status == MHA_OK) return;
  std::fprintf(stderr, "mha_bench: %s: %s\n", what, mha_last_message());
  std::exit(1);
}

Runner::Memory Runner::allocate(size_t bytes) {
  Memory memory(static_cast<char*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)));
  if (!memory) std::exit(1);
  return memory;
}

Runner::Memory Runner::random_numbers(size_t count, float amplitude, uint32_t dtype) {
  std::minstd_rand generator(7);
  Memory memory = allocate(count * (dtype == MHA_F32 ? sizeof(float) : sizeof(uint16_t)));
  if (dtype == MHA_F32) {
    std::uniform_real_distribution<float> uniform(-amplitude, amplitude);
    auto* values = reinterpret_cast<float*>(memory.get());
    for (size_t i = 0; i < count; i++) values[i] = uniform(generator);
    return memory;
  }
  // A sign, one of the four exponents below 1, any fraction.
  const uint32_t fraction = dtype == MHA_BF16 ? 7 : 10, highest = dtype == MHA_BF16 ? 126 : 14;
  auto* values = reinterpret_cast<uint16_t*>(memory.get());
  for (size_t i = 0; i < count; i++) {
    const auto bits = static_cast<uint32_t>(generator());
    values[i] = static_cast<uint16_t>((bits & 1) << 15 | (highest - (bits >> 1) % 4) << fraction |
                                      ((bits >> 8) & ((1u << fraction) - 1)));
  }
  return memory;
}

Runner::Runner(const BenchCase& c, mha_context* context) : kernel_(*c.kernel), context_(context) {
  args_.resize(kernel_.args_size);
  call()->size = kernel_.args_size;
  call()->query_length = c.length;
  if (!kernel_.self_length && c.cached == 0) call()->key_length = c.length;
  add_tensors(c.length);
  add_weights();
  if (c.cached > 0) add_cache(c.cached - c.length);
  mha_variant_info variant;
  require(mha_kernel_variant(&kernel_, c.length, &variant), "variant");
  variant_ = variant.index;
  size_t bytes = 0;
  require(mha_workspace_size(&kernel_, args_.data(), mha_context_threads(context), &bytes),
          "workspace size");
  memory_.push_back(random_numbers(bytes / sizeof(float) + 1, 1.0f));
  call()->workspace = memory_.back().get();
  call()->workspace_size = bytes;
}

Runner::~Runner() {
  mha_weights_destroy(weights_);
  mha_cache_destroy(cache_);
}

void Runner::add_tensors(int64_t length) {
  for (uint64_t i = 0; i < kernel_.tensor_count; i++) {
    const mha_tensor_info& info = kernel_.tensors[i];
    size_t count = 1;
    for (uint32_t axis = 0; axis < info.rank; axis++) {
      count *= static_cast<size_t>(info.axes[axis].scale *
                                   (info.axes[axis].symbol >= MHA_SYMBOL_QUERY ? length : 1));
    }
    memory_.push_back(random_numbers(count, 1.0f, info.dtype));
    reinterpret_cast<mha_tensor*>(args_.data() + info.offset)->data = memory_.back().get();
  }
}

void Runner::add_weights() {
  std::vector<mha_weight_array> arrays;
  std::vector<Memory> memory;
  for (uint64_t i = 0; i < kernel_.weight_count; i++) {
    const mha_weight_info& info = kernel_.weights[i];
    mha_weight_array array = {};
    array.name = info.name;
    array.dtype = MHA_F32;
    array.rank = static_cast<int32_t>(info.rank);
    size_t count = 1;
    for (uint32_t axis = 0; axis < info.rank; axis++) {
      array.shape[axis] = info.shape[axis];
      count *= static_cast<size_t>(info.shape[axis]);
    }
    memory.push_back(random_numbers(count, 0.05f));
    array.data = memory.back().get();
    arrays.push_back(array);
  }
  if (arrays.empty()) return;
  require(mha_weights_create(&kernel_, arrays.data(), arrays.size(), &weights_), "weights");
  call()->weights = weights_;
}

void Runner::add_cache(int64_t keys) {
  mha_cache_options options = {};
  options.size = sizeof options;
  options.sequences = 1;
  require(mha_cache_create(&kernel_, &options, &cache_), "cache");
  require(mha_sequence_create(cache_, &sequence_), "sequence");
  const mha_cache_info& info = *kernel_.cache;
  const int64_t width = info.kv_heads * std::max(info.d_head, info.d_value);
  const Memory rows = random_numbers(static_cast<size_t>(keys * width) + 1, 1.0f);
  require(mha_cache_append(cache_, 0, sequence_, keys, MHA_F32, rows.get(), rows.get()), "append");
  first_key_ = keys;
  call()->cache = cache_;
  call()->sequences = &sequence_;
}

double Runner::seconds(uint64_t stage) {
  const mha_kernel all = kernel_;
  mha_variant one = all.variants[variant_];
  if (stage != kWhole) {
    one.stages = &one.stages[stage];
    one.stage_count = 1;
    kernel_.variants = &one;
    kernel_.variant_count = 1;
  }
  if (cache_ != nullptr) require(mha_sequence_rewind(cache_, sequence_, first_key_), "rewind");
  const auto start = std::chrono::steady_clock::now();
  const mha_status status = mha_run(&kernel_, context_, args_.data());
  const auto end = std::chrono::steady_clock::now();
  kernel_ = all;
  require(status, "run");
  return std::chrono::duration<double>(end - start).count();
}

}  // namespace mha
