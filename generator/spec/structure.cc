#include "generator/spec/structure.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "generator/spec/text.h"

namespace mha {
namespace {

using Kind = YamlNode::Kind;

bool digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string_view without_sign(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return text;
}

// [sign] digits [. digits] [e [sign] digits], with a digit on at least one side of the point.
bool decimal(std::string_view text) {
  text = without_sign(text);
  const size_t e = text.find_first_of("eE");
  if (e != std::string_view::npos && !digits(without_sign(text.substr(e + 1)))) return false;
  text = text.substr(0, e);
  const size_t point = text.find('.');
  if (point == std::string_view::npos) return digits(text);
  const std::string_view before = text.substr(0, point), after = text.substr(point + 1);
  return (before.empty() || digits(before)) && (after.empty() || digits(after)) &&
         before.size() + after.size() > 0;
}

// Other ways to write a number, which some YAML readers take and some do not.
std::string odd_number(std::string_view text) {
  const std::string_view body = without_sign(text);
  if (body.size() > 2 && body[0] == '0' &&
      std::string_view("xXoObB").find(body[1]) != std::string_view::npos) {
    return "numbers are decimal";
  }
  if (body.size() > 1 && body[0] == '0' && digits(body))
    return "a leading zero: octal to some readers";
  if (body.find('_') != std::string_view::npos) {
    std::string plain(body);
    std::erase(plain, '_');
    if (digits(plain)) return "numbers have no `_`";
  }
  std::string lower(body);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (lower == ".inf" || lower == ".nan" || lower == "inf" || lower == "nan" ||
      lower == "infinity") {
    return "it must be finite";
  }
  return "";
}

std::string_view without_plus(std::string_view text) {
  if (!text.empty() && text[0] == '+') text.remove_prefix(1);
  return text;
}

// What a user gave, in words.
std::string given(const YamlNode& node) {
  switch (node.kind) {
    case Kind::kNull:
      return "nothing";
    case Kind::kList:
      return node.items.empty() ? "an empty list" : "a list";
    case Kind::kMap:
      return node.items.empty() ? "an empty map" : "a map";
    case Kind::kScalar:
      break;
  }
  if (node.text.empty()) return "an empty text";
  return (node.quoted ? "the text " : "") + quote(node.text);
}

bool is_list_kind(ValueKind kind) { return kind == ValueKind::kList; }
bool is_map_kind(ValueKind kind) { return kind == ValueKind::kMap || kind == ValueKind::kEntries; }

const KeyRule* find_key(const ValueRule& rule, std::string_view name) {
  for (const KeyRule& key : rule.keys) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

class Checker {
 public:
  explicit Checker(std::vector<Diagnostic>* problems) : problems_(problems) {}

  // Both return whether all is well; `key` is the place of the key whose value this is.
  bool value(YamlNode* node, const std::vector<ValueRule>& values, const std::string& path,
             const SourceLocation& key);
  bool map(YamlNode* node, const ValueRule& rule, const std::string& path,
           const SourceLocation& key);

 private:
  bool fail(const SourceLocation& where, std::string message, std::string hint = "") {
    problems_->push_back({where, std::move(message), std::move(hint)});
    return false;
  }
  bool scalar(const YamlNode& node, const ValueRule& rule, const std::vector<ValueRule>& values,
              const std::string& path);
  bool list(YamlNode* node, const ValueRule& rule, const std::string& path);
  bool entries(YamlNode* node, const ValueRule& rule, const std::string& path);
  bool name(const YamlNode& node, const std::string& path);
  bool table_name(const YamlNode::Key& key);

  std::vector<Diagnostic>* problems_;
};

std::string must_be(const std::string& path, const std::vector<ValueRule>& values,
                    const YamlNode& node) {
  return path + ": must be " + describe(values) + ", got " + given(node);
}

bool Checker::value(YamlNode* node, const std::vector<ValueRule>& values, const std::string& path,
                    const SourceLocation& key) {
  if (node->bad) return false;
  const SourceLocation& where = node->kind == Kind::kNull ? key : node->where;
  const ValueRule* rule = pick_rule(*node, values);
  if (rule == nullptr) {
    // Between maps the `type` decides; say so rather than list all their keys.
    const auto typed = std::count_if(values.begin(), values.end(),
                                     [](const ValueRule& v) { return is_map_kind(v.kind); });
    if (node->kind == Kind::kMap && typed > 1) {
      std::vector<std::string> types;
      for (const ValueRule& v : values) {
        const KeyRule* type = find_key(v, "type");
        if (type != nullptr) types.push_back(type->values.front().words.front());
      }
      const int at = node->find("type");
      const std::string rule_text = "must be " + join_or(types);
      if (at < 0)
        return fail(node->where, path + ": has neither `type` nor `inv_freq`", "type " + rule_text);
      const YamlNode& type = node->items[static_cast<size_t>(at)];
      const SourceLocation& place =
          type.kind == Kind::kNull ? node->keys[static_cast<size_t>(at)].where : type.where;
      return fail(place, path + ".type: " + rule_text + ", got " + given(type),
                  did_you_mean(type.text, types));
    }
    std::string hint;
    if (node->kind == Kind::kScalar && values.size() == 1 && is_list_kind(values.front().kind) &&
        !node->text.empty()) {
      hint = "write a list: [" + node->text.substr(0, 40) + "]";
    }
    return fail(where, must_be(path, values, *node), hint);
  }
  switch (rule->kind) {
    case ValueKind::kList:
      return list(node, *rule, path);
    case ValueKind::kMap:
      return map(node, *rule, path, key);
    case ValueKind::kEntries:
      return entries(node, *rule, path);
    default:
      return scalar(*node, *rule, values, path);
  }
}

bool Checker::scalar(const YamlNode& node, const ValueRule& rule,
                     const std::vector<ValueRule>& values, const std::string& path) {
  std::string why;
  const auto wrong = [&](std::string hint = "") {
    return fail(node.where, must_be(path, values, node) + (why.empty() ? "" : " (" + why + ")"),
                std::move(hint));
  };
  switch (rule.kind) {
    case ValueKind::kInt: {
      const std::optional<int64_t> number = read_int(node, &why);
      return (number && *number >= rule.min && *number <= rule.max) || wrong();
    }
    case ValueKind::kNumber: {
      const std::optional<double> number = read_number(node, &why);
      return (number &&
              (!rule.bounded || (rule.above ? *number > rule.low : *number >= rule.low))) ||
             wrong();
    }
    case ValueKind::kBool: {
      if (read_bool(node)) return true;
      static const std::set<std::string> kYes = {"yes", "Yes", "YES", "on", "On",
                                                 "ON",  "1",   "y",   "Y"};
      static const std::set<std::string> kNo = {"no",  "No", "NO", "off", "Off",
                                                "OFF", "0",  "n",  "N"};
      if (kYes.count(node.text) > 0) return wrong("write true");
      if (kNo.count(node.text) > 0) return wrong("write false");
      return wrong(did_you_mean(node.text, {"true", "false"}));
    }
    case ValueKind::kWord: {
      if (std::find(rule.words.begin(), rule.words.end(), node.text) != rule.words.end())
        return true;
      return wrong(did_you_mean(node.text, rule.words));
    }
    case ValueKind::kName:
      return name(node, path);
    case ValueKind::kText:
      if (!node.quoted && (read_bool(node) || decimal(node.text))) {
        return wrong("in quotes it is a text");
      }
      return !node.text.empty() || wrong();
    case ValueKind::kExpression:
      return (!node.text.empty() && !read_bool(node)) || wrong();
    default:
      return true;
  }
}

bool Checker::name(const YamlNode& node, const std::string& path) {
  const std::string got = path + ": " + quote(node.text) + " ";
  if (!is_identifier(node.text)) {
    std::string better = node.text.substr(0, kMaxNameLength - 1);
    for (char& c : better) {
      if (!is_identifier(std::string("_") + c)) c = '_';
    }
    if (!is_identifier(better)) better.insert(0, "_");
    const bool fits = is_identifier(better) && !is_c_keyword(better);
    return fail(node.where, got + "is no C identifier: letters, digits and _, the first no digit",
                fits ? "for example `" + better + "`" : "");
  }
  if (node.text.size() > kMaxNameLength) {
    return fail(node.where, got + "has " + std::to_string(node.text.size()) +
                                " characters, at most " + std::to_string(kMaxNameLength) +
                                " are allowed");
  }
  if (node.text.starts_with("mha") || node.text.starts_with("halide")) {
    return fail(node.where, got + "starts with mha or halide, the prefixes of our own symbols");
  }
  if (is_c_keyword(node.text)) return fail(node.where, got + "is a keyword of C or C++");
  return true;
}

bool Checker::table_name(const YamlNode::Key& key) {
  const std::string got = "table: " + quote(key.name) + " ";
  const auto& words = expression_words();
  const auto& tensors = tensor_names();
  if (!is_identifier(key.name)) {
    return fail(key.where, got + "is no C identifier: letters, digits and _, the first no digit");
  }
  if (key.name.size() > kMaxNameLength) {
    return fail(key.where, got + "has more than " + std::to_string(kMaxNameLength) + " characters");
  }
  if (is_c_keyword(key.name)) return fail(key.where, got + "is a keyword of C or C++");
  if (std::find(words.begin(), words.end(), key.name) != words.end()) {
    return fail(key.where, got + "already has a meaning in expressions");
  }
  if (std::find(tensors.begin(), tensors.end(), key.name) != tensors.end()) {
    return fail(key.where, got + "is the name of another tensor or field of a call");
  }
  return true;
}

bool Checker::list(YamlNode* node, const ValueRule& rule, const std::string& path) {
  const size_t count = node->items.size();
  if (count < rule.min_items || count > rule.max_items) {
    std::string need = rule.min_items == rule.max_items
                           ? "exactly " + std::to_string(rule.min_items)
                       : count < rule.min_items ? "at least " + std::to_string(rule.min_items)
                                                : "at most " + std::to_string(rule.max_items);
    return fail(node->where, path + ": a list of " + std::to_string(count) + ", must have " + need +
                                 (need.ends_with(" 1") ? " item" : " items"));
  }
  bool good = true;
  std::set<std::string> seen;
  for (size_t i = 0; i < count; ++i) {
    YamlNode& item = node->items[i];
    const std::string item_path = path + "[" + std::to_string(i) + "]";
    if (!value(&item, rule.items, item_path, item.where)) {
      good = false;
    } else if (rule.unique) {
      // +3 and 3 are one number.
      const std::optional<int64_t> number = read_int(item);
      if (!seen.insert(number ? std::to_string(*number) : item.text).second) {
        good = fail(item.where, item_path + ": " + quote(item.text) + " is given twice");
      }
    }
  }
  return good;
}

bool Checker::map(YamlNode* node, const ValueRule& rule, const std::string& path,
                  const SourceLocation& key) {
  const auto full = [&](const std::string& name) {
    return path.empty() ? name : path + "." + name;
  };
  bool good = true;
  if (node->items.size() < rule.min_items) {
    std::vector<std::string> names;
    for (const KeyRule& k : rule.keys) names.push_back(k.name);
    good = fail(node->where, path + ": an empty map, give " + join_or(names) + " or both");
  }
  for (size_t i = 0; i < node->keys.size(); ++i) {
    YamlNode::Key& k = node->keys[i];
    const KeyRule* known = find_key(rule, k.name);
    if (known == nullptr) {
      std::vector<std::string> names;
      for (const KeyRule& other : rule.keys) names.push_back(other.name);
      std::string hint = did_you_mean(k.name, names);
      if (hint.empty() && !path.empty()) hint = "keys of " + path + ": " + join(names);
      fail(k.where, "unknown key " + quote(k.name) + (path.empty() ? "" : " in " + path),
           std::move(hint));
      k.bad = true;
    } else if (!value(&node->items[i], known->values, full(k.name), k.where)) {
      k.bad = true;
    }
    good = good && !k.bad;
  }
  for (const KeyRule& k : rule.keys) {
    if (!k.required || node->find(k.name) >= 0) continue;
    good = fail(path.empty() ? SourceLocation{key.file, 1, 1} : key,
                path.empty() ? "required key " + quote(k.name) + " is missing"
                             : path + ": required key " + quote(k.name) + " is missing",
                k.name + ": " + describe(k.values));
  }
  return good;
}

bool Checker::entries(YamlNode* node, const ValueRule& rule, const std::string& path) {
  bool good = true;
  for (size_t i = 0; i < node->keys.size(); ++i) {
    YamlNode::Key& k = node->keys[i];
    bool fine = true;
    if (rule.words.empty()) {
      fine = table_name(k);
    } else if (std::find(rule.words.begin(), rule.words.end(), k.name) == rule.words.end()) {
      std::string hint = did_you_mean(k.name, rule.words);
      if (hint.empty()) hint = "names: " + join(rule.words);
      fine = fail(k.where, "unknown key " + quote(k.name) + " in " + path, std::move(hint));
    }
    fine = value(&node->items[i], rule.items, path + "." + k.name, k.where) && fine;
    k.bad = !fine;
    good = good && fine;
  }
  return good;
}

// Rules that tie a top-level key to the op.
void check_op(YamlNode* config, std::vector<Diagnostic>* problems) {
  const int at = config->find("op");
  if (at >= 0 && config->keys[static_cast<size_t>(at)].bad) return;
  const bool block = at < 0 || config->items[static_cast<size_t>(at)].text == "block";
  for (const KeyRule& rule : config_rule().keys) {
    const int found = config->find(rule.name);
    if (found < 0) {
      if (block && rule.required_for_block) {
        problems->push_back({at < 0 ? SourceLocation{config->where.file, 1, 1}
                                    : config->keys[static_cast<size_t>(at)].where,
                             "required key " + quote(rule.name) + " is missing: op block needs it",
                             rule.name + ": " + describe(rule.values)});
      }
    } else if (rule.op == (block ? For::kAttention : For::kBlock)) {
      YamlNode::Key& key = config->keys[static_cast<size_t>(found)];
      key.bad = true;
      problems->push_back({key.where,
                           rule.name + ": only op " + (block ? "attention" : "block") +
                               " has this key, and op is " + (block ? "block" : "attention"),
                           ""});
    }
  }
}

}  // namespace

std::optional<int64_t> read_int(const YamlNode& node, std::string* why) {
  std::string ignored;
  std::string& reason = why != nullptr ? *why : ignored;
  if (node.kind != Kind::kScalar) return std::nullopt;
  if (node.quoted) {
    reason = digits(without_sign(node.text)) ? "in quotes it is a text" : "";
    return std::nullopt;
  }
  reason = odd_number(node.text);
  if (!reason.empty()) return std::nullopt;
  if (!digits(without_sign(node.text))) {
    if (decimal(node.text)) reason = "write it without a point or exponent";
    return std::nullopt;
  }
  const std::string_view text = without_plus(node.text);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> read_number(const YamlNode& node, std::string* why) {
  std::string ignored;
  std::string& reason = why != nullptr ? *why : ignored;
  if (node.kind != Kind::kScalar) return std::nullopt;
  if (node.quoted) {
    reason = decimal(node.text) ? "in quotes it is a text" : "";
    return std::nullopt;
  }
  reason = odd_number(node.text);
  if (!reason.empty() || !decimal(node.text)) return std::nullopt;
  const std::string_view text = without_plus(node.text);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size()) return std::nullopt;
  const size_t e = text.find_first_of("eE");
  const std::string_view mantissa = text.substr(0, e);
  const bool nonzero = mantissa.find_first_of("123456789") != std::string_view::npos;
  if (error == std::errc::result_out_of_range) {
    // from_chars() does not say on which side.
    const bool tiny = e != std::string_view::npos
                          ? text[e + 1] == '-'
                          : mantissa.substr(0, mantissa.find('.')).find_first_of("123456789") ==
                                std::string_view::npos;
    value = tiny ? 0 : HUGE_VAL;
  }
  // Scales, caps and slopes end up as float32 in the kernel.
  if (std::fabs(value) > std::numeric_limits<float>::max()) {
    reason = "too large for float32";
    return std::nullopt;
  }
  if (nonzero && std::fabs(value) < std::numeric_limits<float>::min()) {
    reason = "too small for float32";
    return std::nullopt;
  }
  return value;
}

std::optional<bool> read_bool(const YamlNode& node) {
  if (node.kind != Kind::kScalar || node.quoted) return std::nullopt;
  if (node.text == "true" || node.text == "True" || node.text == "TRUE") return true;
  if (node.text == "false" || node.text == "False" || node.text == "FALSE") return false;
  return std::nullopt;
}

const ValueRule* pick_rule(const YamlNode& node, const std::vector<ValueRule>& values) {
  std::vector<const ValueRule*> fitting;
  for (const ValueRule& rule : values) {
    const bool fits = node.kind == Kind::kMap    ? is_map_kind(rule.kind)
                      : node.kind == Kind::kList ? is_list_kind(rule.kind)
                      : node.kind == Kind::kNull
                          ? false
                          : !is_map_kind(rule.kind) && !is_list_kind(rule.kind);
    if (fits) fitting.push_back(&rule);
  }
  if (fitting.empty()) return nullptr;
  if (fitting.size() == 1) return fitting.front();
  if (node.kind == Kind::kMap) {
    const int at = node.find("type");
    for (const ValueRule* rule : fitting) {
      const KeyRule* type = find_key(*rule, "type");
      if (at < 0 ? type == nullptr && node.find("inv_freq") >= 0
                 : type != nullptr && type->values.front().words.front() ==
                                          node.items[static_cast<size_t>(at)].text) {
        return rule;
      }
    }
    return nullptr;
  }
  // Several scalars: what looks like a number is meant as one.
  const bool numeric = !node.quoted && decimal(node.text);
  for (const ValueRule* rule : fitting) {
    if ((rule->kind == ValueKind::kInt || rule->kind == ValueKind::kNumber) == numeric) return rule;
  }
  return fitting.front();
}

void check_structure(YamlNode* config, std::vector<Diagnostic>* problems) {
  Checker(problems).map(config, config_rule(), "", config->where);
  check_op(config, problems);
}

}  // namespace mha
