#include "tools/common/safetensors_writer.h"

#include <nlohmann/json.hpp>

#include "tools/common/files.h"

namespace mha {

void write_safetensors(const std::string& path, const std::vector<SafetensorsEntry>& tensors) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "mha"}};
  uint64_t offset = 0;
  for (const SafetensorsEntry& tensor : tensors) {
    uint64_t end = offset + tensor.data.size();
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  // The format allows spaces after the header and no holes between tensors, so this aligns the
  // first tensor alone.
  while ((8 + text.size()) % 64 != 0) text += ' ';
  std::string length(8, '\0');
  for (int i = 0; i < 8; ++i) {
    length[static_cast<size_t>(i)] = static_cast<char>((text.size() >> (8 * i)) & 0xff);
  }
  std::vector<std::string_view> pieces = {length, text};
  for (const SafetensorsEntry& tensor : tensors) pieces.push_back(tensor.data);
  atomic_write_file(path, pieces);
}

}  // namespace mha
