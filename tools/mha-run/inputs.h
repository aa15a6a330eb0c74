// The tensors of a run: random ones, ones from safetensors files, and what the kernel writes.
#ifndef MHA_TOOLS_MHA_RUN_INPUTS_H_
#define MHA_TOOLS_MHA_RUN_INPUTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "generator/spec/spec.h"
#include "mha/mha.h"
#include "tools/reference/reference.h"
#include "tools/reference/tensors.h"

namespace mha {

// A tensor as the kernel takes it: f32, or int32 for index tensors.
struct HostTensor {
  TensorDecl decl;
  std::vector<float> floats;
  std::vector<int32_t> ints;

  explicit HostTensor(TensorDecl decl);
  bool is_index() const { return decl.dtype == Dtype::kI32; }
  void* data() { return is_index() ? static_cast<void*>(ints.data()) : floats.data(); }
  size_t bytes() const { return ints.size() * sizeof(int32_t) + floats.size() * sizeof(float); }
  Array array() const;
};
using HostTensors = std::map<std::string, HostTensor>;

// A small generator with the same numbers on every machine; each tensor's stream depends on its
// name and the seed alone.
class Random {
 public:
  Random(uint64_t seed, const std::string& stream);
  uint64_t next();
  double uniform();                            // [0, 1)
  int64_t integer(int64_t low, int64_t high);  // both included
  double normal();

 private:
  uint64_t state_;
};

// Normal numbers; weights scaled so that a projection keeps the size of what it is given; valid
// key_lengths (the first sequence is whole) and query_offset.
HostTensor random_tensor(const Spec& spec, const CallLengths& lengths, const TensorDecl& decl,
                         uint64_t seed);

// The lengths that --size gives: "batch=2,query_length=100,key_length=7". Those left out are not
// set. Throws UserError for an unknown key, a bad number, or what the spec does not allow.
struct SizeOptions {
  std::optional<int64_t> batch, query, key;
};
SizeOptions parse_sizes(const std::string& text, const Spec& spec);

// A safetensors file that is open.
class TensorFile {
 public:
  // Throws UserError for a file that is missing, broken, or no regular file.
  explicit TensorFile(const std::string& path);
  ~TensorFile();
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;

  std::vector<std::string> names() const;
  bool has(const std::string& name) const;
  mha_safetensors_tensor get(const std::string& name) const;
  // The tensor with the shape and a dtype that `decl` asks for: F32 for f32; I32 or I64 for index
  // tensors. Throws UserError that names the tensor, what it is and what was expected.
  HostTensor read(const TensorDecl& decl) const;
  // Any float dtype as f32, as weights may be stored.
  std::vector<float> floats(const std::string& name) const;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  mha_safetensors* file_ = nullptr;
};

// Lengths from the input's shapes, else from `sizes`, else the spec's maxima. Throws UserError
// where they disagree or the spec does not allow them.
CallLengths resolve_lengths(const Spec& spec, const TensorFile* input, const SizeOptions& sizes);

// The tensors of a call from the file: each one there, with the right shape and dtype, and no
// other.
HostTensors read_inputs(const Spec& spec, const CallLengths& lengths, const TensorFile& file);

// The weights as the reference takes them, from a file (or an index of shards) with the names of
// weights_from.
HostTensors read_weights(const Spec& spec, const std::string& path, int layer);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_INPUTS_H_
