#include "examples/decoder/attention.h"

#include <algorithm>
#include <array>
#include <new>
#include <nlohmann/json.hpp>

#include "examples/common/status.h"

namespace mha::decoder {

using examples::check;

namespace {

// A number, or the ends of {min, max}.
int64_t most_of(const nlohmann::json& value) {
  return value.is_object() ? value.at("max").get<int64_t>() : value.get<int64_t>();
}

void run_tasks(void* user, int32_t count, void (*body)(void* body_context, int32_t i),
               void* body_context) {
  static_cast<Threads*>(user)->run(count, [&](int32_t i) { body(body_context, i); });
}

}  // namespace

Shape shape_of(const Kernel& kernel) {
  mha_kernel_info info;
  check(mha_kernel_get_info(kernel.table, &info));
  const nlohmann::json spec = nlohmann::json::parse(info.spec);
  Shape shape;
  shape.width = spec.at("d_model");
  shape.heads = spec.at("heads");
  shape.kv_heads = spec.at("kv_heads");
  shape.head_width = spec.at("d_head");
  shape.value_width = spec.at("d_value");
  shape.most_batch = most_of(spec.at("batch"));
  shape.most_tokens = most_of(spec.at("query_length"));
  shape.capacity = spec.at("kv_cache").at("capacity");
  return shape;
}

Attention::Attention(const Kernel& kernel, const Weights& weights, int64_t layers,
                     int32_t sequences, Threads& threads)
    : kernel_(kernel), shape_(shape_of(kernel)), threads_(threads) {
  mha_context_options options = {};
  options.size = sizeof options;
  options.threads = threads.count();
  options.parallel_for = run_tasks;
  options.parallel_for_user = &threads;
  mha_context* context = nullptr;
  check(mha_context_create(&options, &context));
  context_.reset(context);

  struct Array {
    const char* name;
    const char* file;
    std::vector<int64_t> shape;
  };
  const int64_t m = shape_.width, q = shape_.heads * shape_.head_width,
                k = shape_.kv_heads * shape_.head_width, v = shape_.kv_heads * shape_.value_width;
  const std::array<Array, 4> arrays = {
      Array{"w_q", "q_proj", {q, m}}, Array{"w_k", "k_proj", {k, m}},
      Array{"w_v", "v_proj", {v, m}},
      Array{"w_o", "o_proj", {m, shape_.heads * shape_.value_width}}};
  for (int64_t layer = 0; layer < layers; ++layer) {
    std::array<std::vector<float>, 4> data;
    std::array<mha_weight_array, 4> given = {};
    for (size_t i = 0; i < arrays.size(); ++i) {
      data[i] = weights.get(
          "model.layers." + std::to_string(layer) + ".self_attn." + arrays[i].file + ".weight",
          arrays[i].shape);
      given[i].name = arrays[i].name;
      given[i].data = data[i].data();
      given[i].dtype = MHA_F32;
      given[i].rank = 2;
      std::copy(arrays[i].shape.begin(), arrays[i].shape.end(), given[i].shape);
    }
    mha_weights* packed = nullptr;
    check(mha_weights_create(kernel_.table, given.data(), given.size(), &packed));
    weights_.emplace_back(packed);
  }

  mha_cache_options cache_options = {};
  cache_options.size = sizeof cache_options;
  cache_options.sequences = sequences;
  cache_options.layers = static_cast<int32_t>(layers);
  mha_cache* cache = nullptr;
  check(mha_cache_create(kernel_.table, &cache_options, &cache));
  cache_.reset(cache);

  mha_call largest = {};
  check(kernel_.workspace_size(largest, threads_.count(), &workspace_size_));
  constexpr size_t kAlignment = MHA_WORKSPACE_ALIGNMENT;
  workspace_size_ =
      std::max(kAlignment, (workspace_size_ + kAlignment - 1) / kAlignment * kAlignment);
  workspace_.reset(std::aligned_alloc(kAlignment, workspace_size_));
  if (!workspace_) throw std::bad_alloc();
}

void Attention::run(int64_t layer, std::span<const int32_t> sequences, int64_t length,
                    const float* x, float* y) {
  mha_call call = {};
  call.batch = static_cast<int64_t>(sequences.size());
  call.query_length = length;
  call.weights = weights_.at(static_cast<size_t>(layer)).get();
  call.workspace = workspace_.get();
  call.workspace_size = workspace_size_;
  call.cache = cache_.get();
  call.sequences = sequences.data();
  call.layer = static_cast<int32_t>(layer);
  check(kernel_.run(context_.get(), call, x, y));
}

int32_t Attention::create_sequence() {
  int32_t sequence = -1;
  check(mha_sequence_create(cache_.get(), &sequence));
  return sequence;
}

int32_t Attention::fork(int32_t sequence) {
  int32_t fork = -1;
  check(mha_sequence_fork(cache_.get(), sequence, &fork));
  return fork;
}

void Attention::rewind(int32_t sequence, int64_t length) {
  check(mha_sequence_rewind(cache_.get(), sequence, length));
}

void Attention::destroy(int32_t sequence) { check(mha_sequence_destroy(cache_.get(), sequence)); }

mha_kernel_info Attention::info() const {
  mha_kernel_info info;
  check(mha_kernel_get_info(kernel_.table, &info));
  return info;
}

}  // namespace mha::decoder
