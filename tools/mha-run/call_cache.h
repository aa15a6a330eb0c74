// The cache of a call: filled from past_key and past_value, read back as present_key and
// present_value.
#ifndef MHA_TOOLS_MHA_RUN_CALL_CACHE_H_
#define MHA_TOOLS_MHA_RUN_CALL_CACHE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "generator/spec/spec.h"
#include "tools/mha-run/host_tensor.h"
#include "tools/mha-run/kernel_library.h"
#include "tools/reference/tensors.h"

namespace mha {

// KV heads that a kernel of this spec has: those that some head reads which is not pruned.
std::vector<int64_t> kept_kv_heads(const Spec& spec);

// Rows [first, end) of sequence b out of past_key or past_value (`name`): [rows, G, width], of the
// KV heads that the kernel has.
std::vector<float> past_rows(const Spec& spec, const HostTensors& inputs, const std::string& name,
                             int64_t b, int64_t first, int64_t end);

class CallCache {
 public:
  // Whether that tensor stands for what the cache holds, rather than being a tensor of the kernel.
  static bool holds(const std::string& tensor);

  // Makes a cache with one sequence for each of the call's, as past_key, past_value, cache_lengths
  // and block_table say, and names it in the call's arguments. Sequences whose block tables begin
  // with the same pages share them. The library and the call outlive it.
  CallCache(const KernelLibrary& library, Call& call, const Spec& spec, const CallLengths& lengths,
            const HostTensors& inputs);
  ~CallCache();
  CallCache(const CallCache&) = delete;
  CallCache& operator=(const CallCache&) = delete;

  // Takes every sequence back to what it was before the call.
  void rewind();
  // Fills present_key or present_value: of each sequence what it has now, then zeros. Those of KV
  // heads that the kernel has pruned are zero too.
  void read(HostTensor* present) const;
  // What the cache takes of memory.
  size_t bytes() const;

 private:
  void fill(const CallLengths& lengths, const HostTensors& inputs);
  int32_t begin_sequence(int64_t b, const HostTensors& inputs, int64_t* shared);
  void append(int64_t b, int64_t first, const HostTensors& inputs);

  const KernelLibrary& library_;
  const Spec& spec_;
  std::vector<int64_t> heads_;  // KV heads that the kernel has, by their numbers in the tensors
  mha_cache* cache_ = nullptr;
  std::vector<int32_t> sequences_;
  std::vector<int64_t> cached_;
};

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_CALL_CACHE_H_
