// A tensor in memory, as a kernel takes it.
#ifndef MHA_TOOLS_MHA_RUN_HOST_TENSOR_H_
#define MHA_TOOLS_MHA_RUN_HOST_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tools/reference/reference.h"
#include "tools/reference/tensors.h"

namespace mha {

// A tensor as the kernel takes it: f32, or int32 for index tensors.
struct HostTensor {
  TensorDecl decl;
  std::vector<float> floats;
  std::vector<int32_t> ints;

  explicit HostTensor(TensorDecl decl);
  bool is_index() const { return decl.dtype == Dtype::kI32; }
  void* data() { return is_index() ? static_cast<void*>(ints.data()) : floats.data(); }
  size_t bytes() const { return ints.size() * sizeof(int32_t) + floats.size() * sizeof(float); }
  Array array() const;
};
using HostTensors = std::map<std::string, HostTensor>;

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_HOST_TENSOR_H_
