#include "examples/minilm/tokenizer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "examples/minilm/tests/model_files.h"
#include "examples/minilm/unicode.h"
#include "generator/spec/error.h"
#include "tools/common/files.h"

namespace mha::minilm {
namespace {

using Json = nlohmann::json;

std::string hex(const std::string& text) {
  std::string digits;
  for (unsigned char byte : text)
    digits += "0123456789abcdef"[byte >> 4], digits += "0123456789abcdef"[byte & 15];
  return digits;
}

// tokenizer_golden.json holds what the tokenizer that the model came with makes of hostile texts.
TEST(Tokenizer, AgreesWithTheModelsOwn) {
  MHA_NEED_MODEL(model);
  const Tokenizer tokenizer = Tokenizer::load(model + "/tokenizer.json");
  const Json golden = Json::parse(read_file(test_file("tokenizer_golden.json")));
  ASSERT_GT(golden.at("cases").size(), 50u);
  for (const Json& one : golden.at("cases")) {
    const auto text = one.at("text").get<std::string>();
    EXPECT_EQ(tokenizer.encode(text, 256).ids, one.at("ids").get<std::vector<int32_t>>())
        << text << "\nhex " << hex(text);
  }
}

TEST(Tokenizer, CutsAtTheLimitAndSaysSo) {
  MHA_NEED_MODEL(model);
  const Tokenizer tokenizer = Tokenizer::load(model + "/tokenizer.json");
  const Tokens whole = tokenizer.encode("one two three", 5);
  EXPECT_FALSE(whole.truncated);
  EXPECT_EQ(whole.pieces, (std::vector<std::string>{"[CLS]", "one", "two", "three", "[SEP]"}));
  const Tokens cut = tokenizer.encode("one two three", 4);
  EXPECT_TRUE(cut.truncated);
  EXPECT_EQ(cut.pieces, (std::vector<std::string>{"[CLS]", "one", "two", "[SEP]"}));
}

TEST(Unicode, RefusesWhatIsNotUtf8) {
  for (const char* bad : {"\x80", "\xC0\x80", "\xC3", "a\xE2\x82", "\xED\xA0\x80",
                          "\xF4\x90\x80\x80", "\xFF", "\xF8\x88\x80\x80\x80", "\xE0\x80\xAF"}) {
    EXPECT_THROW(decode_utf8(bad), UserError) << hex(bad);
  }
  EXPECT_EQ(decode_utf8("a\u00e9\u20ac\U0001F600"), U"a\u00e9\u20ac\U0001F600");
  EXPECT_EQ(decode_utf8(std::string("\0", 1)).size(), 1u);
}

TEST(Unicode, EveryCharacterSurvivesARoundTrip) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string bytes;
    append_utf8(c, &bytes);
    ASSERT_EQ(decode_utf8(bytes), std::u32string(1, c));
  }
}

// A tokenizer of another kind must be refused: it would give other tokens without a word.
TEST(Tokenizer, RefusesDamagedAndForeignFiles) {
  MHA_NEED_MODEL(model);
  const Json good = Json::parse(read_file(model + "/tokenizer.json"));
  const std::string path = testing::TempDir() + "/minilm_tokenizer_test.json";
  auto load = [&](const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
    return Tokenizer::load(path);
  };
  EXPECT_NO_THROW(load(good.dump()));
  const std::vector<std::function<void(Json&)>> damages = {
      [](Json& j) { j["normalizer"]["type"] = "NFKC"; },
      [](Json& j) { j["normalizer"]["lowercase"] = false; },
      [](Json& j) { j["normalizer"]["strip_accents"] = false; },
      [](Json& j) { j["pre_tokenizer"] = nullptr; },
      [](Json& j) { j["model"]["vocab"]["[CLS]"] = 30522; },
      [](Json& j) { j["model"]["vocab"]["[CLS]"] = -1; },
      [](Json& j) { j["model"]["vocab"]["[CLS]"] = 0; },
      [](Json& j) { j["model"]["vocab"]["[CLS]"] = "x"; },
      [](Json& j) { j["model"]["vocab"]["the"] = j["model"]["vocab"]["a"]; },
      [](Json& j) { j["model"]["vocab"].erase("[SEP]"); },
      [](Json& j) { j["model"]["vocab"] = Json::array(); },
      [](Json& j) { j["model"].erase("unk_token"); },
      [](Json& j) { j["added_tokens"][0]["normalized"] = true; },
      [](Json& j) { j["added_tokens"][0]["content"] = ""; },
      [](Json& j) { j = 3; },
  };
  for (size_t i = 0; i < damages.size(); ++i) {
    Json bad = good;
    damages[i](bad);
    EXPECT_THROW(load(bad.dump()), UserError) << "damage " << i;
  }
  const std::string text = good.dump();
  for (size_t length : {size_t{0}, size_t{1}, text.size() / 2, text.size() - 1}) {
    EXPECT_THROW(load(text.substr(0, length)), UserError) << "cut to " << length;
  }
  std::filesystem::remove(path);
  EXPECT_THROW(Tokenizer::load(path), UserError);
}

}  // namespace
}  // namespace mha::minilm
