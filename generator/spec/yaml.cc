#include "generator/spec/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "generator/spec/text.h"

namespace mha {
namespace {

// Ends the parse from within yaml-cpp's callbacks once the problem is noted.
struct Stop {};

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string_view text, const std::string& file, std::vector<Diagnostic>* problems)
      : text_(text), file_(file), problems_(problems), lines_(line_starts(text)) {}

  std::optional<YamlNode> take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ == 0) return;
    problem(mark, "a second YAML document starts here: a config is one");
    throw Stop{};
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_marks(mark, "", anchor);
    add(node(YamlNode::Kind::kNull, mark));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    problem(mark, "a YAML alias (*name): configs say each value where it belongs");
    YamlNode alias = node(YamlNode::Kind::kNull, mark);
    alias.bad = true;
    add(std::move(alias));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode scalar = node(YamlNode::Kind::kScalar, mark);
    scalar.bad = refuse_marks(mark, tag, anchor);
    scalar.text = value;
    scalar.quoted = tag != "?";
    // yaml-cpp takes the end of the file for the end of a quote.
    if (scalar.quoted && !quote_is_closed(scalar.offset)) {
      problem(mark, "this quote is never closed");
      throw Stop{};
    }
    add(std::move(scalar));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    refuse_marks(mark, tag, anchor);
    open(node(YamlNode::Kind::kList, mark));
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    refuse_marks(mark, tag, anchor);
    open(node(YamlNode::Kind::kMap, mark));
  }
  void OnMapEnd() override { close(); }

  void problem(const YAML::Mark& mark, std::string message) {
    problems_->push_back({location(mark), std::move(message), ""});
  }

  // Marks come in order, so a column is counted from the last one in the same line: a config of one
  // long line costs no more than one of many.
  SourceLocation location(const YAML::Mark& mark) {
    const size_t at = offset(mark);
    if (at < last_offset_ || mark.line + 1 != last_.line) {
      last_ = location_at(text_, lines_, at, file_);
    } else {
      last_.column += count_characters(text_.substr(last_offset_, at - last_offset_));
    }
    last_offset_ = at;
    return last_;
  }

 private:
  // A collection whose end has not been seen yet.
  struct Open {
    YamlNode node;
    std::set<std::string> names;       // of a map's keys, for duplicates
    std::optional<YamlNode::Key> key;  // read, its value not yet
    bool drop_value = false;           // the key is no good
  };

  size_t offset(const YAML::Mark& mark) const {
    if (mark.is_null()) return 0;
    const size_t line = static_cast<size_t>(mark.line);
    if (line >= lines_.size()) return text_.size();
    return std::min(lines_[line] + static_cast<size_t>(mark.column), text_.size());
  }
  YamlNode node(YamlNode::Kind kind, const YAML::Mark& mark) {
    YamlNode result;
    result.kind = kind;
    result.where = location(mark);
    result.offset = offset(mark);
    return result;
  }

  // Whether a scalar that starts here with a quote also ends with one.
  bool quote_is_closed(size_t at) const {
    if (at >= text_.size() || (text_[at] != '"' && text_[at] != '\'')) return true;
    const char quote = text_[at];
    for (size_t i = at + 1; i < text_.size(); ++i) {
      const bool doubled = quote == '\'' && text_.substr(i, 2) == "''";
      if (doubled || (quote == '"' && text_[i] == '\\')) {
        ++i;
      } else if (text_[i] == quote) {
        return true;
      }
    }
    return false;
  }

  // Returns whether there is a tag, after which the value means something else.
  bool refuse_marks(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    // The parser reports `! x` like a quoted x; the text tells them apart, as a marked node starts
    // with its mark.
    const size_t at = offset(mark);
    const bool bang = at < text_.size() && text_[at] == '!';
    if (anchor != 0) {
      problem(mark, "a YAML anchor (&name): configs have none, as they have no aliases");
    }
    if (bang || (!tag.empty() && tag != "?" && tag != "!")) {
      problem(mark, "a YAML tag (!name): the type of a value follows from its key");
      return true;
    }
    return false;
  }

  void open(YamlNode node) {
    if (static_cast<int>(stack_.size()) >= kMaxConfigDepth) {
      problems_->push_back({node.where,
                            "nested too deep: more than " + std::to_string(kMaxConfigDepth) +
                                " levels of lists and maps",
                            ""});
      throw Stop{};
    }
    stack_.push_back({std::move(node), {}, std::nullopt, false});
  }
  void close() {
    YamlNode done = std::move(stack_.back().node);
    stack_.pop_back();
    add(std::move(done));
  }

  // A finished node goes into the collection around it: as an item, a key, or the value of the last
  // key.
  void add(YamlNode node) {
    if (stack_.empty()) {
      if (!root_) root_ = std::move(node);
      return;
    }
    Open& parent = stack_.back();
    if (parent.node.kind == YamlNode::Kind::kList) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.key) {
      add_key(&parent, node);
    } else {
      if (!parent.drop_value) {
        parent.node.keys.push_back(*parent.key);
        parent.node.items.push_back(std::move(node));
      }
      parent.key.reset();
    }
  }
  void add_key(Open* parent, const YamlNode& node) {
    parent->key = YamlNode::Key{node.text, node.where, false};
    parent->drop_value = true;
    if (node.kind != YamlNode::Kind::kScalar) {
      problems_->push_back({node.where, "a key must be a plain word", ""});
    } else if (!parent->names.insert(node.text).second) {
      const int first = parent->node.find(node.text);
      std::string message = "key " + quote(node.text) + " is given twice";
      if (first >= 0) {
        message += ": the first is in line " +
                   std::to_string(parent->node.keys[static_cast<size_t>(first)].where.line);
      }
      problems_->push_back({node.where, std::move(message), ""});
    } else {
      parent->drop_value = false;
    }
  }

  std::string_view text_;
  const std::string& file_;
  std::vector<Diagnostic>* problems_;
  std::vector<size_t> lines_;
  SourceLocation last_;
  size_t last_offset_ = 0;
  std::vector<Open> stack_;
  std::optional<YamlNode> root_;
  int documents_ = 0;
};

// yaml-cpp's words for the commonest mistakes, in terms of what the user sees.
Diagnostic explain(const SourceLocation& where, const std::string& message) {
  static const std::map<std::string, std::pair<const char*, const char*>> kExplanations = {
      {"illegal map value",
       {"a `:` where no key can be",
        "check the indentation and the line before; quote a text that has `: `"}},
      {"end of map not found",
       {"expected `key: value`", "check the indentation and the line before"}},
      {"end of map flow not found", {"a `{` is not closed", "add the `}` or a comma"}},
      {"end of sequence flow not found", {"a `[` is not closed", "add the `]` or a comma"}},
      {"end of sequence not found", {"expected `- item`", "check the indentation"}},
      {"illegal flow end", {"a `]` or `}` that closes nothing", ""}},
      {"illegal EOF in scalar", {"a quote is not closed", ""}},
      {"illegal tab when looking for indentation",
       {"a tab in the indentation", "indent with spaces"}},
      {"unknown token", {"no value starts with this character", "put the value in quotes"}},
      {"the referenced anchor is not defined",
       {"a YAML alias (*name): configs say each value where it belongs", ""}}};
  const auto found = kExplanations.find(message);
  if (found == kExplanations.end()) return {where, "not valid YAML: " + message, ""};
  return {where, std::string("not valid YAML: ") + found->second.first, found->second.second};
}

// What yaml-cpp would misread in silence: it takes byte 4 for the end of the file, guesses UTF-16,
// and passes control characters and broken UTF-8 on.
bool check_bytes(std::string_view text, const std::string& file,
                 std::vector<Diagnostic>* problems) {
  const std::optional<size_t> bad = find_bad_byte(text);
  if (!bad) return true;
  const unsigned char byte = static_cast<unsigned char>(text[*bad]);
  std::string message = byte >= 0x80 ? "not UTF-8: byte " : "a control character: byte ";
  constexpr char kHex[] = "0123456789abcdef";
  message += std::string("0x") + kHex[byte >> 4] + kHex[byte & 15];
  problems->push_back({location_at(text, line_starts(text), *bad, file), std::move(message),
                       "save the config as UTF-8 text"});
  return false;
}

}  // namespace

int YamlNode::find(std::string_view name) const {
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

std::optional<YamlNode> read_yaml(std::string_view text, const std::string& file,
                                  std::vector<Diagnostic>* problems) {
  if (text.size() > kMaxConfigBytes) {
    problems->push_back({{file, 1, 1},
                         "the config has " + std::to_string(text.size()) +
                             " bytes: at most 1 MiB (1048576 bytes) is read",
                         ""});
    return std::nullopt;
  }
  if (!check_bytes(text, file, problems)) return std::nullopt;

  TreeBuilder builder(text, file, problems);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    // The second call must find nothing: a document after the first is refused by the builder.
    if (parser.HandleNextDocument(builder)) parser.HandleNextDocument(builder);
  } catch (const Stop&) {
    return std::nullopt;
  } catch (const YAML::Exception& error) {
    problems->push_back(explain(builder.location(error.mark), error.msg));
    return std::nullopt;
  }

  std::optional<YamlNode> root = builder.take_root();
  if (!root || root->kind == YamlNode::Kind::kNull) {
    if (problems->empty()) {
      problems->push_back({{file, 1, 1}, "the config is empty", "see docs/spec.md for an example"});
    }
    return std::nullopt;
  }
  if (root->kind != YamlNode::Kind::kMap) {
    problems->push_back({root->where, "a config is a map, one `key: value` a line", ""});
    return std::nullopt;
  }
  return root;
}

}  // namespace mha
