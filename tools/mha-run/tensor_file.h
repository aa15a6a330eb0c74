// Tensors from safetensors files.
#ifndef MHA_TOOLS_MHA_RUN_TENSOR_FILE_H_
#define MHA_TOOLS_MHA_RUN_TENSOR_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "mha/mha.h"
#include "tools/mha-run/host_tensor.h"

namespace mha {

std::vector<int64_t> shape_of(const mha_safetensors_tensor& tensor);

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

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_TENSOR_FILE_H_
