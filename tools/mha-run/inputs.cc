#include "tools/mha-run/inputs.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>
#include <set>
#include <sstream>

#include "generator/spec/error.h"
#include "tools/common/files.h"

namespace mha {
namespace {

const char* dtype_name(mha_dtype dtype) {
  switch (dtype) {
    case MHA_F32:
      return "F32";
    case MHA_BF16:
      return "BF16";
    case MHA_F16:
      return "F16";
    case MHA_I32:
      return "I32";
    case MHA_I64:
      return "I64";
    case MHA_U8:
      return "U8";
    case MHA_BOOL:
      return "BOOL";
    case MHA_I8:
      return "I8";
    case MHA_DTYPE_OTHER:
      break;
  }
  return "of another dtype";
}

template <typename T>
T load(const void* data, size_t index) {
  // The format promises no alignment.
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + index * sizeof(T), sizeof(T));
  return value;
}

float float_of_bf16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

float float_of_f16(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  float value;
  if (exponent == 31) {
    value = mantissa == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(mantissa), -24);
  } else {
    value = std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

std::vector<int64_t> shape_of(const mha_safetensors_tensor& tensor) {
  return {tensor.shape, tensor.shape + tensor.rank};
}

std::string range_text(const Range& range) {
  if (range.fixed()) return std::to_string(range.min);
  return std::to_string(range.min) + " to " + std::to_string(range.max);
}

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

void check_range(const std::string& what, int64_t value, const Range& range) {
  if (value >= range.min && value <= range.max) return;
  throw UserError(what + " is " + std::to_string(value) + "; the config allows " +
                  range_text(range));
}

}  // namespace

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

Random::Random(uint64_t seed, const std::string& stream) : state_(seed * 0x9e3779b97f4a7c15) {
  for (char c : stream) state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  next();
}

// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
uint64_t Random::next() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double Random::uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

int64_t Random::integer(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
}

double Random::normal() {
  const double radius = std::sqrt(-2 * std::log(1 - uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

HostTensor random_tensor(const Spec& spec, const CallLengths& lengths, const TensorDecl& decl,
                         uint64_t seed) {
  HostTensor tensor(decl);
  Random random(seed, decl.name);
  if (decl.name == "key_lengths") {
    for (int32_t& value : tensor.ints) {
      value = static_cast<int32_t>(random.integer((lengths.key + 1) / 2, lengths.key));
    }
    tensor.ints.front() = static_cast<int32_t>(lengths.key);
  } else if (decl.name == "query_offset") {
    const int64_t room = std::max<int64_t>(lengths.key - lengths.query, 0);
    for (int32_t& value : tensor.ints) value = static_cast<int32_t>(random.integer(0, room));
  } else {
    double size = 1;
    if (decl.name.starts_with("w_")) size = 1 / std::sqrt(static_cast<double>(decl.shape.back()));
    if (decl.name.starts_with("b_")) size = 0.1;
    (void)spec;
    for (float& value : tensor.floats) value = static_cast<float>(size * random.normal());
  }
  return tensor;
}

SizeOptions parse_sizes(const std::string& text, const Spec& spec) {
  SizeOptions sizes;
  if (text.empty()) return sizes;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    const size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    int64_t value = 0;
    const char* end = word.data() + word.size();
    std::from_chars_result result{end, std::errc::invalid_argument};
    if (equals != std::string::npos) {
      result = std::from_chars(word.data() + equals + 1, end, value);
    }
    if (result.ec != std::errc() || result.ptr != end) {
      throw UserError("--size: '" + word + "' is not KEY=NUMBER");
    }
    std::optional<int64_t>* slot = nullptr;
    const Range* range = nullptr;
    if (key == "batch") {
      slot = &sizes.batch;
      range = &spec.batch;
    } else if (key == "query_length") {
      slot = &sizes.query;
      range = &spec.query_length;
    } else if (key == "key_length") {
      slot = &sizes.key;
      range = spec.key_length_given ? &spec.key_length : &spec.query_length;
    } else {
      throw UserError("--size: unknown key '" + key +
                      "'; the keys are batch, query_length and key_length");
    }
    if (slot->has_value()) throw UserError("--size: " + key + " is given twice");
    check_range("--size: " + key, value, *range);
    *slot = value;
  }
  return sizes;
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

HostTensor TensorFile::read(const TensorDecl& decl) const {
  HostTensor result(decl);
  if (!has(decl.name)) {
    throw UserError("'" + path_ + "' has no tensor '" + decl.name + "'; expected " +
                    (result.is_index() ? "I32 or I64 " : "F32 ") + shape_text(decl.shape) + " (" +
                    decl.axes + ")");
  }
  const mha_safetensors_tensor tensor = get(decl.name);
  const std::vector<int64_t> shape = shape_of(tensor);
  const bool dtype_fits = result.is_index() ? tensor.dtype == MHA_I32 || tensor.dtype == MHA_I64
                                            : tensor.dtype == MHA_F32;
  if (!dtype_fits || shape != decl.shape) {
    throw UserError("'" + path_ + "': tensor '" + decl.name + "' is " + dtype_name(tensor.dtype) +
                    " " + shape_text(shape) + "; expected " +
                    (result.is_index() ? "I32 or I64 " : "F32 ") + shape_text(decl.shape) + " (" +
                    decl.axes + ")");
  }
  if (tensor.dtype != MHA_I64) {
    if (tensor.bytes > 0) std::memcpy(result.data(), tensor.data, tensor.bytes);
    return result;
  }
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
        throw UserError("'" + path_ + "': tensor '" + name + "' is " + dtype_name(tensor.dtype) +
                        "; expected F32, BF16 or F16");
    }
  }
  return values;
}

CallLengths resolve_lengths(const Spec& spec, const TensorFile* input, const SizeOptions& sizes) {
  CallLengths lengths = max_lengths(spec);
  if (sizes.batch) lengths.batch = *sizes.batch;
  if (sizes.query) lengths.query = *sizes.query;
  if (sizes.key) lengths.key = *sizes.key;
  if (!spec.key_length_given) {
    if (sizes.query && sizes.key && *sizes.query != *sizes.key) {
      throw UserError("--size: key_length must equal query_length: the config gives no key_length");
    }
    if (sizes.key) lengths.query = *sizes.key;
    lengths.key = lengths.query;
  }
  if (input == nullptr) return lengths;

  // Reads one length off a tensor; a shape of the wrong rank is reported by read_inputs(), which
  // knows it all.
  auto take = [&](const char* name, size_t rank, size_t axis, const char* what, int64_t* length,
                  const std::optional<int64_t>& given, const Range& range) {
    if (!input->has(name)) return;
    const std::vector<int64_t> shape = shape_of(input->get(name));
    if (shape.size() != rank) return;
    check_range(
        "'" + input->path() + "': tensor '" + name + "' is " + shape_text(shape) + ", so " + what,
        shape[axis], range);
    if (given && *given != shape[axis]) {
      throw UserError(std::string("--size gives ") + what + "=" + std::to_string(*given) +
                      ", but tensor '" + name + "' of the input is " + shape_text(shape));
    }
    *length = shape[axis];
  };
  if (spec.op == Op::kBlock) {
    take("x", 3, 0, "batch", &lengths.batch, sizes.batch, spec.batch);
    take("x", 3, 1, "query_length", &lengths.query, sizes.query, spec.query_length);
  } else {
    const size_t length_axis = spec.layout == Layout::kBshd ? 1 : 2;
    take("query", 4, 0, "batch", &lengths.batch, sizes.batch, spec.batch);
    take("query", 4, length_axis, "query_length", &lengths.query, sizes.query, spec.query_length);
    if (spec.key_length_given) {
      take("key", 4, length_axis, "key_length", &lengths.key, sizes.key, spec.key_length);
    }
  }
  if (!spec.key_length_given) lengths.key = lengths.query;
  return lengths;
}

HostTensors read_inputs(const Spec& spec, const CallLengths& lengths, const TensorFile& file) {
  HostTensors tensors;
  std::string known;
  for (const TensorDecl& decl : input_tensors(spec, lengths)) {
    tensors.emplace(decl.name, file.read(decl));
    known += (known.empty() ? "" : ", ") + decl.name;
  }
  for (const std::string& name : file.names()) {
    if (tensors.count(name) == 0) {
      throw UserError("'" + file.path() + "' has a tensor '" + name +
                      "' that this config does not read; it reads " + known);
    }
  }
  return tensors;
}

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
