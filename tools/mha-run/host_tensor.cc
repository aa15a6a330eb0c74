#include "tools/mha-run/host_tensor.h"

namespace mha {

HostTensor::HostTensor(TensorDecl declaration) : decl(std::move(declaration)) {
  const size_t count = static_cast<size_t>(decl.elements());
  if (is_index()) {
    ints.resize(count);
  } else {
    floats.resize(count);
  }
}

Array HostTensor::array() const {
  Array array{decl.shape, {}};
  if (is_index()) {
    array.values.assign(ints.begin(), ints.end());
  } else {
    array.values.assign(floats.begin(), floats.end());
  }
  return array;
}

}  // namespace mha
