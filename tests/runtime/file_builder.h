// Writes the bytes of safetensors files, right and wrong ones, for the tests of the reader.
#ifndef MHA_TESTS_RUNTIME_FILE_BUILDER_H_
#define MHA_TESTS_RUNTIME_FILE_BUILDER_H_

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace mha {

// The length, the header, the data.
inline std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[static_cast<size_t>(i)] = static_cast<char>(length >> (8 * i));
  return bytes + header + data;
}

// A valid file, tensor after tensor.
class FileBuilder {
 public:
  FileBuilder& add(const std::string& name, const std::string& dtype,
                   const std::vector<int64_t>& shape, const std::string& bytes) {
    header_ += (header_.empty() ? "" : ", ");
    header_ += "\"" + name + "\": {\"dtype\": \"" + dtype + "\", \"shape\": [";
    for (size_t i = 0; i < shape.size(); ++i) header_ += (i ? ", " : "") + std::to_string(shape[i]);
    header_ += "], \"data_offsets\": [" + std::to_string(data_.size()) + ", " +
               std::to_string(data_.size() + bytes.size()) + "]}";
    data_ += bytes;
    return *this;
  }
  template <typename T>
  FileBuilder& add(const std::string& name, const std::string& dtype,
                   const std::vector<int64_t>& shape, const std::vector<T>& values) {
    return add(
        name, dtype, shape,
        std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)));
  }
  std::string bytes() const { return file_of("{" + header_ + "}", data_); }

 private:
  std::string header_, data_;
};

// A folder of its own that is removed at the end.
class TestFolder {
 public:
  TestFolder() {
    std::string name = testing::TempDir() + "mha_runtime_XXXXXX";
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  std::string path(const std::string& name) const { return path_ + "/" + name; }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }

 private:
  std::string path_;
};

}  // namespace mha

#endif  // MHA_TESTS_RUNTIME_FILE_BUILDER_H_
