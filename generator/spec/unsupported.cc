#include <algorithm>

#include "generator/spec/parse.h"

namespace mha {
namespace {

struct Unbuilt {
  bool asked;
  const char* key;
  const char* what;     // with its verb
  const char* instead;  // what this version does build
};

}  // namespace

std::vector<Diagnostic> unsupported(const Spec& spec) {
  const auto target = [&](const char* prefix) {
    return std::any_of(spec.targets.begin(), spec.targets.end(),
                       [&](const std::string& name) { return name.starts_with(prefix); });
  };
  const Unbuilt table[] = {
      {target("arm64"), "targets", "the target arm64 is", "host or an x86-64 target"},
      {target("opencl"), "targets", "the target opencl is", "host or an x86-64 target"},
      {target("cuda"), "targets", "CUDA targets are", "host or an x86-64 target"},
  };
  std::vector<Diagnostic> problems;
  for (const Unbuilt& row : table) {
    if (!row.asked) continue;
    const std::string instead = row.instead;
    problems.push_back({spec.where(row.key),
                        std::string(row.key) + ": " + row.what + " not built yet in this version",
                        instead.empty() ? "" : "this version builds " + instead});
  }
  return problems;
}

}  // namespace mha
