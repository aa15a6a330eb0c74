// Feeds bytes to the safetensors reader. What it accepts must be consistent: every tensor inside
// the data, found by its name, with the bytes that it says.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "mha/mha.h"

namespace {
void require(bool condition) {
  if (!condition) abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mha_safetensors* file = nullptr;
  const mha_status status = mha_safetensors_parse(data, size, &file);
  if (status != MHA_OK) {
    require(file == nullptr && mha_last_message()[0] != '\0');
    return 0;
  }
  volatile uint8_t sink = 0;
  const uint8_t* end = nullptr;
  for (size_t i = 0; i < mha_safetensors_count(file); ++i) {
    mha_safetensors_tensor tensor, found;
    require(mha_safetensors_get(file, i, &tensor) == MHA_OK);
    require(mha_safetensors_find(file, tensor.name, &found) == MHA_OK && found.data == tensor.data);
    require(tensor.rank >= 0 && tensor.rank <= 8);
    const uint8_t* bytes = static_cast<const uint8_t*>(tensor.data);
    require(bytes >= data && bytes + tensor.bytes <= data + size);
    require(end == nullptr || bytes == end);
    end = bytes + tensor.bytes;
    for (size_t b = 0; b < tensor.bytes; ++b) sink = sink ^ bytes[b];
  }
  require(end == nullptr || end == data + size);
  mha_safetensors_close(file);
  return 0;
}
