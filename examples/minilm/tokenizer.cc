#include "examples/minilm/tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "examples/minilm/unicode.h"
#include "generator/spec/error.h"
#include "tools/common/files.h"

namespace mha::minilm {
namespace {

using Json = nlohmann::json;

void require(bool condition, const std::string& message) {
  if (!condition) throw UserError(message);
}

// The settings that this tokenizer implements; another one would give other tokens without a word.
void check_kind(const Json& file) {
  const Json& normalizer = file.at("normalizer");
  const Json& model = file.at("model");
  require(normalizer.at("type") == "BertNormalizer", "the normalizer is not BertNormalizer");
  require(normalizer.at("clean_text") == true && normalizer.at("handle_chinese_chars") == true &&
              normalizer.at("lowercase") == true,
          "the normalizer must clean text, part Chinese characters and lower the case");
  // null: as `lowercase` says.
  require(normalizer.at("strip_accents").is_null() || normalizer.at("strip_accents") == true,
          "the normalizer must strip accents");
  require(file.at("pre_tokenizer").at("type") == "BertPreTokenizer",
          "the pre-tokenizer is not BertPreTokenizer");
  require(!model.contains("type") || model.at("type") == "WordPiece", "the model is not WordPiece");
}

}  // namespace

Tokenizer Tokenizer::load(const std::string& path) {
  try {
    Json file = Json::parse(read_file(path));
    check_kind(file);
    const Json& model = file.at("model");
    const Json& vocabulary = model.at("vocab");
    require(vocabulary.is_object(), "model.vocab is not a map");

    Tokenizer tokenizer;
    tokenizer.pieces_.resize(vocabulary.size());
    std::vector<bool> seen(vocabulary.size());
    for (const auto& [piece, value] : vocabulary.items()) {
      int64_t id = value.get<int64_t>();
      require(id >= 0 && static_cast<size_t>(id) < seen.size() && !seen[static_cast<size_t>(id)],
              "the ids of model.vocab are not 0, 1, 2, ...");
      seen[static_cast<size_t>(id)] = true;
      tokenizer.pieces_[static_cast<size_t>(id)] = piece;
      tokenizer.ids_.emplace(piece, static_cast<int32_t>(id));
    }
    auto id_of = [&](const std::string& piece) {
      auto found = tokenizer.ids_.find(piece);
      require(found != tokenizer.ids_.end(), "the vocabulary has no " + piece);
      return found->second;
    };
    tokenizer.unknown_ = id_of(model.at("unk_token").get<std::string>());
    tokenizer.first_ = id_of("[CLS]");
    tokenizer.last_ = id_of("[SEP]");
    tokenizer.continuation_ = model.at("continuing_subword_prefix").get<std::string>();
    tokenizer.max_word_characters_ = model.at("max_input_chars_per_word").get<size_t>();
    for (const Json& token : file.at("added_tokens")) {
      auto content = token.at("content").get<std::string>();
      require(token.at("normalized") == false && token.at("single_word") == false &&
                  token.at("lstrip") == false && token.at("rstrip") == false,
              "the added token " + content + " has options that are not supported");
      require(!content.empty() && id_of(content) == token.at("id").get<int32_t>(),
              "the added token " + content + " is not in model.vocab");
      tokenizer.specials_.push_back({decode_utf8(content), id_of(content)});
    }
    if (const Json& truncation = file.at("truncation"); truncation.is_object()) {
      tokenizer.default_max_tokens_ = truncation.at("max_length").get<size_t>();
    }
    return tokenizer;
  } catch (const Json::exception& error) {
    throw UserError(path + ": not a tokenizer: " + error.what());
  } catch (const UserError& error) {
    std::string message = error.what();
    if (message.find(path) != std::string::npos) throw;  // read_file() names it already
    throw UserError(path + ": " + message);
  }
}

std::vector<std::u32string> Tokenizer::split_words(const std::u32string& text) {
  // Each step sees what the one before has made of the text: characters are dropped or parted
  // first, then folded, and only the folded ones are looked at for punctuation (U+037E, a Greek
  // question mark, folds to ';').
  std::vector<std::u32string> words;
  std::u32string word;
  auto end_word = [&] {
    if (!word.empty()) words.push_back(std::move(word));
    word.clear();
  };
  std::u32string folded;
  for (char32_t c : text) {
    if (c == 0xFFFD || is_control(c)) continue;
    if (is_whitespace(c)) {
      end_word();
      continue;
    }
    bool alone = is_cjk(c);
    if (alone) end_word();
    folded.clear();
    append_folded(c, &folded);
    for (char32_t f : folded) {
      if (is_whitespace(f)) {
        end_word();
      } else if (is_punctuation(f)) {
        end_word();
        words.push_back({f});
      } else {
        word.push_back(f);
      }
    }
    if (alone) end_word();
  }
  end_word();
  return words;
}

// Greedy: the longest piece of the vocabulary that starts the word, then the longest that continues
// it, and so on. A word that cannot be spelt to its end is unknown as a whole.
void Tokenizer::append_word(const std::u32string& word, std::vector<int32_t>* ids) const {
  if (word.size() > max_word_characters_) {
    ids->push_back(unknown_);
    return;
  }
  std::string bytes;
  std::vector<size_t> ends = {0};  // ends[i]: bytes of the first i characters
  for (char32_t c : word) {
    append_utf8(c, &bytes);
    ends.push_back(bytes.size());
  }
  const size_t before = ids->size();
  for (size_t start = 0; start < word.size();) {
    size_t end = word.size();
    for (; end > start; --end) {
      std::string piece = start > 0 ? continuation_ : std::string();
      piece.append(bytes, ends[start], ends[end] - ends[start]);
      auto found = ids_.find(piece);
      if (found == ids_.end()) continue;
      ids->push_back(found->second);
      break;
    }
    if (end == start) {
      ids->resize(before);
      ids->push_back(unknown_);
      return;
    }
    start = end;
  }
}

void Tokenizer::append_text(const std::u32string& text, std::vector<int32_t>* ids) const {
  for (const std::u32string& word : split_words(text)) append_word(word, ids);
}

Tokens Tokenizer::encode(std::string_view text, size_t max_tokens) const {
  require(max_tokens >= 2, "there must be room for [CLS] and [SEP]");
  const std::u32string characters = decode_utf8(text);
  std::vector<int32_t> ids = {first_};
  size_t start = 0;  // of the ordinary text after the last special token
  for (size_t at = 0; at < characters.size();) {
    const Special* found = nullptr;
    for (const Special& special : specials_) {
      if (characters.compare(at, special.content.size(), special.content) == 0 &&
          (found == nullptr || special.content.size() > found->content.size())) {
        found = &special;
      }
    }
    if (found == nullptr) {
      ++at;
      continue;
    }
    append_text(characters.substr(start, at - start), &ids);
    ids.push_back(found->id);
    at += found->content.size();
    start = at;
  }
  append_text(characters.substr(start), &ids);

  Tokens tokens;
  tokens.truncated = ids.size() > max_tokens - 1;
  ids.resize(std::min(ids.size(), max_tokens - 1));
  ids.push_back(last_);
  for (int32_t id : ids) tokens.pieces.push_back(pieces_[static_cast<size_t>(id)]);
  tokens.ids = std::move(ids);
  return tokens;
}

}  // namespace mha::minilm
