#include "generator/emit/join.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "generator/spec/error.h"

namespace mha {

using nlohmann::ordered_json;

std::string join_manifests(const std::vector<std::string>& manifests, int64_t archive_bytes) {
  ordered_json library = ordered_json::parse(manifests.at(0));
  const std::vector<std::string> common = {"format",  "name",    "generator", "versions", "spec",
                                           "targets", "threads", "tensors",   "cache"};
  if (manifests.size() > 1) {
    ordered_json targets = ordered_json::array(), kernels = ordered_json::array();
    for (const std::string& text : manifests) {
      ordered_json kernel = ordered_json::parse(text);
      for (const char* key : {"tensors", "cache"}) {
        if (kernel.value(key, ordered_json()) == library.value(key, ordered_json())) continue;
        throw InternalError("two targets of kernel '" + library["name"].get<std::string>() +
                            "' differ in their " + key);
      }
      ordered_json entry = {{"target", kernel.at("targets").at(0)}};
      targets.push_back(entry["target"]);
      for (const std::string& key : common) kernel.erase(key);
      kernel["footprint"].erase("archive_bytes");
      entry.update(kernel);
      kernels.push_back(entry);
    }
    library["targets"] = targets;
    library["kernels"] = kernels;
  }
  library["footprint"]["archive_bytes"] = archive_bytes;
  return library.dump(2) + "\n";
}

std::string join_explanations(const std::string& name,
                              const std::vector<std::string>& explanations) {
  std::string text;
  if (explanations.size() > 1) {
    text += fmt::format(
        "{}: one library for {} targets, the best first. The first that the machine can run is "
        "chosen\nwhen the kernel is first used; MHA_TARGET=NAME in the environment forces one.\n",
        name, explanations.size());
  }
  for (const std::string& one : explanations) text += (text.empty() ? "" : "\n") + one;
  return text;
}

}  // namespace mha
