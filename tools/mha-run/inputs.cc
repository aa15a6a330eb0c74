#include "tools/mha-run/inputs.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "generator/spec/error.h"
#include "tools/mha-run/random.h"

namespace mha {
namespace {

// key_lengths, key_starts and cache_lengths count keys of their sequence. (sequence_starts are
// checked where the lengths are read off them.)
void check_values(const Spec& spec, const CallLengths& lengths, const HostTensors& tensors,
                  const std::string& path) {
  constexpr int64_t kFarthestOffset = int64_t{1} << 30;  // as the runtime has it
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.is_index() || name == "sequence_starts" || is_table(spec, name)) continue;
    const bool offset = name == "query_offset", page = name == "block_table";
    for (size_t b = 0; b < tensor.ints.size(); ++b) {
      int64_t low = 0, high = lengths.key;
      if (spec.packed && !page) {
        const std::vector<int32_t>& starts = tensors.at("sequence_starts").ints;
        high = lengths.key == 0 ? 0 : starts[b + 1] - starts[b];
      }
      if (spec.kv_cache && !page) high += tensors.at("cache_lengths").ints[b];
      if (name == "cache_lengths") high = lengths.past;
      if (page) high = lengths.pages - 1;
      if (offset) {
        low = -kFarthestOffset;
        high = kFarthestOffset;
      }
      const int32_t value = tensor.ints[b];
      if (value >= low && value <= high) continue;
      throw UserError("'" + path + "': " + name + "[" + std::to_string(b) + "] is " +
                      std::to_string(value) + "; it may be " + std::to_string(low) + " to " +
                      std::to_string(high) +
                      (offset || page ? "" : ", the keys of sequence " + std::to_string(b)));
    }
  }
}

}  // namespace

HostTensors read_inputs(const Spec& spec, const CallLengths& lengths, const TensorFile& file) {
  HostTensors tensors;
  std::string known;
  for (const TensorDecl& decl : input_tensors(spec, lengths)) {
    const bool has_rows = decl.axes.starts_with("T,");
    // What is learned or made by hand rather than computed by a model.
    const bool any_float =
        decl.dtype == Dtype::kF32 && !has_rows &&
        (decl.name == "sink" || decl.name.ends_with("_norm") || is_table(spec, decl.name));
    const auto allow = has_rows    ? TensorFile::kBatchOfOne
                       : any_float ? TensorFile::kAnyFloat
                                   : TensorFile::kNothing;
    known += (known.empty() ? "" : ", ") + decl.name;
    // Keys and values, of a call that brings none.
    if (decl.elements() == 0 && may_bring_none(spec) && !file.has(decl.name)) {
      tensors.emplace(decl.name, HostTensor(decl));
      continue;
    }
    if (decl.name == "cache_lengths" && !file.has(decl.name)) {
      HostTensor full(decl);
      std::fill(full.ints.begin(), full.ints.end(), static_cast<int32_t>(lengths.past));
      tensors.emplace(decl.name, std::move(full));
      continue;
    }
    tensors.emplace(decl.name, decl.name == "mask" ? file.read_mask(decl) : file.read(decl, allow));
  }
  for (const std::string& name : file.names()) {
    if (tensors.count(name) == 0) {
      throw UserError("'" + file.path() + "' has a tensor '" + name +
                      "' that this config does not read; it reads " + known);
    }
  }
  check_values(spec, lengths, tensors, file.path());
  return tensors;
}

bool is_batch_of_one(const Spec& spec, const TensorFile& file) {
  if (!spec.packed) return false;
  const bool block = spec.op == Op::kBlock;
  const char* name = block ? "x" : "query";
  const size_t rank = block ? 2 : 3;
  return file.has(name) && shape_of(file.get(name)).size() == rank + 1;
}

HostTensors random_input_tensors(const Spec& spec, const CallLengths& lengths, uint64_t seed) {
  HostTensors tensors;
  for (TensorDecl decl : input_tensors(spec, lengths)) {
    if (decl.name == "mask") decl.shape[1] = 1;
    tensors.emplace(decl.name, random_tensor(spec, lengths, decl, seed));
  }
  return tensors;
}

}  // namespace mha
