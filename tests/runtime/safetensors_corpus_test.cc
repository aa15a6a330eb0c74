// The corpus of safetensors files that the fuzzer starts from, tests/fuzz/corpus/safetensors, as a
// table: what each file holds and what the reader makes of it. A file that the fuzzer found, and
// that is kept, has no row: it is read, and whatever comes of it is fine.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <sstream>

#include "mha/mha.h"
#include "tests/runtime/file_builder.h"

namespace mha {
namespace {

const std::filesystem::path kCorpus =
    std::filesystem::path(MHA_SOURCE_DIR) / "tests" / "fuzz" / "corpus" / "safetensors";

// A header with one tensor "a", and four bytes behind it.
std::string one(const std::string& fields) { return file_of("{\"a\":{" + fields + "}}", "1234"); }
// Two tensors of four bytes, at the given places, and `data` behind them.
std::string two(const std::string& a, const std::string& b, const std::string& data) {
  const std::string fields = R"("dtype":"U8","shape":[4],"data_offsets":)";
  return file_of("{\"a\":{" + fields + a + "},\"b\":{" + fields + b + "}}", data);
}
std::string shaped(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return one("\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets);
}
std::string named(const std::string& name) {
  return file_of("{\"" + name + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "1234");
}
std::string with_length(uint64_t length, const std::string& rest) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[static_cast<size_t>(i)] = static_cast<char>(length >> (8 * i));
  return bytes + rest;
}
std::string metadata(const std::string& value) {
  return file_of("{\"__metadata__\":" + value + "}", "");
}
std::string many(const std::string& part, size_t count) {
  std::string text;
  while (count-- > 0) text += part;
  return text;
}

struct File {
  std::string name, bytes;
  std::string reason;  // part of the message; empty: the file is good
};

std::vector<File> make_files() {
  const std::string fields = R"("dtype":"F32","shape":[1],"data_offsets":[0,4])";
  const std::string whole = one(fields);
  return {
      {"good_one", whole, ""},
      {"good_empty", file_of("{}", ""), ""},
      {"good_padded_header", file_of("{}     ", ""), ""},
      {"good_two", two("[4,8]", "[0,4]", "12345678"), ""},
      {"good_metadata", metadata(R"({"format":"pt","":"\u00e9"})"), ""},
      {"good_zero_size",
       file_of(R"({"a":{"dtype":"F32","shape":[4,0],"data_offsets":[0,0]},)"
               R"("b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
               "1"),
       ""},
      {"good_scalar", shaped("\"F32\"", "[]", "[0,4]"), ""},
      {"good_axes", shaped("\"U8\"", "[1,4,1,1,1,1,1,1]", "[0,4]"), ""},
      {"good_other_dtype", shaped("\"F8_E4M3\"", "[4]", "[0,4]"), ""},
      {"good_escapes", named(R"(a\"b\\c\/\u00e9\uD83D\uDE00)"), ""},
      {"good_utf8", named("gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80"), ""},
      {"good_unknown_key", one(fields + R"(,"note":{"x":[1,-2.5e+3,true,null,"s"]})"), ""},

      {"nothing", "", "no safetensors file"},
      {"seven_bytes", "1234567", "no safetensors file"},
      {"length_zero", with_length(0, ""), "does not begin"},
      {"length_2_64_minus_1", with_length(UINT64_MAX, "{}"), "18446744073709551615"},
      {"length_2_63", with_length(uint64_t{1} << 63, "{}"), "9223372036854775808"},
      // Together with the eight bytes before it, it wraps to 2.
      {"length_wraps", with_length(UINT64_MAX - 5, "{}"), "18446744073709551610"},
      {"length_one_more", with_length(3, "{}"), "says it has 3"},
      {"length_of_the_file", with_length(10, "{}"), "says it has 10"},
      {"length_one_less", with_length(whole.size() - 13, whole.substr(8)), "not valid JSON"},
      {"length_above_most", with_length(100'000'001, "{}"), "100000000 is the most"},

      {"cut_in_the_data", whole.substr(0, whole.size() - 1), "cut short"},
      {"cut_before_the_data", whole.substr(0, whole.size() - 4), "cut short"},
      {"rest", whole + "5", "1 bytes that belong to no tensor"},
      {"hole_first", two("[1,5]", "[5,9]", "123456789"), "gap"},
      {"hole_between", two("[0,4]", "[5,9]", "123456789"), "gap"},
      {"hole_last", two("[0,4]", "[4,8]", "123456789"), "belong to no tensor"},
      {"overlap", two("[0,4]", "[3,7]", "1234567"), "inside"},
      {"overlap_whole", two("[0,4]", "[0,4]", "1234"), "inside"},
      {"overlap_zero_size",
       file_of(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
               R"("b":{"dtype":"U8","shape":[0],"data_offsets":[2,2]}})",
               "1234"),
       "inside"},
      {"offsets_backwards", two("[0,4]", "[8,4]", "12345678"), "need 4 bytes"},
      {"offsets_beyond", two("[0,4]", "[4,9]", "12345678"), "need 4 bytes"},
      {"offsets_wrap_to_0", two("[0,4]", "[18446744073709551612,18446744073709551616]", "1234"),
       "2^63"},
      {"offsets_near_2_63", two("[0,4]", "[9223372036854775803,9223372036854775807]", "1234"),
       "gap"},
      {"offsets_negative", two("[0,4]", "[-4,0]", "1234"), "integer"},
      {"offsets_minus_0", shaped("\"F32\"", "[1]", "[-0,4]"), "integer"},
      {"offsets_float", shaped("\"F32\"", "[1]", "[0,4.0]"), "integer"},
      {"offsets_exponent", shaped("\"F32\"", "[1]", "[0,4e0]"), "integer"},
      {"offsets_text", shaped("\"F32\"", "[1]", "\"0,4\""), "expected '['"},
      {"offsets_one", shaped("\"F32\"", "[1]", "[4]"), "1 data_offsets"},
      {"offsets_three", shaped("\"F32\"", "[1]", "[0,4,8]"), "3 data_offsets"},

      {"shape_of_more_bytes", shaped("\"F32\"", "[2]", "[0,4]"), "need 8 bytes"},
      // 2^64 bytes are 0 in 64 bits, and so are 2^66 bits of one axis.
      {"shape_wraps_to_0", shaped("\"U8\"", "[4294967296,4294967296]", "[0,0]"), "impossible"},
      {"shape_bits_wrap_to_0", shaped("\"F32\"", "[2305843009213693952]", "[0,0]"), "impossible"},
      {"shape_bits_wrap_to_4_bytes", shaped("\"F32\"", "[2305843009213693953]", "[0,4]"),
       "impossible"},
      {"shape_of_2_63", shaped("\"U8\"", "[9223372036854775808]", "[0,4]"), "2^63"},
      {"shape_of_many_digits", shaped("\"U8\"", "[" + many("9", 400) + "]", "[0,4]"), "2^63"},
      {"shape_negative", shaped("\"F32\"", "[-1]", "[0,4]"), "integer"},
      {"shape_float", shaped("\"F32\"", "[1.0]", "[0,4]"), "integer"},
      {"shape_leading_zero", shaped("\"F32\"", "[01]", "[0,4]"), "integer"},
      {"shape_null", shaped("\"F32\"", "null", "[0,4]"), "expected '['"},
      {"shape_of_9_axes", shaped("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), "9 axes"},
      {"shape_of_1000_axes", shaped("\"F32\"", "[1" + many(",1", 999) + "]", "[0,4]"), "1000 axes"},
      {"dtype_unknown", shaped("\"F31\"", "[1]", "[0,4]"), "unknown"},
      {"dtype_lower_case", shaped("\"f32\"", "[1]", "[0,4]"), "unknown"},
      {"dtype_number", shaped("32", "[1]", "[0,4]"), "expected a string"},
      {"dtype_half_bytes", shaped("\"F4\"", "[7]", "[0,4]"), "whole bytes"},

      {"no_dtype", one(R"("shape":[1],"data_offsets":[0,4])"), "no dtype"},
      {"no_shape", one(R"("dtype":"F32","data_offsets":[0,4])"), "no shape"},
      {"no_offsets", one(R"("dtype":"F32","shape":[1])"), "no data_offsets"},
      {"shape_twice", one(R"("shape":[1],)" + fields), "'shape' twice"},
      {"name_twice", file_of("{\"a\":{" + fields + "},\"a\":{" + fields + "}}", "1234"),
       "two tensors"},
      {"name_twice_by_escape",
       file_of("{\"a\":{" + fields + "},\"\\u0061\":{" + fields + "}}", "1234"), "two tensors"},
      {"name_not_utf8", named("\xFF"), "UTF-8"},
      {"name_cut_utf8", named("\xE2\x82"), "UTF-8"},
      {"name_overlong_utf8", named("\xC0\x80"), "UTF-8"},
      {"name_utf8_surrogate", named("\xED\xA0\x80"), "UTF-8"},
      {"name_lone_surrogate", named(R"(\ud800)"), "surrogate"},
      {"name_with_nul", named(R"(a\u0000b)"), "NUL"},
      {"name_with_control", named("a\x01"), "control character"},

      {"metadata_list", metadata("[]"), "expected '{'"},
      {"metadata_text", metadata("\"pt\""), "expected '{'"},
      {"metadata_null", metadata("null"), "expected '{'"},
      {"metadata_of_numbers", metadata(R"({"a":1})"), "expected a string"},
      {"metadata_nested", metadata(R"({"a":{}})"), "expected a string"},
      {"metadata_twice", file_of(R"({"__metadata__":{},"__metadata__":{}})", ""), "twice"},

      {"header_list", file_of("[]", ""), "does not begin"},
      {"header_of_spaces", file_of("    ", ""), "does not begin"},
      {"header_after_bom", file_of("\xEF\xBB\xBF{}", ""), "does not begin"},
      {"header_after_space", file_of(" {}", ""), "does not begin"},
      {"header_then_nul", file_of(std::string("{}\0", 3), ""), "not valid JSON"},
      {"header_twice", file_of("{}{}", ""), "not valid JSON"},
      {"header_comma_last", file_of("{\"__metadata__\":{},}", ""), "not valid JSON"},
      {"header_tensor_is_a_number", file_of("{\"a\":1}", ""), "not valid JSON"},
      {"header_deep_lists", file_of("{\"a\":{\"b\":" + many("[", 5000), ""), "too deep"},
      {"header_deep_maps", file_of("{\"a\":{\"b\":" + many("{\"a\":", 1000), ""), "too deep"},
  };
}

std::string read_bytes(const std::filesystem::path& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return bytes.str();
}

TEST(SafetensorsCorpus, IsAsItWasMade) {
  std::map<std::string, std::string> on_disk;
  for (const File& file : make_files()) {
    if (std::getenv("MHA_UPDATE") != nullptr) {
      std::ofstream(kCorpus / file.name, std::ios::binary) << file.bytes;
    }
    EXPECT_TRUE(std::filesystem::exists(kCorpus / file.name) &&
                read_bytes(kCorpus / file.name) == file.bytes)
        << file.name
        << ": to write the corpus anew: MHA_UPDATE=1 runtime_test "
           "--gtest_filter=SafetensorsCorpus.*";
  }
}

TEST(SafetensorsCorpus, IsReadOrRefusedForItsReason) {
  for (const File& file : make_files()) {
    for (const bool from_file : {false, true}) {
      SCOPED_TRACE(file.name);
      mha_safetensors* opened = nullptr;
      const mha_status status =
          from_file ? mha_safetensors_open((kCorpus / file.name).c_str(), &opened)
                    : mha_safetensors_parse(file.bytes.data(), file.bytes.size(), &opened);
      const std::string message = status == MHA_OK ? "" : mha_last_message();
      EXPECT_EQ(status, file.reason.empty() ? MHA_OK : MHA_BAD_FILE) << message;
      EXPECT_NE(message.find(file.reason), std::string::npos)
          << "'" << message << "' lacks '" << file.reason << "'";
      EXPECT_EQ(opened != nullptr, status == MHA_OK);
      mha_safetensors_close(opened);
    }
  }
}

TEST(SafetensorsCorpus, OfTheFuzzerIsReadOrRefused) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kCorpus)) {
    mha_safetensors* opened = nullptr;
    const mha_status status = mha_safetensors_open(entry.path().c_str(), &opened);
    EXPECT_TRUE(status == MHA_OK || status == MHA_BAD_FILE) << entry.path();
    mha_safetensors_close(opened);
    ++count;
  }
  EXPECT_GE(count, make_files().size());
}

}  // namespace
}  // namespace mha
