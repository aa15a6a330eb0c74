// Writing a safetensors file: eight bytes of header length, a JSON header, the data.
#ifndef MHA_TOOLS_COMMON_SAFETENSORS_WRITER_H_
#define MHA_TOOLS_COMMON_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mha {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // "F32", "I32", ...
  std::vector<int64_t> shape;
  std::string_view data;  // row-major, little endian; kept alive by the caller
};

// Replaces `path` atomically (tools/common/files.h).
void write_safetensors(const std::string& path, const std::vector<SafetensorsEntry>& tensors);

}  // namespace mha

#endif  // MHA_TOOLS_COMMON_SAFETENSORS_WRITER_H_
