#include "schedules/tuner/probe/subject.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <new>

namespace {

// Where libmha's packed weights go while a Subject is made: programs are linked with
// --wrap=posix_memalign, so that they too can lie between guards.
using mha::probe::GuardedBlock;
bool guard_allocations = false;
GuardedBlock::Flush guard_flush = GuardedBlock::Flush::kEnd;
std::unique_ptr<GuardedBlock> guarded_allocation;

}  // namespace

extern "C" int __real_posix_memalign(void** result, size_t alignment, size_t bytes);
extern "C" int __wrap_posix_memalign(void** result, size_t alignment, size_t bytes) {
  if (!guard_allocations) return __real_posix_memalign(result, alignment, bytes);
  try {
    guarded_allocation =
        std::make_unique<GuardedBlock>("the packed weights", bytes, alignment, guard_flush);
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
  *result = guarded_allocation->data();
  return 0;
}

namespace mha::probe {
namespace {

// A float that is no number and an index that no list holds.
constexpr uint32_t kUnwritten = 0x7FC0DEAD;

void fill_unwritten(GuardedBlock& block) {
  unsigned char* at = block.data();
  size_t left = block.bytes();
  for (; left >= sizeof kUnwritten; left -= sizeof kUnwritten, at += sizeof kUnwritten) {
    memcpy(at, &kUnwritten, sizeof kUnwritten);
  }
  memcpy(at, &kUnwritten, left);
}

const mha_tensor_info* find_tensor(const mha_kernel& kernel, const std::string& name) {
  for (uint64_t i = 0; i < kernel.tensor_count; ++i) {
    if (name == kernel.tensors[i].name) return &kernel.tensors[i];
  }
  throw Failure("build", "the kernel has no tensor '" + name + "'");
}

// Inputs that the cache is filled from.
bool is_cached(const std::string& name) {
  return name == "past_key" || name == "past_value" || name == "cache_lengths";
}

const Input& find_input(const Problem& problem, const std::string& name) {
  for (const Input& input : problem.inputs) {
    if (input.name == name) return input;
  }
  throw Failure("build", "the problem has no input '" + name + "'");
}

}  // namespace

Subject::Subject(const mha_kernel& kernel, const Problem& problem, Placement placement,
                 const Subject* other)
    : kernel_(kernel),
      all_(kernel.variants[0]),
      variant_(all_),
      placement_(placement),
      arguments_((kernel.args_size + 7) / 8) {
  require(mha_kernel_check(&kernel_), "the kernel");
  if (kernel_.variant_count != 1) throw Failure("build", "a candidate has one variant");
  kernel_.variants = &variant_;
  if (other != nullptr) {
    context_ = other->context_;
  } else {
    mha_context_options options = {};
    options.size = sizeof options;
    options.threads = problem.threads;
    mha_context* context = nullptr;
    require(mha_context_create(&options, &context), "a context");
    context_.reset(context, mha_context_destroy);
  }
  auto* call = reinterpret_cast<mha_call*>(arguments_.data());
  call->size = kernel_.args_size;
  call->batch = problem.batch;
  call->query_length = problem.query_length;
  call->key_length = problem.key_length;
  call->new_keys = static_cast<int32_t>(problem.new_keys);
  if (kernel_.cache != nullptr) make_cache(problem);
  for (const Input& input : problem.inputs) {
    if (is_cached(input.name)) continue;
    const size_t alignment = find_tensor(kernel_, input.name)->dtype == MHA_BOOL ? 1 : 4;
    inputs_.push_back(place(input.name, input.bytes.size(), alignment));
    memcpy(inputs_.back()->data(), input.bytes.data(), input.bytes.size());
    if (placement_ != Placement::kTimed) inputs_.back()->make_read_only();
    bind(input.name, inputs_.back()->data(), &input);
  }
  for (const Output& output : problem.outputs) {
    outputs_.push_back(place(output.name, output.bytes, 4));
    fill_unwritten(*outputs_.back());
    bind(output.name, outputs_.back()->data(), nullptr);
  }
  if (!problem.weights.empty()) {
    std::vector<mha_weight_array> arrays;
    for (const Weight& weight : problem.weights) {
      mha_weight_array array = {};
      array.name = weight.name.c_str();
      array.data = weight.bytes.data();
      array.dtype = MHA_F32;
      array.rank = weight.columns == 0 ? 1 : 2;
      array.shape[0] = weight.rows;
      array.shape[1] = weight.columns;
      arrays.push_back(array);
    }
    guard_allocations = placement_ != Placement::kTimed;
    guard_flush = placement_ == Placement::kFlushStart ? GuardedBlock::Flush::kStart
                                                       : GuardedBlock::Flush::kEnd;
    const mha_status status = mha_weights_create(&kernel_, arrays.data(), arrays.size(), &weights_);
    guard_allocations = false;
    packed_ = std::move(guarded_allocation);
    require(status, "the weights");
    if (packed_) packed_->make_read_only();
    call->weights = weights_;
  }
  size_t bytes = 0;
  require(
      mha_workspace_size(&kernel_, arguments_.data(), mha_context_threads(context_.get()), &bytes),
      "the workspace");
  workspace_ = place("the workspace", bytes, MHA_WORKSPACE_ALIGNMENT);
  fill_unwritten(*workspace_);
  call->workspace = workspace_->data();
  call->workspace_size = bytes;
}

Subject::~Subject() {
  // Guarded weights are not the runtime's to free; their few bytes of header stay.
  if (!packed_) mha_weights_destroy(weights_);
  mha_cache_destroy(cache_);
}

void Subject::make_cache(const Problem& problem) {
  const Input& lengths = find_input(problem, "cache_lengths");
  cached_.resize(lengths.bytes.size() / sizeof(int32_t));
  memcpy(cached_.data(), lengths.bytes.data(), cached_.size() * sizeof(int32_t));
  mha_cache_options options = {};
  options.size = sizeof options;
  options.sequences = static_cast<int32_t>(cached_.size());
  const mha_cache_info& info = *kernel_.cache;
  options.pages = options.sequences * ((problem.key_length + info.page - 1) / info.page);
  require(mha_cache_create(&kernel_, &options, &cache_), "the cache");
  const unsigned char* keys = find_input(problem, "past_key").bytes.data();
  const unsigned char* values = find_input(problem, "past_value").bytes.data();
  for (int32_t cached : cached_) {
    int32_t sequence = 0;
    require(mha_sequence_create(cache_, &sequence), "a sequence");
    require(mha_cache_append(cache_, 0, sequence, cached, MHA_F32, keys, values), "the past");
    const int64_t rows = cached * info.kv_heads * int64_t{sizeof(float)};
    keys += rows * info.d_head;
    values += rows * info.d_value;
    sequences_.push_back(sequence);
  }
  auto* call = reinterpret_cast<mha_call*>(arguments_.data());
  call->cache = cache_;
  call->sequences = sequences_.data();
}

void Subject::run(size_t stage) {
  // In place, because weights belong to a kernel by its address.
  if (stage != kWhole) {
    variant_.stages = &all_.stages[stage];
    variant_.stage_count = 1;
  }
  for (size_t b = 0; b < sequences_.size(); ++b)
    require(mha_sequence_rewind(cache_, sequences_[b], cached_[b]), "a cache");
  const mha_status status = mha_run(&kernel_, context_.get(), arguments_.data());
  variant_ = all_;
  if (status != MHA_OK) require(status, "a call");
}

size_t Subject::bytes() const {
  size_t bytes = workspace_->bytes() + mha_cache_bytes(cache_);
  for (const auto* blocks : {&inputs_, &outputs_}) {
    for (const auto& block : *blocks) bytes += block->bytes();
  }
  return bytes;
}

void Subject::check_surroundings() const {
  for (const auto* blocks : {&inputs_, &outputs_}) {
    for (const auto& block : *blocks) {
      const std::string damage = block->damage();
      if (!damage.empty()) throw Failure("out_of_bounds", damage);
    }
  }
  for (const GuardedBlock* block : {workspace_.get(), packed_.get()}) {
    const std::string damage = block == nullptr ? "" : block->damage();
    if (!damage.empty()) throw Failure("out_of_bounds", damage);
  }
}

void Subject::require(mha_status status, const char* what) const {
  if (status == MHA_OK) return;
  const bool memory = status == MHA_OUT_OF_MEMORY || memory_used_up();
  throw Failure(
      memory ? "memory" : "crash",
      std::string(what) + " fails with " + mha_status_name(status) + ": " + mha_last_message());
}

std::unique_ptr<GuardedBlock> Subject::place(const std::string& name, size_t bytes,
                                             size_t alignment) {
  const bool timed = placement_ == Placement::kTimed;
  return std::make_unique<GuardedBlock>(
      name, bytes, timed ? size_t{MHA_WORKSPACE_ALIGNMENT} : alignment,
      placement_ == Placement::kFlushStart ? GuardedBlock::Flush::kStart
                                           : GuardedBlock::Flush::kEnd);
}

void Subject::bind(const std::string& name, unsigned char* data, const Input* input) {
  mha_tensor view = {};
  view.data = data;
  if (input != nullptr) {
    view.flags = input->flags;
    for (size_t i = 0; i < input->strides.size() && i < MHA_MAX_RANK - 1; ++i) {
      view.strides[i] = input->strides[i];
    }
  }
  memcpy(reinterpret_cast<unsigned char*>(arguments_.data()) + find_tensor(kernel_, name)->offset,
         &view, sizeof view);
}

}  // namespace mha::probe
