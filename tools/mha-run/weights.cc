#include "tools/mha-run/weights.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "generator/spec/error.h"
#include "tools/common/files.h"
#include "tools/mha-run/tensor_file.h"

namespace mha {
namespace {

// Told by content, as the runtime tells it: a safetensors file begins with a length below 2^32, so
// that its eighth byte is zero; a text has no zero byte.
bool is_index(const std::string& path) {
  check_input_file(path);
  std::string head(8, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  if (file.gcount() < static_cast<std::streamsize>(head.size()) || head.back() == '\0')
    return false;
  const size_t first = head.find_first_not_of(" \n\r\t");
  return first != std::string::npos && head[first] == '{';
}

// The file that holds each tensor, as the index of a model in shards says.
std::map<std::string, std::string> read_index(const std::string& path) {
  const auto index = nlohmann::json::parse(read_file(path), nullptr, false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw UserError("'" + path + "' is no index of safetensors shards: it lacks weight_map");
  }
  std::map<std::string, std::string> shard_of;
  for (const auto& [name, file] : index["weight_map"].items()) {
    if (!file.is_string()) throw UserError("'" + path + "': weight_map." + name + " is no name");
    shard_of[name] = (std::filesystem::path(path).parent_path() / file.get<std::string>()).string();
  }
  return shard_of;
}

}  // namespace

HostTensors read_weights(const Spec& spec, const std::string& path, int layer) {
  // Which file holds which tensor: an index of shards says so, any other file holds them all.
  const bool sharded = is_index(path);
  std::map<std::string, std::string> shard_of;
  if (sharded) shard_of = read_index(path);
  std::map<std::string, std::unique_ptr<TensorFile>> files;
  HostTensors tensors;
  for (const TensorDecl& decl : weight_tensors(spec)) {
    std::string name = decl.name;
    auto source = spec.weights_from.find(name);
    if (source != spec.weights_from.end()) {
      name = source->second.name;
      for (size_t at; (at = name.find("{layer}")) != std::string::npos;) {
        name.replace(at, 7, std::to_string(layer));
      }
    }
    std::string file_path = path;
    if (sharded) {
      auto shard = shard_of.find(name);
      if (shard == shard_of.end()) {
        throw UserError("'" + path + "': the index has no tensor '" + name + "', which is to be " +
                        decl.name);
      }
      file_path = shard->second;
    }
    std::unique_ptr<TensorFile>& file = files[file_path];
    if (file == nullptr) file = std::make_unique<TensorFile>(file_path);
    const std::vector<int64_t> shape = shape_of(file->get(name));
    if (shape != decl.shape) {
      throw UserError("'" + file_path + "': tensor '" + name + "' is " + shape_text(shape) +
                      "; expected " + shape_text(decl.shape) + " (" + decl.axes + ")");
    }
    HostTensor tensor(decl);
    tensor.floats = file->floats(name);
    tensors.emplace(decl.name, std::move(tensor));
  }
  return tensors;
}

}  // namespace mha
