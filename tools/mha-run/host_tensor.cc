#include "tools/mha-run/host_tensor.h"

#include <utility>

namespace mha {

HostTensor::HostTensor(TensorDecl declaration) : decl(std::move(declaration)) {
  const auto count = static_cast<size_t>(decl.elements());
  if (decl.dtype == Dtype::kI32) {
    ints.resize(count);
  } else if (decl.dtype == Dtype::kBool) {
    bools.resize(count);
  } else {
    floats.resize(count);
  }
}

void* HostTensor::data() {
  if (decl.dtype == Dtype::kI32) return ints.data();
  if (decl.dtype == Dtype::kBool) return bools.data();
  return floats.data();
}

size_t HostTensor::bytes() const {
  return floats.size() * sizeof(float) + ints.size() * sizeof(int32_t) + bools.size();
}

const char* HostTensor::dtype_name() const {
  return mha_dtype_name(decl.dtype == Dtype::kI32    ? MHA_I32
                        : decl.dtype == Dtype::kBool ? MHA_BOOL
                                                     : MHA_F32);
}

mha_tensor HostTensor::view() {
  mha_tensor view = {};
  view.data = data();
  if (decl.name != "mask") return view;
  view.flags = MHA_STRIDED;
  int64_t stride = 1;
  for (size_t axis = decl.shape.size(); axis-- > 0;) {
    const bool repeated = decl.shape[axis] == 1;
    if (axis + 1 < decl.shape.size()) {
      view.strides[axis] = repeated ? 0 : stride;
    } else if (repeated) {
      view.flags |= MHA_REPEATED;
    }
    stride *= decl.shape[axis];
  }
  return view;
}

Array HostTensor::array() const {
  Array array{decl.shape, {}};
  array.values.reserve(static_cast<size_t>(decl.elements()));
  array.values.insert(array.values.end(), floats.begin(), floats.end());
  array.values.insert(array.values.end(), ints.begin(), ints.end());
  array.values.insert(array.values.end(), bools.begin(), bools.end());
  return array;
}

}  // namespace mha
