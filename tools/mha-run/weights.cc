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

// The weight `decl` out of the tensor that a file has for it: all of the tensor, or the rows that
// `source` (null: no word in the config) says, of the matrix once turned.
HostTensor weight_from(const TensorDecl& decl, const WeightSource* source, const TensorFile& file,
                       const std::string& name) {
  const bool turned = source != nullptr && source->transpose;
  const bool part = source != nullptr && source->rows;
  const size_t rows = static_cast<size_t>(decl.shape[0]);
  const size_t columns = decl.shape.size() == 2 ? static_cast<size_t>(decl.shape[1]) : 1;
  const size_t first = part ? static_cast<size_t>(source->rows->min) : 0;
  const std::vector<int64_t> shape = shape_of(file.get(name));
  std::vector<int64_t> expected = decl.shape;
  if (part) expected[0] = source->rows->max;
  if (turned) std::swap(expected[0], expected[1]);
  const size_t row_axis = turned ? 1 : 0;
  bool fits = shape.size() == expected.size();
  for (size_t a = 0; fits && a < shape.size(); ++a) {
    fits = shape[a] == expected[a] || (part && a == row_axis && shape[a] > expected[a]);
  }
  if (!fits) {
    throw UserError("'" + file.path() + "': tensor '" + name + "' is " + shape_text(shape) +
                    "; expected " + shape_text(expected) + " for " + decl.name +
                    (turned ? ", transposed" : "") + (part ? ", or more rows" : "") + " (" +
                    decl.axes + ")");
  }
  const std::vector<float> values = file.floats(name);
  const size_t all_rows = static_cast<size_t>(shape[row_axis]);
  HostTensor tensor(decl);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) {
      const size_t from = turned ? c * all_rows + first + r : (first + r) * columns + c;
      tensor.floats[r * columns + c] = values[from];
    }
  }
  return tensor;
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
    const bool named = source != spec.weights_from.end();
    if (named) {
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
    tensors.emplace(decl.name, weight_from(decl, named ? &source->second : nullptr, *file, name));
  }
  return tensors;
}

}  // namespace mha
