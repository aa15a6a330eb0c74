// A generated kernel in a shared object, with the runtime that was linked into it.
#ifndef MHA_TOOLS_MHA_RUN_KERNEL_LIBRARY_H_
#define MHA_TOOLS_MHA_RUN_KERNEL_LIBRARY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mha/kernel.h"
#include "mha/mha.h"
#include "tools/reference/tensors.h"

namespace mha {

// The runtime's functions as the shared object has them: kernel and runtime always fit each other,
// whatever runtime the tool itself was linked with.
struct RuntimeApi {
  decltype(&mha_status_name) status_name;
  decltype(&mha_last_message) last_message;
  decltype(&mha_context_create) context_create;
  decltype(&mha_context_destroy) context_destroy;
  decltype(&mha_context_threads) context_threads;
  decltype(&mha_weights_create) weights_create;
  decltype(&mha_weights_load) weights_load;
  decltype(&mha_weights_destroy) weights_destroy;
  decltype(&mha_workspace_size) workspace_size;
  decltype(&mha_run) run;
  decltype(&mha_append) append;
  decltype(&mha_decode_shared) decode_shared;
  decltype(&mha_cache_create) cache_create;
  decltype(&mha_cache_destroy) cache_destroy;
  decltype(&mha_cache_bytes) cache_bytes;
  decltype(&mha_cache_append) cache_append;
  decltype(&mha_cache_read) cache_read;
  decltype(&mha_sequence_create) sequence_create;
  decltype(&mha_sequence_fork) sequence_fork;
  decltype(&mha_sequence_rewind) sequence_rewind;
  decltype(&mha_sequence_length) sequence_length;
  decltype(&mha_sequence_destroy) sequence_destroy;
  decltype(&mha_kernel_check) kernel_check;
  decltype(&mha_kernel_get_info) kernel_get_info;
  decltype(&mha_kernel_target) kernel_target;
};

// Throws UserError, SystemError or InternalError, whichever the status stands for, with the
// runtime's message.
void check_status(const RuntimeApi& api, mha_status status);

class KernelLibrary {
 public:
  // Throws SystemError when the file cannot be loaded as a kernel of this name.
  KernelLibrary(const std::string& shared_object, const std::string& name);
  ~KernelLibrary();
  KernelLibrary(const KernelLibrary&) = delete;
  KernelLibrary& operator=(const KernelLibrary&) = delete;

  const mha_kernel& kernel() const { return *kernel_; }
  const RuntimeApi& api() const { return api_; }
  // Of the target that runs here, or that use() set.
  mha_kernel_info info() const;
  // All that the library holds code for, the best first.
  std::vector<mha_target_info> targets() const;
  // From now on kernel() is this one of targets().
  void use(const mha_target_info& target) { kernel_ = target.kernel; }

 private:
  void* handle_ = nullptr;
  const mha_kernel* kernel_ = nullptr;
  RuntimeApi api_ = {};
};

// Memory that starts at a multiple of 64.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t size);
  void* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(void* p) const;
  };
  size_t size_;
  std::unique_ptr<void, Free> data_;
};

// A context, and the weights and workspace for calls of one shape.
class Call {
 public:
  // threads 0: the CPUs that the process may use.
  Call(const KernelLibrary& library, const CallLengths& lengths, int threads);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  int threads() const;
  size_t workspace_bytes() const { return workspace_.size(); }
  // Dense data for the tensor of that name. Throws InternalError for a name that the kernel lacks.
  void bind(const std::string& tensor, void* data);
  // The same with a view of the caller's making.
  void bind(const std::string& tensor, const mha_tensor& view);
  void load_weights(const std::string& path, int layer);
  void create_weights(const std::vector<mha_weight_array>& arrays);

  // What run() calls: NAME_run, or another entry point of a kernel with a cache.
  enum Entry { kRun, kAppend, kDecodeShared };
  void set_entry(Entry entry) { entry_ = entry; }
  mha_status try_run();
  void run();

  // The NAME_args that run() passes, for tests that want to spoil them.
  mha_call& arguments();

 private:
  const KernelLibrary& library_;
  mha_context* context_ = nullptr;
  mha_weights* weights_ = nullptr;
  Entry entry_ = kRun;
  std::vector<uint64_t> arguments_;  // NAME_args, aligned for its pointers
  AlignedBytes workspace_{0};
};

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_KERNEL_LIBRARY_H_
