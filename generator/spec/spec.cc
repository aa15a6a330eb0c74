#include "generator/spec/spec.h"

#include <algorithm>

namespace mha {

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
