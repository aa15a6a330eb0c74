#include "tools/mha-run/tensor_file.h"

#include <cstring>

#include "generator/spec/error.h"
#include "tools/common/files.h"
#include "tools/reference/precision.h"

namespace mha {
namespace {

template <typename T>
T load(const void* data, size_t index) {
  // The format promises no alignment.
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + index * sizeof(T), sizeof(T));
  return value;
}

bool is_float(const mha_safetensors_tensor& tensor) {
  return tensor.dtype == MHA_F32 || tensor.dtype == MHA_F16 || tensor.dtype == MHA_BF16;
}

}  // namespace

std::vector<int64_t> shape_of(const mha_safetensors_tensor& tensor) {
  return {tensor.shape, tensor.shape + tensor.rank};
}

TensorFile::TensorFile(const std::string& path) : path_(path) {
  check_input_file(path);
  const mha_status status = mha_safetensors_open(path.c_str(), &file_);
  if (status == MHA_OK) return;
  const std::string message = mha_last_message();
  // The runtime's message may or may not name the file.
  const std::string full =
      message.find(path) == std::string::npos ? "'" + path + "': " + message : message;
  if (status == MHA_BAD_FILE) throw UserError(full);
  throw SystemError(full);
}

TensorFile::~TensorFile() { mha_safetensors_close(file_); }

std::vector<std::string> TensorFile::names() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < mha_safetensors_count(file_); ++i) {
    mha_safetensors_tensor tensor;
    if (mha_safetensors_get(file_, i, &tensor) == MHA_OK) names.emplace_back(tensor.name);
  }
  return names;
}

bool TensorFile::has(const std::string& name) const {
  mha_safetensors_tensor tensor;
  return mha_safetensors_find(file_, name.c_str(), &tensor) == MHA_OK;
}

mha_safetensors_tensor TensorFile::get(const std::string& name) const {
  mha_safetensors_tensor tensor;
  if (mha_safetensors_find(file_, name.c_str(), &tensor) != MHA_OK) {
    throw UserError("'" + path_ + "' has no tensor '" + name + "'");
  }
  return tensor;
}

HostTensor TensorFile::read(const TensorDecl& decl, Allow allow) const {
  const bool index = decl.dtype == Dtype::kI32;
  const std::string dtype = index                ? "I32 or I64"
                            : allow == kAnyFloat ? "F32, F16 or BF16"
                                                 : mha_dtype_name(runtime_dtype(decl.dtype));
  const std::string wanted = dtype + " " + shape_text(decl.shape) + " (" + decl.axes + ")" +
                             (allow == kBatchOfOne ? ", or with an axis of 1 before these" : "");
  const mha_safetensors_tensor tensor = expect(decl.name, wanted);
  std::vector<int64_t> shape = shape_of(tensor);
  if (allow == kBatchOfOne && shape.size() == decl.shape.size() + 1 && shape.front() == 1) {
    shape.erase(shape.begin());
  }
  const bool dtype_fits = index                ? tensor.dtype == MHA_I32 || tensor.dtype == MHA_I64
                          : allow == kAnyFloat ? is_float(tensor)
                                               : tensor.dtype == runtime_dtype(decl.dtype);
  if (!dtype_fits || shape != decl.shape) refuse(tensor, wanted);
  HostTensor result(decl);
  if (!index) result.floats = floats(decl.name);
  if (tensor.dtype == MHA_I32 && tensor.bytes > 0) {
    std::memcpy(result.data(), tensor.data, tensor.bytes);
  }
  if (tensor.dtype != MHA_I64) return result;
  for (size_t i = 0; i < result.ints.size(); ++i) {
    const int64_t value = load<int64_t>(tensor.data, i);
    if (value < INT32_MIN || value > INT32_MAX) {
      throw UserError("'" + path_ + "': " + decl.name + "[" + std::to_string(i) + "] is " +
                      std::to_string(value) + ", which is out of range");
    }
    result.ints[i] = static_cast<int32_t>(value);
  }
  return result;
}

HostTensor TensorFile::read_mask(const TensorDecl& decl) const {
  const bool additive = decl.dtype != Dtype::kBool;
  const std::string wanted = std::string(additive ? "F32, F16 or BF16 " : "BOOL or U8 ") +
                             shape_text(decl.shape) + " (" + decl.axes +
                             "), where any axis may be 1 and the first two may be missing";
  const mha_safetensors_tensor tensor = expect(decl.name, wanted);
  TensorDecl held = decl;
  held.shape = shape_of(tensor);
  bool fits = held.shape.size() >= 2 && held.shape.size() <= decl.shape.size();
  if (fits) held.shape.insert(held.shape.begin(), decl.shape.size() - held.shape.size(), 1);
  for (size_t axis = 0; fits && axis < decl.shape.size(); ++axis) {
    fits = held.shape[axis] == 1 || held.shape[axis] == decl.shape[axis];
  }
  const bool dtype_fits =
      additive ? is_float(tensor) : tensor.dtype == MHA_BOOL || tensor.dtype == MHA_U8;
  if (!fits || !dtype_fits) refuse(tensor, wanted);
  HostTensor result(held);
  if (additive) {
    result.floats = floats(decl.name);
  } else {
    for (size_t i = 0; i < result.bools.size(); ++i) {
      result.bools[i] = load<uint8_t>(tensor.data, i) != 0 ? 1 : 0;
    }
  }
  return result;
}

mha_safetensors_tensor TensorFile::expect(const std::string& name,
                                          const std::string& wanted) const {
  if (!has(name)) {
    throw UserError("'" + path_ + "' has no tensor '" + name + "'; expected " + wanted);
  }
  return get(name);
}

void TensorFile::refuse(const mha_safetensors_tensor& tensor, const std::string& wanted) const {
  throw UserError("'" + path_ + "': tensor '" + tensor.name + "' is " +
                  mha_dtype_name(tensor.dtype) + " " + shape_text(shape_of(tensor)) +
                  "; expected " + wanted);
}

std::vector<float> TensorFile::floats(const std::string& name) const {
  const mha_safetensors_tensor tensor = get(name);
  size_t count = 1;
  for (int64_t extent : shape_of(tensor)) count *= static_cast<size_t>(extent);
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    switch (tensor.dtype) {
      case MHA_F32:
        values[i] = load<float>(tensor.data, i);
        break;
      case MHA_BF16:
        values[i] = float_of_bf16(load<uint16_t>(tensor.data, i));
        break;
      case MHA_F16:
        values[i] = float_of_f16(load<uint16_t>(tensor.data, i));
        break;
      default:
        throw UserError("'" + path_ + "': tensor '" + name + "' is " +
                        mha_dtype_name(tensor.dtype) + "; expected F32, BF16 or F16");
    }
  }
  return values;
}

}  // namespace mha
