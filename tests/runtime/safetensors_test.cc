// The reader of safetensors: good files are read as they are, bad ones refused, each with its
// reason.
#include "runtime/src/safetensors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "mha/mha.h"
#include "tests/runtime/file_builder.h"

namespace mha {
namespace {

struct Parsed {
  explicit Parsed(const std::string& bytes) : memory(bytes) {
    status = mha_safetensors_parse(memory.data(), memory.size(), &file);
    message = mha_last_message();
  }
  ~Parsed() { mha_safetensors_close(file); }
  Parsed(const Parsed&) = delete;
  std::string memory;
  mha_safetensors* file = nullptr;
  mha_status status;
  std::string message;
};

void expect_bad(const std::string& bytes, const std::string& reason) {
  const Parsed parsed(bytes);
  EXPECT_EQ(parsed.status, MHA_BAD_FILE) << reason << ": " << parsed.message;
  EXPECT_EQ(parsed.file, nullptr);
  EXPECT_NE(parsed.message.find(reason), std::string::npos)
      << "'" << parsed.message << "' lacks '" << reason << "'";
}

std::string entry(const std::string& name, const std::string& rest) {
  return "\"" + name + "\": {" + rest + "}";
}
std::string four_bytes(const std::string& name) {
  return entry(name, R"("dtype": "F32", "shape": [1], "data_offsets": [0, 4])");
}

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirData) {
  // The header names them in another order.
  const std::string header =
      "{" + entry("b", R"("dtype":"I64","shape":[],"data_offsets":[12,20])") + "," +
      entry("a", R"("shape":[3,1],"data_offsets":[0,12],"dtype":"F32")") +
      R"(,"__metadata__":{"format":"pt"}})" + "   ";
  std::string data(20, '\0');
  const float values[3] = {1.5f, -0.0f, 3.0f};
  const int64_t number = -9;
  memcpy(data.data(), values, 12);
  memcpy(data.data() + 12, &number, 8);
  const Parsed parsed(file_of(header, data));
  ASSERT_EQ(parsed.status, MHA_OK) << parsed.message;
  ASSERT_EQ(mha_safetensors_count(parsed.file), 2u);
  mha_safetensors_tensor tensor;
  ASSERT_EQ(mha_safetensors_get(parsed.file, 0, &tensor), MHA_OK);
  EXPECT_STREQ(tensor.name, "a");
  EXPECT_EQ(tensor.dtype, MHA_F32);
  ASSERT_EQ(tensor.rank, 2);
  EXPECT_EQ(tensor.shape[0], 3);
  EXPECT_EQ(tensor.shape[1], 1);
  EXPECT_EQ(tensor.bytes, 12u);
  EXPECT_EQ(memcmp(tensor.data, values, 12), 0);
  ASSERT_EQ(mha_safetensors_find(parsed.file, "b", &tensor), MHA_OK);
  EXPECT_EQ(tensor.dtype, MHA_I64);
  EXPECT_EQ(tensor.rank, 0);
  EXPECT_EQ(memcmp(tensor.data, &number, 8), 0);
  EXPECT_EQ(mha_safetensors_get(parsed.file, 2, &tensor), MHA_OUT_OF_RANGE);
  EXPECT_EQ(mha_safetensors_find(parsed.file, "c", &tensor), MHA_INVALID_ARGUMENT);
}

TEST(Safetensors, KnowsTheTypes) {
  FileBuilder builder;
  const std::pair<const char*, std::pair<mha_dtype, size_t>> types[] = {
      {"F32", {MHA_F32, 4}},
      {"BF16", {MHA_BF16, 2}},
      {"F16", {MHA_F16, 2}},
      {"I32", {MHA_I32, 4}},
      {"I64", {MHA_I64, 8}},
      {"U8", {MHA_U8, 1}},
      {"BOOL", {MHA_BOOL, 1}},
      {"I8", {MHA_I8, 1}},
      {"F64", {MHA_DTYPE_OTHER, 8}},
      {"U16", {MHA_DTYPE_OTHER, 2}},
      {"I16", {MHA_DTYPE_OTHER, 2}},
      {"U32", {MHA_DTYPE_OTHER, 4}},
      {"U64", {MHA_DTYPE_OTHER, 8}},
      {"F8_E4M3", {MHA_DTYPE_OTHER, 1}},
      {"F8_E5M2", {MHA_DTYPE_OTHER, 1}},
      {"C64", {MHA_DTYPE_OTHER, 8}}};
  for (const auto& [name, type] : types)
    builder.add(name, name, {3}, std::string(3 * type.second, 'x'));
  const Parsed parsed(builder.bytes());
  ASSERT_EQ(parsed.status, MHA_OK) << parsed.message;
  for (const auto& [name, type] : types) {
    mha_safetensors_tensor tensor;
    ASSERT_EQ(mha_safetensors_find(parsed.file, name, &tensor), MHA_OK);
    EXPECT_EQ(tensor.dtype, type.first) << name;
    EXPECT_EQ(tensor.bytes, 3 * type.second) << name;
  }
}

TEST(Safetensors, EmptyFilesAndTensors) {
  EXPECT_EQ(Parsed(file_of("{}", "")).status, MHA_OK);
  FileBuilder builder;
  builder.add("none", "F32", {0, 7}, std::string()).add("some", "U8", {2}, std::string("ab"));
  builder.add("end", "F32", {3, 0}, std::string());
  const Parsed parsed(builder.bytes());
  ASSERT_EQ(parsed.status, MHA_OK) << parsed.message;
  mha_safetensors_tensor tensor;
  ASSERT_EQ(mha_safetensors_find(parsed.file, "end", &tensor), MHA_OK);
  EXPECT_EQ(tensor.bytes, 0u);
}

TEST(Safetensors, NamesAreDecoded) {
  FileBuilder builder;
  builder.add(R"(a\"b\\c\/\u00e9\uD83D\uDE00)", "U8", {1}, std::string("x"));
  builder.add("gr\xC3\xBC\xC3\x9F", "U8", {1}, std::string("y"));
  const Parsed parsed(builder.bytes());
  ASSERT_EQ(parsed.status, MHA_OK) << parsed.message;
  mha_safetensors_tensor tensor;
  EXPECT_EQ(mha_safetensors_find(parsed.file, "a\"b\\c/\xC3\xA9\xF0\x9F\x98\x80", &tensor), MHA_OK);
  EXPECT_EQ(mha_safetensors_find(parsed.file, "gr\xC3\xBC\xC3\x9F", &tensor), MHA_OK);
}

TEST(Safetensors, UnknownKeysOfATensorArePassedOver) {
  EXPECT_EQ(Parsed(file_of("{" +
                               entry("a", R"("dtype":"U8","note":{"x":[1,-2.5e+3,true,null,"s"]},)"
                                          R"("shape":[1],"data_offsets":[0,1])") +
                               "}",
                           "x"))
                .status,
            MHA_OK);
}

TEST(Safetensors, EveryTruncationIsRefused) {
  FileBuilder builder;
  builder.add("a", "F32", {2}, std::string(8, 'x')).add("b", "U8", {3}, std::string("abc"));
  const std::string whole = builder.bytes();
  ASSERT_EQ(Parsed(whole).status, MHA_OK);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(Parsed(whole.substr(0, size)).status, MHA_BAD_FILE)
        << size << " bytes of " << whole.size();
  }
  expect_bad(whole + "z", "belong to no tensor");
}

TEST(Safetensors, HeaderLength) {
  expect_bad("", "no safetensors file");
  expect_bad("1234567", "no safetensors file");
  expect_bad(std::string(8, '\xFF') + "{}", "18446744073709551615");
  expect_bad(std::string("\x03\0\0\0\0\0\0\0{}", 10), "says it has 3");
  expect_bad(std::string(8, '\0'), "does not begin");
  expect_bad(std::string("\x01\xE1\xF5\x05\0\0\0\0", 8).append(100'000'001, ' '), "100000000");
}

TEST(Safetensors, Offsets) {
  const auto offsets = [](const std::string& a, const std::string& b) {
    return "{" + entry("a", R"("dtype":"U8","shape":[4],"data_offsets":)" + a) + "," +
           entry("b", R"("dtype":"U8","shape":[4],"data_offsets":)" + b) + "}";
  };
  EXPECT_EQ(Parsed(file_of(offsets("[0,4]", "[4,8]"), "12345678")).status, MHA_OK);
  expect_bad(file_of(offsets("[0,4]", "[3,7]"), "1234567"), "inside");
  expect_bad(file_of(offsets("[0,4]", "[0,4]"), "1234"), "inside");
  expect_bad(file_of(offsets("[0,4]", "[5,9]"), "123456789"), "gap");
  expect_bad(file_of(offsets("[1,5]", "[5,9]"), "123456789"), "gap");
  expect_bad(file_of(offsets("[0,4]", "[4,8]"), "1234567"), "cut short");
  expect_bad(file_of(offsets("[0,4]", "[8,4]"), "12345678"), "need 4 bytes");
  expect_bad(file_of(offsets("[0,4]", "[4,9]"), "123456789"), "need 4 bytes");
  expect_bad(file_of(offsets("[0,4]", "[4]"), "1234"), "1 data_offsets");
  expect_bad(file_of(offsets("[0,4]", "[4,8,8]"), "12345678"), "3 data_offsets");
  expect_bad(file_of(offsets("[0,4]", "[-4,0]"), "12345678"), "integer");
  expect_bad(file_of(offsets("[0,4]", "[4.0,8]"), "12345678"), "integer");
  expect_bad(file_of(offsets("[0,4]", "[9223372036854775804,9223372036854775808]"), "1234"),
             "2^63");
  expect_bad(file_of(offsets("[0,4]", "[9223372036854775803,9223372036854775807]"), "1234"), "gap");
}

TEST(Safetensors, Shapes) {
  const auto shaped = [](const std::string& shape, const std::string& dtype = "F32") {
    return file_of("{" +
                       entry("a", R"("dtype":")" + dtype + R"(","shape":)" + shape +
                                      R"(,"data_offsets":[0,4])") +
                       "}",
                   "1234");
  };
  EXPECT_EQ(Parsed(shaped("[1]")).status, MHA_OK);
  EXPECT_EQ(Parsed(shaped("[1,1,1,1,1,1,1,1]")).status, MHA_OK);
  expect_bad(shaped("[1,1,1,1,1,1,1,1,1]"), "9 axes");
  expect_bad(shaped("[2]"), "need 8 bytes");
  expect_bad(shaped("[4294967296,4294967296]"), "impossible");
  expect_bad(shaped("[2305843009213693953]"), "impossible");
  expect_bad(shaped("[4611686018427387904,4]"), "impossible");
  expect_bad(shaped("[-1]"), "integer");
  expect_bad(shaped("[1e0]"), "integer");
  expect_bad(shaped("[01]"), "integer");
  expect_bad(shaped("[\"1\"]"), "integer");
  expect_bad(shaped("1"), "expected '['");
  expect_bad(shaped("[1,]"), "integer");
  expect_bad(shaped("[1"), "integer");
  expect_bad(shaped("[1 1]"), "expected ','");
  expect_bad(shaped("[1]", "F31"), "unknown");
  expect_bad(shaped("[1]", "f32"), "unknown");
  expect_bad(shaped("[1]", ""), "unknown");
  expect_bad(shaped("[7]", "F4"), "whole bytes");
}

TEST(Safetensors, MissingAndRepeatedKeys) {
  const auto one = [](const std::string& rest) {
    return file_of("{" + entry("a", rest) + "}", "1234");
  };
  expect_bad(one(R"("shape":[1],"data_offsets":[0,4])"), "no dtype");
  expect_bad(one(R"("dtype":"F32","data_offsets":[0,4])"), "no shape");
  expect_bad(one(R"("dtype":"F32","shape":[1])"), "no data_offsets");
  expect_bad(one(R"("dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4])"),
             "'dtype' twice");
  expect_bad(one(R"("dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4])"), "'shape' twice");
  expect_bad(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"data_offsets":[0,4])"),
             "'data_offsets' twice");
  expect_bad(file_of(R"({"__metadata__":{},"__metadata__":{}})", ""), "__metadata__ twice");
  expect_bad(file_of(R"({"__metadata__":{"a":1}})", ""), "expected a string");
}

TEST(Safetensors, RepeatedNames) {
  const std::string empty = R"("dtype":"F32","shape":[0],"data_offsets":[0,0])";
  expect_bad(file_of("{" + entry("a", empty) + "," + entry("a", empty) + "}", ""), "two tensors");
  // Also when one is written with an escape.
  expect_bad(file_of("{" + entry("a", empty) + "," + entry(R"(\u0061)", empty) + "}", ""),
             "two tensors");
}

TEST(Safetensors, Strings) {
  const auto named = [](const std::string& name) {
    return file_of("{" + four_bytes(name) + "}", "1234");
  };
  EXPECT_EQ(Parsed(named("ok")).status, MHA_OK);
  expect_bad(named("\xFF"), "UTF-8");
  expect_bad(named("\xC3"), "UTF-8");
  expect_bad(named("\xC0\x80"), "UTF-8");
  expect_bad(named("\xE0\x80\x80"), "UTF-8");
  expect_bad(named("\xED\xA0\x80"), "UTF-8");
  expect_bad(named("\xF4\x90\x80\x80"), "UTF-8");
  expect_bad(named("\xF8\x88\x80\x80\x80"), "UTF-8");
  expect_bad(named(std::string("a\0b", 3)), "control character");
  expect_bad(named("a\nb"), "control character");
  expect_bad(file_of("{\"__metadata__\":{\"a\":\"\t\"}}", ""), "control character");
  expect_bad(named(R"(a\u0000b)"), "NUL");
  expect_bad(named(R"(a\u001bb)"), "control characters");
  expect_bad(named(R"(\ud800)"), "surrogate");
  expect_bad(named(R"(\udc00)"), "surrogate");
  expect_bad(named(R"(\ud800\u0041)"), "surrogate");
  expect_bad(named(R"(\u12g4)"), "hexadecimal");
  expect_bad(named(R"(\x41)"), "escape");
}

TEST(Safetensors, Json) {
  for (const char* header : {"",
                             " {}",
                             "[]",
                             "{",
                             "{\"a\"",
                             "{\"a\":",
                             "{,}",
                             "{\"a\":1}",
                             "{}x",
                             "{}{}",
                             "{\"__metadata__\":{},}",
                             "{'a':{}}",
                             "{\"a\":null}",
                             "{\"\\",
                             "{\"\\u",
                             "{\"\\u12",
                             "nul",
                             "{\"a\":{\"b\":nulx}}",
                             "{\"a\":{\"b\":-}}",
                             "{\"a\":{\"b\":1.}}",
                             "{\"a\":{\"b\":1e}}",
                             "{\"a\":{\"b\":+1}}",
                             "{\"a\":{\"b\":}}",
                             "{\"a\":{\"b\":[1 2]}}"}) {
    expect_bad(file_of(header, ""), "header");
  }
  // Deep nesting must not use the stack up.
  expect_bad(file_of("{\"a\":{\"b\":" + std::string(1'000'000, '['), ""), "too deep");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  expect_bad(file_of("{\"a\":{\"b\":" + objects, ""), "too deep");
}

TEST(Safetensors, ManyTensors) {
  FileBuilder builder;
  for (int i = 0; i < 3000; ++i) {
    builder.add("layer." + std::to_string((i * 7919) % 3000), "U8", {1},
                std::string(1, static_cast<char>(i)));
  }
  const Parsed parsed(builder.bytes());
  ASSERT_EQ(parsed.status, MHA_OK) << parsed.message;
  for (int i = 0; i < 3000; ++i) {
    mha_safetensors_tensor tensor;
    ASSERT_EQ(mha_safetensors_find(parsed.file,
                                   ("layer." + std::to_string((i * 7919) % 3000)).c_str(), &tensor),
              MHA_OK);
    EXPECT_EQ(*static_cast<const char*>(tensor.data), static_cast<char>(i));
  }
}

TEST(Safetensors, NullArguments) {
  mha_safetensors* file = nullptr;
  mha_safetensors_tensor tensor;
  EXPECT_EQ(mha_safetensors_parse(nullptr, 10, &file), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(mha_safetensors_parse("", 0, nullptr), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(mha_safetensors_open(nullptr, &file), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(mha_safetensors_open("x", nullptr), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(mha_safetensors_get(nullptr, 0, &tensor), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(mha_safetensors_find(nullptr, "a", &tensor), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(mha_safetensors_count(nullptr), 0u);
  mha_safetensors_close(nullptr);
}

TEST(SafetensorsFile, Opens) {
  const TestFolder folder;
  FileBuilder builder;
  builder.add("a", "F32", {2}, std::vector<float>{1, 2}).add("b", "U8", {3}, std::string("abc"));
  const std::string path = folder.write("no ending", builder.bytes());
  mha_safetensors* file = nullptr;
  ASSERT_EQ(mha_safetensors_open(path.c_str(), &file), MHA_OK) << mha_last_message();
  // The file may go away.
  std::filesystem::remove(path);
  mha_safetensors_tensor tensor;
  ASSERT_EQ(mha_safetensors_find(file, "a", &tensor), MHA_OK);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data) % 64, 0u);
  EXPECT_EQ(static_cast<const float*>(tensor.data)[1], 2.0f);
  ASSERT_EQ(mha_safetensors_find(file, "b", &tensor), MHA_OK);
  EXPECT_EQ(memcmp(tensor.data, "abc", 3), 0);
  mha_safetensors_close(file);
}

TEST(SafetensorsFile, Refuses) {
  const TestFolder folder;
  FileBuilder builder;
  builder.add("a", "F32", {2}, std::vector<float>{1, 2});
  const std::string good = builder.bytes();
  mha_safetensors* file = nullptr;
  const auto refused = [&](const std::string& path, mha_status status, const std::string& reason) {
    EXPECT_EQ(mha_safetensors_open(path.c_str(), &file), status) << path;
    EXPECT_EQ(file, nullptr);
    const std::string message = mha_last_message();
    EXPECT_NE(message.find(path), std::string::npos) << message;
    EXPECT_NE(message.find(reason), std::string::npos) << message;
  };
  refused(folder.path("absent"), MHA_IO_ERROR, "No such file");
  refused(folder.path("."), MHA_IO_ERROR, "not a regular file");
  ASSERT_EQ(mkfifo(folder.path("pipe").c_str(), 0600), 0);
  refused(folder.path("pipe"), MHA_IO_ERROR, "not a regular file");
  refused("/dev/zero", MHA_IO_ERROR, "not a regular file");
  refused(folder.write("empty", ""), MHA_BAD_FILE, "0 bytes");
  refused(folder.write("cut", good.substr(0, good.size() - 1)), MHA_BAD_FILE, "cut short");
  refused(folder.write("header", good.substr(0, 20)), MHA_BAD_FILE, "header");
  refused(folder.write("long", good + "x"), MHA_BAD_FILE, "belong to no tensor");
  refused(folder.write("huge", std::string(8, '\xFF')), MHA_BAD_FILE, "header");
}

TEST(SafetensorsFile, EveryTruncationIsRefused) {
  const TestFolder folder;
  FileBuilder builder;
  builder.add("a", "F32", {2}, std::vector<float>{1, 2}).add("b", "U8", {3}, std::string("abc"));
  const std::string bytes = builder.bytes();
  const std::string path = folder.write("file", bytes);
  for (size_t length = bytes.size(); length-- > 0;) {
    ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(length)), 0);
    mha_safetensors* file = nullptr;
    EXPECT_EQ(mha_safetensors_open(path.c_str(), &file), MHA_BAD_FILE) << length;
    EXPECT_EQ(file, nullptr);
  }
}

// A file that another process cuts short after it was opened: wherever the end is met, in the
// header or in the data, it is a status. (Were files mapped, it would be a SIGBUS.)
TEST(SafetensorsFile, ShrinksWhileItIsRead) {
  const TestFolder folder;
  FileBuilder builder;
  builder.add("a", "F32", {2}, std::vector<float>{1, 2}).add("b", "U8", {3}, std::string("abc"));
  const std::string bytes = builder.bytes();
  for (size_t length = 0; length <= bytes.size(); ++length) {
    const std::string path = folder.write("file", bytes);
    int descriptor = -1;
    uint64_t size = 0;
    ASSERT_EQ(mha_internal_open(path.c_str(), &descriptor, &size), MHA_OK);
    ASSERT_EQ(size, bytes.size());
    ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(length)), 0);
    mha_safetensors* file = nullptr;
    uint64_t offset = 0;
    mha_status status = mha_internal_read_header(descriptor, size, &file, &offset);
    EXPECT_EQ(status == MHA_OK, length >= bytes.size() - 11) << length;
    if (status == MHA_OK) {
      std::string data(size - offset, '?');
      status = mha_internal_read(descriptor, offset, data.data(), data.size());
    }
    EXPECT_EQ(status, length == bytes.size() ? MHA_OK : MHA_BAD_FILE) << length;
    if (status != MHA_OK) {
      EXPECT_STREQ(mha_last_message(), "the file became shorter while it was read");
    }
    mha_safetensors_close(file);
    close(descriptor);
  }
}

// A sanitizer's allocator ends the process where malloc would return NULL.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(SafetensorsFile, TooLargeForTheMemoryIsAStatus) {
  const TestFolder folder;
  const int64_t size = int64_t{1} << 40;
  const std::string header =
      "{" +
      entry("a", R"("dtype":"U8","shape":[)" + std::to_string(size) + R"(],"data_offsets":[0,)" +
                     std::to_string(size) + "]") +
      "}";
  const std::string path = folder.write("sparse", file_of(header, ""));
  if (truncate(path.c_str(), static_cast<off_t>(8 + header.size()) + size) != 0) {
    GTEST_SKIP() << "the file system has no room for a sparse file of 2^40 bytes";
  }
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit = {1u << 30, 1u << 30};
    setrlimit(RLIMIT_AS, &limit);
    mha_safetensors* file = nullptr;
    _exit(mha_safetensors_open(path.c_str(), &file) == MHA_OUT_OF_MEMORY && file == nullptr ? 0
                                                                                            : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#endif

}  // namespace
}  // namespace mha
