#include "generator/emit/variant.h"

#include <algorithm>

#include "generator/spec/error.h"

namespace mha {

std::string TargetPlace::suffix(size_t i) const {
  if (!several()) return "";
  std::string word = "_" + targets[i];
  std::replace(word.begin(), word.end(), '-', '_');
  return word;
}

std::string TargetPlace::text() const {
  std::string text;
  for (const std::string& target : targets) text += (text.empty() ? "" : ", ") + target;
  return text;
}

std::string variant_suffix(const std::vector<Variant>& variants, size_t index) {
  if (variants.size() == 1) return "";
  return "_q" + std::to_string(variants[index].plan.query_length.max);
}

std::string schedules_text(const std::vector<Variant>& variants) {
  if (variants.size() == 1) return variants[0].schedule.text();
  std::string text;
  for (const Variant& variant : variants) {
    const Range& lengths = variant.plan.query_length;
    text += "query_length " + std::to_string(lengths.min) + " to " + std::to_string(lengths.max) +
            ":\n" + variant.schedule.text();
  }
  return text;
}

void check_shared(const std::vector<Variant>& variants) {
  for (const Variant& variant : variants) {
    const Program& first = variants.front().program;
    const Program& other = variant.program;
    if (first.tensors == other.tensors && first.weights == other.weights &&
        first.packs == other.packs && first.cache == other.cache) {
      continue;
    }
    throw InternalError("two variants of kernel '" + variant.plan.name +
                        "' differ in their tensors, their cache or in how weights are packed");
  }
}

}  // namespace mha
