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

// A safetensors file that is open. What throws UserError names the file, the tensor, what it is and
// what was expected.
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
  // How a tensor may differ from its declaration.
  enum Allow {
    kNothing,
    kBatchOfOne,  // a leading axis of 1 before the others
    kAnyFloat     // any of F32, BF16 and F16 for a float
  };
  // The tensor with the shape and dtype that `decl` says; index tensors may be I32 or I64. Throws
  // UserError.
  HostTensor read(const TensorDecl& decl, Allow allow = kNothing) const;
  // A mask of rank 2 to 4: `decl` is its full declaration [B,H,Lq,Lk], of which any axis may be 1
  // or, from the left, missing. BOOL or U8 for a bool mask; F32, F16 or BF16 for an additive one.
  // The result has four axes. Throws UserError.
  HostTensor read_mask(const TensorDecl& decl) const;
  // Any float dtype as f32, as weights may be stored.
  std::vector<float> floats(const std::string& name) const;
  const std::string& path() const { return path_; }

 private:
  // The tensor of that name; `wanted` tells what it should be where there is none.
  mha_safetensors_tensor expect(const std::string& name, const std::string& wanted) const;
  [[noreturn]] void refuse(const mha_safetensors_tensor& tensor, const std::string& wanted) const;

  std::string path_;
  mha_safetensors* file_ = nullptr;
};

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_TENSOR_FILE_H_
