#include "tools/mha-run/kernel_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "generator/spec/error.h"

namespace mha {

void check_status(const RuntimeApi& api, mha_status status) {
  if (status == MHA_OK) return;
  std::string message = api.last_message();
  if (message.empty()) message = api.status_name(status);
  switch (status) {
    case MHA_INVALID_ARGUMENT:
    case MHA_OUT_OF_RANGE:
    case MHA_UNSUPPORTED_CPU:
    case MHA_BAD_FILE:
    case MHA_CACHE_FULL:
      throw UserError(message);
    case MHA_OUT_OF_MEMORY:
    case MHA_IO_ERROR:
      throw SystemError(message);
    default:
      throw InternalError(std::string(api.status_name(status)) + ": " + message);
  }
}

KernelLibrary::KernelLibrary(const std::string& shared_object, const std::string& name) {
  handle_ = dlopen(shared_object.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) {
    throw SystemError(
        std::string("cannot load the kernel (delete its folder to have it made again): ") +
        dlerror());
  }
  auto find = [&](auto& function, const char* symbol) {
    void* address = dlsym(handle_, symbol);
    if (address == nullptr) {
      std::string message = "'" + shared_object + "' lacks the symbol " + symbol;
      dlclose(handle_);
      throw SystemError(message);
    }
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(address);
  };
  find(kernel_, (name + "_kernel").c_str());
  find(api_.status_name, "mha_status_name");
  find(api_.last_message, "mha_last_message");
  find(api_.context_create, "mha_context_create");
  find(api_.context_destroy, "mha_context_destroy");
  find(api_.context_threads, "mha_context_threads");
  find(api_.weights_create, "mha_weights_create");
  find(api_.weights_load, "mha_weights_load");
  find(api_.weights_destroy, "mha_weights_destroy");
  find(api_.workspace_size, "mha_workspace_size");
  find(api_.run, "mha_run");
  find(api_.append, "mha_append");
  find(api_.decode_shared, "mha_decode_shared");
  find(api_.cache_create, "mha_cache_create");
  find(api_.cache_destroy, "mha_cache_destroy");
  find(api_.cache_bytes, "mha_cache_bytes");
  find(api_.cache_append, "mha_cache_append");
  find(api_.cache_read, "mha_cache_read");
  find(api_.sequence_create, "mha_sequence_create");
  find(api_.sequence_fork, "mha_sequence_fork");
  find(api_.sequence_rewind, "mha_sequence_rewind");
  find(api_.sequence_length, "mha_sequence_length");
  find(api_.sequence_destroy, "mha_sequence_destroy");
  find(api_.kernel_check, "mha_kernel_check");
  find(api_.kernel_get_info, "mha_kernel_get_info");
  find(api_.kernel_target, "mha_kernel_target");
}

KernelLibrary::~KernelLibrary() { dlclose(handle_); }

mha_kernel_info KernelLibrary::info() const {
  mha_kernel_info info;
  check_status(api_, api_.kernel_get_info(kernel_, &info));
  return info;
}

std::vector<mha_target_info> KernelLibrary::targets() const {
  std::vector<mha_target_info> targets;
  mha_target_info info = {};
  do {
    check_status(api_, api_.kernel_target(kernel_, static_cast<uint32_t>(targets.size()), &info));
    targets.push_back(info);
  } while (targets.size() < info.count);
  return targets;
}

AlignedBytes::AlignedBytes(size_t size) : size_(size) {
  constexpr size_t kAlignment = MHA_WORKSPACE_ALIGNMENT;
  if (size > SIZE_MAX - kAlignment) throw std::bad_alloc();
  size_t rounded = (size + kAlignment - 1) / kAlignment * kAlignment;
  data_.reset(std::aligned_alloc(kAlignment, rounded == 0 ? kAlignment : rounded));
  if (data_ == nullptr) throw std::bad_alloc();
}

void AlignedBytes::Free::operator()(void* p) const { std::free(p); }

Call::Call(const KernelLibrary& library, const CallLengths& lengths, int threads)
    : library_(library), arguments_((library.kernel().args_size + 7) / 8) {
  const RuntimeApi& api = library_.api();
  check_status(api, api.kernel_check(&library_.kernel()));
  mha_call& call = arguments();
  call.size = library_.kernel().args_size;
  call.batch = lengths.batch;
  call.query_length = lengths.query;
  // With a cache the lengths are of new keys, the call's Lk of all; of a past with room behind its
  // rows it may be more than a sequence holds.
  const mha_cache_info* cache = library_.kernel().cache;
  call.key_length =
      cache == nullptr ? lengths.key : std::min<int64_t>(lengths.all_keys(), cache->capacity);
  if (library_.kernel().new_keys_kind != MHA_NEW_KEYS_OF_QUERIES)
    call.new_keys = static_cast<int32_t>(lengths.key);

  mha_context_options options = {};
  options.size = sizeof options;
  options.threads = threads;
  check_status(api, api.context_create(&options, &context_));
  size_t bytes = 0;
  mha_status status = api.workspace_size(&library_.kernel(), arguments_.data(),
                                         api.context_threads(context_), &bytes);
  if (status != MHA_OK) {
    api.context_destroy(context_);
    check_status(api, status);
  }
  workspace_ = AlignedBytes(bytes);
  call.workspace = workspace_.data();
  call.workspace_size = bytes;
}

Call::~Call() {
  library_.api().weights_destroy(weights_);
  library_.api().context_destroy(context_);
}

int Call::threads() const { return library_.api().context_threads(context_); }

void Call::bind(const std::string& tensor, void* data) {
  mha_tensor view = {};
  view.data = data;
  bind(tensor, view);
}

void Call::bind(const std::string& tensor, const mha_tensor& view) {
  const mha_kernel& kernel = library_.kernel();
  for (uint64_t i = 0; i < kernel.tensor_count; ++i) {
    if (tensor != kernel.tensors[i].name) continue;
    std::memcpy(reinterpret_cast<char*>(arguments_.data()) + kernel.tensors[i].offset, &view,
                sizeof view);
    return;
  }
  throw InternalError("the kernel has no tensor '" + tensor + "'");
}

void Call::load_weights(const std::string& path, int layer) {
  const RuntimeApi& api = library_.api();
  check_status(api, api.weights_load(&library_.kernel(), path.c_str(), layer, &weights_));
  arguments().weights = weights_;
}

void Call::create_weights(const std::vector<mha_weight_array>& arrays) {
  const RuntimeApi& api = library_.api();
  check_status(api,
               api.weights_create(&library_.kernel(), arrays.data(), arrays.size(), &weights_));
  arguments().weights = weights_;
}

mha_status Call::try_run() {
  const RuntimeApi& api = library_.api();
  const auto run = entry_ == kAppend         ? api.append
                   : entry_ == kDecodeShared ? api.decode_shared
                                             : api.run;
  return run(&library_.kernel(), context_, arguments_.data());
}

void Call::run() { check_status(library_.api(), try_run()); }

mha_call& Call::arguments() { return *reinterpret_cast<mha_call*>(arguments_.data()); }

}  // namespace mha
