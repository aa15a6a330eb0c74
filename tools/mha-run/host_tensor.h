// A tensor in memory, as a kernel takes it.
#ifndef MHA_TOOLS_MHA_RUN_HOST_TENSOR_H_
#define MHA_TOOLS_MHA_RUN_HOST_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "mha/mha.h"
#include "tools/reference/tensors.h"

namespace mha {

mha_dtype runtime_dtype(Dtype dtype);

// Dense. One of the vectors holds the elements, whichever the dtype says: floats for f32, bf16 and
// f16, ints for index tensors, bools (0 or 1) for masks.
struct HostTensor {
  TensorDecl decl;  // of a mask: shape has 1 where it is the same along an axis
  std::vector<float> floats;
  std::vector<int32_t> ints;
  std::vector<uint8_t> bools;

  explicit HostTensor(TensorDecl decl);
  bool is_index() const { return decl.dtype == Dtype::kI32; }
  // What a kernel takes. In bf16 and f16 that is a copy of the floats, rounded, made by each call
  // of data(); what a kernel writes there is seen in the floats after read_back().
  void* data();
  void read_back();
  size_t bytes() const;
  size_t elements() const;
  const char* dtype_name() const;  // in a safetensors file
  // How a call is given it: a mask with strides of 0 along the axes where it is the same.
  mha_tensor view();
  // The numbers that a kernel sees.
  Array array() const;

 private:
  std::vector<uint16_t> halves_;
};
using HostTensors = std::map<std::string, HostTensor>;

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_HOST_TENSOR_H_
