// BERT's WordPiece tokenizer, set up from a model's tokenizer.json.
#ifndef MHA_EXAMPLES_MINILM_TOKENIZER_H_
#define MHA_EXAMPLES_MINILM_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace mha::minilm {

struct Tokens {
  std::vector<int32_t> ids;         // [CLS] first, [SEP] last
  std::vector<std::string> pieces;  // the vocabulary's spelling of each id
  bool truncated = false;           // the text had more pieces than max_tokens
};

class Tokenizer {
 public:
  // Reads tokenizer.json. Throws UserError when it is missing, damaged, or describes another kind
  // of tokenizer.
  static Tokenizer load(const std::string& path);

  // [CLS] text [SEP], cut to max_tokens (both included). Throws UserError when `text` is not UTF-8.
  Tokens encode(std::string_view text, size_t max_tokens) const;

  // The words that `text` is cut into before the vocabulary is asked: cleaned, lower case, without
  // accents.
  static std::vector<std::u32string> split_words(const std::u32string& text);

  size_t vocabulary_size() const { return pieces_.size(); }
  // What tokenizer.json says for its truncation; 0: nothing.
  size_t default_max_tokens() const { return default_max_tokens_; }

 private:
  struct Special {
    std::u32string content;
    int32_t id;
  };

  void append_word(const std::u32string& word, std::vector<int32_t>* ids) const;
  void append_text(const std::u32string& text, std::vector<int32_t>* ids) const;

  std::unordered_map<std::string, int32_t> ids_;
  std::vector<std::string> pieces_;
  std::vector<Special> specials_;  // "[MASK]" and the like, found in the text as it was typed
  std::string continuation_;       // "##"
  size_t max_word_characters_ = 100;
  size_t default_max_tokens_ = 0;
  int32_t unknown_ = 0, first_ = 0, last_ = 0;  // [UNK], [CLS], [SEP]
};

}  // namespace mha::minilm

#endif  // MHA_EXAMPLES_MINILM_TOKENIZER_H_
