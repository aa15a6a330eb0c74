#include "tools/mha-run/host_tensor.h"

#include <utility>

#include "tools/reference/precision.h"

namespace mha {

mha_dtype runtime_dtype(Dtype dtype) {
  switch (dtype) {
    case Dtype::kBF16:
      return MHA_BF16;
    case Dtype::kF16:
      return MHA_F16;
    case Dtype::kI32:
      return MHA_I32;
    case Dtype::kBool:
      return MHA_BOOL;
    default:
      return MHA_F32;
  }
}

HostTensor::HostTensor(TensorDecl declaration) : decl(std::move(declaration)) {
  const auto count = static_cast<size_t>(decl.elements());
  if (decl.dtype == Dtype::kI32) {
    ints.resize(count);
  } else if (decl.dtype == Dtype::kBool) {
    bools.resize(count);
  } else {
    floats.resize(count);
  }
  if (is_half(decl.dtype)) halves_.resize(count);
}

size_t HostTensor::elements() const { return floats.size() + ints.size() + bools.size(); }

void* HostTensor::data() {
  if (decl.dtype == Dtype::kI32) return ints.data();
  if (decl.dtype == Dtype::kBool) return bools.data();
  if (!is_half(decl.dtype)) return floats.data();
  const bool bf16 = decl.dtype == Dtype::kBF16;
  for (size_t i = 0; i < floats.size(); ++i) {
    halves_[i] = bf16 ? bf16_of_float(floats[i]) : f16_of_float(floats[i]);
  }
  return halves_.data();
}

void HostTensor::read_back() {
  if (!is_half(decl.dtype)) return;
  const bool bf16 = decl.dtype == Dtype::kBF16;
  for (size_t i = 0; i < floats.size(); ++i) {
    floats[i] = bf16 ? float_of_bf16(halves_[i]) : float_of_f16(halves_[i]);
  }
}

size_t HostTensor::bytes() const {
  return floats.size() * (is_half(decl.dtype) ? 2 : sizeof(float)) + ints.size() * sizeof(int32_t) +
         bools.size();
}

const char* HostTensor::dtype_name() const { return mha_dtype_name(runtime_dtype(decl.dtype)); }

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
  for (float value : floats) array.values.push_back(round_to(decl.dtype, value));
  array.values.insert(array.values.end(), ints.begin(), ints.end());
  array.values.insert(array.values.end(), bools.begin(), bools.end());
  return array;
}

}  // namespace mha
