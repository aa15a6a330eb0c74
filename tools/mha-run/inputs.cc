#include "tools/mha-run/inputs.h"

#include <string>
#include <utility>
#include <vector>

#include "generator/spec/error.h"
#include "tools/mha-run/random.h"

namespace mha {
namespace {

// key_lengths and key_starts count keys of their sequence. (sequence_starts are checked where the
// lengths are read off them.)
void check_values(const Spec& spec, const CallLengths& lengths, const HostTensors& tensors,
                  const std::string& path) {
  constexpr int64_t kFarthestOffset = int64_t{1} << 30;  // as the runtime has it
  for (const auto& [name, tensor] : tensors) {
    if (!tensor.is_index() || name == "sequence_starts") continue;
    const bool offset = name == "query_offset";
    for (size_t b = 0; b < tensor.ints.size(); ++b) {
      int64_t low = -kFarthestOffset, high = kFarthestOffset;
      if (!offset) {
        low = 0;
        high = lengths.key;
        if (spec.packed) {
          const std::vector<int32_t>& starts = tensors.at("sequence_starts").ints;
          high = starts[b + 1] - starts[b];
        }
      }
      const int32_t value = tensor.ints[b];
      if (value >= low && value <= high) continue;
      throw UserError("'" + path + "': " + name + "[" + std::to_string(b) + "] is " +
                      std::to_string(value) + "; it may be " + std::to_string(low) + " to " +
                      std::to_string(high) +
                      (offset ? "" : ", the keys of sequence " + std::to_string(b)));
    }
  }
}

}  // namespace

HostTensors read_inputs(const Spec& spec, const CallLengths& lengths, const TensorFile& file) {
  HostTensors tensors;
  std::string known;
  for (const TensorDecl& decl : input_tensors(spec, lengths)) {
    const bool has_rows = decl.axes.starts_with("T,");
    tensors.emplace(decl.name,
                    decl.name == "mask" ? file.read_mask(decl) : file.read(decl, has_rows));
    known += (known.empty() ? "" : ", ") + decl.name;
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
