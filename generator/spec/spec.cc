#include "generator/spec/spec.h"

#include <algorithm>

namespace mha {

const char* dtype_name(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF32:
      return "f32";
    case Dtype::kBF16:
      return "bf16";
    case Dtype::kF16:
      return "f16";
    case Dtype::kInt8:
      return "int8";
    case Dtype::kI32:
      return "i32";
    case Dtype::kBool:
      return "bool";
  }
  return "";
}

int64_t dtype_bytes(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF32:
    case Dtype::kI32:
      return 4;
    case Dtype::kBF16:
    case Dtype::kF16:
      return 2;
    case Dtype::kInt8:
    case Dtype::kBool:
      return 1;
  }
  return 0;
}

SourceLocation Spec::where(const std::string& key) const {
  for (std::string path = key;;) {
    const auto found = locations.find(path);
    if (found != locations.end()) return found->second;
    const size_t dot = path.rfind('.');
    if (dot == std::string::npos) return {file, 1, 1};
    path.resize(dot);
  }
}

bool Spec::wants(const std::string& output) const {
  return std::find(outputs.begin(), outputs.end(), output) != outputs.end();
}

}  // namespace mha
