#include "generator/spec/reader.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <set>

#include "generator/spec/error.h"
#include "generator/spec/expression.h"
#include "generator/spec/expression_text.h"
#include "generator/spec/keys.h"
#include "generator/spec/structure.h"
#include "generator/spec/text.h"

namespace mha {
namespace {

using Kind = YamlNode::Kind;

// Where an offset into a scalar's value lies in the file. Quotes, folded lines and block scalars
// make the two differ; where an escape hides the way, the start of the scalar has to do.
SourceLocation inside_scalar(const YamlNode& node, size_t offset, std::string_view text) {
  const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
  size_t at = node.offset;
  const char first = at < text.size() ? text[at] : '\0';
  if (node.quoted && (first == '|' || first == '>'))
    at = std::min(text.find('\n', at), text.size());
  if (node.quoted && (first == '"' || first == '\'')) ++at;
  for (size_t i = 0; i < node.text.size() && i <= offset; ++i) {
    const char c = node.text[i];
    if (!space(c)) {
      while (at < text.size() && space(text[at])) ++at;
    }
    if (at >= text.size() || (text[at] != c && !(space(c) && space(text[at])))) return node.where;
    if (i == offset) return location_at(text, line_starts(text), at, node.where.file);
    if (space(c)) {
      // A folded line end is one space in the value, and any number of blanks in the file.
      if (text[at] != c) {
        while (at < text.size() && space(text[at])) ++at;
      } else {
        ++at;
      }
    } else {
      at += c == '\'' && first == '\'' ? 2 : 1;
    }
  }
  return location_at(text, line_starts(text), at, node.where.file);
}

// A key's value as far as it is known: left out, wrong (and reported already), or good.
struct Field {
  enum State { kAbsent, kBad, kGood } state = kAbsent;
  const YamlNode* node = nullptr;
  SourceLocation key;
  bool good() const { return state == kGood; }
  bool absent() const { return state == kAbsent; }
};

class Reader {
 public:
  Reader(const YamlNode& config, std::string_view text, const std::string& file,
         std::vector<Diagnostic>* problems)
      : config_(config), text_(text), problems_(problems) {
    spec_.file = file;
  }

  Spec read() {
    locate(config_, "");
    read_identity();
    read_sizes();
    read_types();
    read_scores();
    read_masks();
    read_rules();
    read_cache();
    read_outputs();
    if (sizes_known_) check_tensor_sizes(spec_, problems_);
    return std::move(spec_);
  }

 private:
  void problem(const SourceLocation& where, std::string message, std::string hint = "") {
    problems_->push_back({where, std::move(message), std::move(hint)});
  }
  void locate(const YamlNode& node, const std::string& path) {
    const std::string before = path.empty() ? "" : path + ".";
    for (size_t i = 0; i < node.items.size(); ++i) {
      const bool map = node.kind == Kind::kMap;
      const std::string name = before + (map ? node.keys[i].name : std::to_string(i));
      spec_.locations[name] = map ? node.keys[i].where : node.items[i].where;
      locate(node.items[i], name);
    }
  }

  static Field in(const YamlNode& map, std::string_view name) {
    if (map.kind != Kind::kMap) return {Field::kBad, nullptr, map.where};
    const int at = map.find(name);
    if (at < 0) return {Field::kAbsent, nullptr, map.where};
    const YamlNode::Key& key = map.keys[static_cast<size_t>(at)];
    return {key.bad ? Field::kBad : Field::kGood, &map.items[static_cast<size_t>(at)], key.where};
  }
  // A key that a map which passed the checks of its keys is sure to have.
  static const YamlNode& required(const YamlNode& map, std::string_view name) {
    const Field field = in(map, name);
    if (field.node == nullptr) throw InternalError("no key '" + std::string(name) + "'");
    return *field.node;
  }
  // "mask.causal". A map that is bad as a whole may still have good keys.
  Field find(std::string_view path) const {
    const YamlNode* map = &config_;
    for (;;) {
      const size_t dot = path.find('.');
      const Field field = in(*map, path.substr(0, dot));
      if (dot == std::string_view::npos || field.node == nullptr) return field;
      map = field.node;
      path.remove_prefix(dot + 1);
    }
  }
  // The value, `fallback` where it is left out, nothing where it is bad.
  std::optional<int64_t> integer(std::string_view path,
                                 std::optional<int64_t> fallback = std::nullopt) const {
    const Field field = find(path);
    return field.good() ? read_int(*field.node) : field.absent() ? fallback : std::nullopt;
  }
  std::optional<double> number(std::string_view path,
                               std::optional<double> fallback = std::nullopt) const {
    const Field field = find(path);
    return field.good() ? read_number(*field.node) : field.absent() ? fallback : std::nullopt;
  }
  bool flag(std::string_view path, bool fallback = false) const {
    const Field field = find(path);
    return field.good() ? read_bool(*field.node).value_or(fallback) : fallback;
  }
  std::string word(std::string_view path, const std::string& fallback = "") const {
    const Field field = find(path);
    return field.good() ? field.node->text : fallback;
  }
  std::optional<Range> range(const std::string& path) {
    const Field field = find(path);
    if (!field.good()) return std::nullopt;
    if (field.node->kind == Kind::kScalar) {
      const int64_t value = *read_int(*field.node);
      return Range{value, value};
    }
    const YamlNode& min = required(*field.node, "min");
    const YamlNode& max = required(*field.node, "max");
    const Range result{*read_int(min), *read_int(max)};
    if (result.min > result.max) {
      problem(min.where, path + ": min " + std::to_string(result.min) + " is more than max " +
                             std::to_string(result.max));
      return std::nullopt;
    }
    return result;
  }
  static Dtype dtype(const std::string& name) {
    return name == "bf16"   ? Dtype::kBF16
           : name == "f16"  ? Dtype::kF16
           : name == "int8" ? Dtype::kInt8
           : name == "i32"  ? Dtype::kI32
                            : Dtype::kF32;
  }

  void read_identity() {
    spec_.name = word("name");
    op_known_ = find("op").state != Field::kBad;
    spec_.op = word("op", "block") == "attention" ? Op::kAttention : Op::kBlock;
  }

  void read_sizes();
  void read_types();
  void read_weights_from();
  void read_scores();
  void read_alibi_slopes(const SourceLocation& key);
  void read_rope();
  void read_masks();
  void read_tables();
  void read_rules();
  std::optional<Expression> read_rule(const Field& field, bool is_score, std::string* rule);
  void read_cache();
  void read_outputs();

  const YamlNode& config_;
  std::string_view text_;
  std::vector<Diagnostic>* problems_;
  Spec spec_;
  bool op_known_ = false;
  bool sizes_known_ = false;
  bool tables_known_ = true;
  std::optional<int64_t> heads_, d_head_, d_value_, kv_heads_;
};

void Reader::read_sizes() {
  const bool block = spec_.op == Op::kBlock;
  const std::optional<int64_t> d_model = integer("d_model");
  heads_ = integer("heads");
  kv_heads_ = integer("kv_heads", heads_);
  if (heads_ && kv_heads_ && *heads_ % *kv_heads_ != 0) {
    problem(find("kv_heads").node->where, "kv_heads: " + std::to_string(*kv_heads_) +
                                              " does not divide heads, " + std::to_string(*heads_) +
                                              ": each KV head serves heads / kv_heads heads");
    kv_heads_.reset();
  }

  const Field width = find("d_head");
  if (width.good()) {
    d_head_ = integer("d_head");
    // For op attention d_model says nothing that heads and d_head do not: it may repeat them, not
    // differ.
    if (op_known_ && !block && d_model && heads_ && *heads_ * *d_head_ != *d_model) {
      problem(find("d_model").key,
              "d_model: " + std::to_string(*d_model) + " is not heads * d_head = " +
                  std::to_string(*heads_ * *d_head_) + "; op attention has no d_model of its own",
              "leave d_model out");
    }
  } else if (width.absent() && d_model && heads_) {
    if (*d_model % *heads_ == 0) {
      d_head_ = *d_model / *heads_;
    } else {
      problem(find("heads").node->where,
              "heads: " + std::to_string(*heads_) + " does not divide d_model, " +
                  std::to_string(*d_model) + ", and there is no d_head",
              "give d_head: any width will do");
    }
  } else if (width.absent() && op_known_ && !block && find("d_model").absent()) {
    problem(find("op").key, "required key `d_head` is missing: op attention needs it",
            "d_head: the width of a head");
  }
  d_value_ = find("d_value").absent() ? d_head_ : integer("d_value");

  spec_.cross = flag("cross");
  const std::optional<Range> batch = find("batch").absent() ? Range{1, 1} : range("batch");
  const std::optional<Range> query_length = range("query_length");
  const Field key_field = find("key_length");
  std::optional<Range> key_length = key_field.absent() ? query_length : range("key_length");
  spec_.key_length_given = key_field.good();
  if (flag("packed") && key_field.node != nullptr) {
    spec_.key_length_given = false;
    problem(key_field.key,
            "key_length: in a packed batch sequence_starts says how long each sequence is, for "
            "queries and keys alike",
            "leave key_length out");
  } else if (op_known_ && block && key_field.good() && find("cross").state != Field::kBad &&
             !spec_.cross) {
    spec_.key_length_given = false;
    if (key_length && query_length && *key_length != *query_length) {
      problem(key_field.key,
              "key_length: without cross the keys of a block come from x, so key_length is "
              "query_length",
              "leave key_length out, or set cross: true");
    }
  }

  spec_.d_model = block ? d_model.value_or(0) : 0;
  spec_.heads = heads_.value_or(0);
  spec_.kv_heads = kv_heads_.value_or(0);
  spec_.d_head = d_head_.value_or(0);
  spec_.d_value = d_value_.value_or(0);
  spec_.batch = batch.value_or(Range{});
  spec_.query_length = query_length.value_or(Range{});
  spec_.key_length = key_length.value_or(Range{});
  sizes_known_ = op_known_ && (!block || d_model) && heads_ && kv_heads_ && d_head_ && d_value_ &&
                 batch && query_length && key_length;
}

void Reader::read_types() {
  spec_.layout = word("layout", "bshd") == "bhsd" ? Layout::kBhsd : Layout::kBshd;
  const std::string type = word("dtype", "f32");
  spec_.dtype = dtype(type);
  spec_.weights = dtype(word("weights", type));
  spec_.projection_bias = {flag("projection_bias.q"), flag("projection_bias.k"),
                           flag("projection_bias.v"), flag("projection_bias.out")};
  spec_.sink = flag("sink");
  read_weights_from();
}

void Reader::read_weights_from() {
  const Field field = find("weights_from");
  if (spec_.op == Op::kAttention || field.node == nullptr || field.node->kind != Kind::kMap) return;
  const int64_t q_rows = spec_.heads * spec_.d_head, k_rows = spec_.kv_heads * spec_.d_head,
                v_rows = spec_.kv_heads * spec_.d_value;
  const bool all = word("qk_norm.width", "head") == "all", norm = !find("qk_norm").absent();
  struct Weight {
    bool used;
    const char* needs;
    int64_t rows;
  };
  const std::map<std::string, Weight> weights = {
      {"w_q", {true, "", q_rows}},
      {"w_k", {true, "", k_rows}},
      {"w_v", {true, "", v_rows}},
      {"w_o", {true, "", spec_.d_model}},
      {"b_q", {spec_.projection_bias.q, "projection_bias.q", q_rows}},
      {"b_k", {spec_.projection_bias.k, "projection_bias.k", k_rows}},
      {"b_v", {spec_.projection_bias.v, "projection_bias.v", v_rows}},
      {"b_o", {spec_.projection_bias.out, "projection_bias.out", spec_.d_model}},
      {"q_norm", {norm, "qk_norm", all ? q_rows : spec_.d_head}},
      {"k_norm", {norm, "qk_norm", all ? k_rows : spec_.d_head}},
      {"sink", {spec_.sink, "sink", spec_.heads}}};
  for (size_t i = 0; i < field.node->keys.size(); ++i) {
    const YamlNode::Key& key = field.node->keys[i];
    if (key.bad) continue;
    const YamlNode& value = field.node->items[i];
    const Weight& weight = weights.at(key.name);
    const std::string path = "weights_from." + key.name;
    if (!weight.used && find(weight.needs).state != Field::kBad) {
      problem(key.where,
              path + ": the block has no " + key.name + ", as " + weight.needs + " is not set");
    }
    const bool map = value.kind == Kind::kMap;
    const YamlNode& name = map ? required(value, "name") : value;
    WeightSource source;
    source.name = name.text;
    for (size_t open = name.text.find('{'); open != std::string::npos;
         open = name.text.find('{', open + 1)) {
      if (name.text.compare(open, 7, "{layer}") == 0) continue;
      problem(inside_scalar(name, open, text_),
              path + ": {layer} is the only thing that may stand in braces");
      break;
    }
    if (map && in(value, "transpose").good()) {
      source.transpose = *read_bool(*in(value, "transpose").node);
      if (source.transpose && !key.name.starts_with("w_")) {
        problem(in(value, "transpose").key, path + ": a vector cannot be transposed");
      }
    }
    if (map && in(value, "rows").good()) {
      const YamlNode& rows = *in(value, "rows").node;
      const int64_t from = *read_int(rows.items[0]), to = *read_int(rows.items[1]);
      source.rows = Range{from, to};
      if (to <= from) {
        problem(rows.where, path + ".rows: [from, to) needs from < to, got [" +
                                std::to_string(from) + ", " + std::to_string(to) + "]");
      } else if (sizes_known_ && to - from != weight.rows) {
        problem(rows.where, path + ".rows: [" + std::to_string(from) + ", " + std::to_string(to) +
                                ") has " + std::to_string(to - from) + " rows, " + key.name +
                                " has " + std::to_string(weight.rows));
      }
    }
    spec_.weights_from[key.name] = std::move(source);
  }
}

// Scores are kept in units of log2, so that the product is the number in the kernel.
constexpr double kLargestScale =
    static_cast<double>(std::numeric_limits<float>::max()) / std::numbers::log2e;

void Reader::read_scores() {
  const std::optional<double> fallback =
      d_head_ ? std::optional<double>(1 / std::sqrt(static_cast<double>(*d_head_))) : std::nullopt;
  spec_.scale = number("scale", fallback).value_or(0);
  const Field scale = find("scale");
  if (scale.good() && !(std::abs(spec_.scale) <= kLargestScale)) {
    problem(scale.node->where, "scale: scale * log2(e) is beyond the range of f32",
            "it may be -2.358e38 to 2.358e38");
  }
  spec_.softcap = number("softcap");
  const std::string offset = word("query_offset", "start");
  spec_.query_offset = offset == "end"     ? QueryOffset::kEnd
                       : offset == "input" ? QueryOffset::kInput
                                           : QueryOffset::kStart;
  if (find("qk_norm").good()) {
    QkNorm norm;
    norm.eps = number("qk_norm.eps", norm.eps).value_or(norm.eps);
    norm.weight_offset = static_cast<int>(integer("qk_norm.weight_offset", 0).value_or(0));
    norm.all_width = word("qk_norm.width", "head") == "all";
    norm.before_rope = word("qk_norm.order", "before_rope") == "before_rope";
    spec_.qk_norm = norm;
    if (!norm.before_rope && find("rope").absent()) {
      problem(find("qk_norm.order").key, "qk_norm.order: after_rope without rope");
    }
  }
  read_rope();

  const Field alibi = find("alibi");
  if (alibi.good() && alibi.node->kind == Kind::kScalar) {
    spec_.alibi = *read_bool(*alibi.node);
    if (spec_.alibi && heads_) read_alibi_slopes(alibi.key);
  } else if (alibi.good()) {
    spec_.alibi = true;
    for (const YamlNode& item : alibi.node->items) {
      const double slope = *read_number(item);
      spec_.alibi_slopes.push_back(slope);
      if (std::abs(slope) <= kLargestScale) continue;
      problem(item.where, "alibi: slope * log2(e) is beyond the range of f32",
              "it may be -2.358e38 to 2.358e38");
    }
    if (heads_ && static_cast<int64_t>(alibi.node->items.size()) != *heads_) {
      problem(alibi.node->where, "alibi: " + std::to_string(alibi.node->items.size()) +
                                     " slopes for " + std::to_string(*heads_) +
                                     " heads: give one for each");
    }
  }

  const Field pruned = find("pruned_heads");
  if (!pruned.good()) return;
  for (const YamlNode& head : pruned.node->items) {
    const int64_t value = *read_int(head);
    spec_.pruned_heads.push_back(value);
    if (heads_ && value >= *heads_) {
      problem(head.where, "pruned_heads: there is no head " + std::to_string(value) +
                              ", heads are 0 to " + std::to_string(*heads_ - 1));
    }
  }
  std::sort(spec_.pruned_heads.begin(), spec_.pruned_heads.end());
  if (heads_ && static_cast<int64_t>(spec_.pruned_heads.size()) >= *heads_) {
    problem(pruned.key, "pruned_heads: no head is left");
  }
}

// The slopes 2^(-8 i / n) of the paper; H between powers of two takes every other slope of the next
// power.
void Reader::read_alibi_slopes(const SourceLocation& key) {
  constexpr int64_t kMostHeads = 65536;
  if (*heads_ > kMostHeads) {
    problem(key, "alibi: slopes are drawn for at most " + std::to_string(kMostHeads) +
                     " heads, these are " + std::to_string(*heads_));
    return;
  }
  int64_t power = 1;
  while (power * 2 <= *heads_) power *= 2;
  for (int64_t h = 0; h < *heads_; ++h) {
    const double exponent =
        h < power ? 8.0 * static_cast<double>(h + 1) / static_cast<double>(power)
                  : 4.0 * static_cast<double>(2 * (h - power) + 1) / static_cast<double>(power);
    spec_.alibi_slopes.push_back(std::exp2(-exponent));
  }
}

void Reader::read_rope() {
  const Field field = find("rope");
  if (field.node == nullptr) return;
  Rope rope;
  rope.interleaved = word("rope.style") == "interleaved";
  rope.theta = number("rope.theta", rope.theta).value_or(rope.theta);
  const std::optional<int64_t> dims = integer("rope.dims", d_head_);
  rope.dims = dims.value_or(0);
  if (dims && *dims % 2 != 0) {
    const bool given = find("rope.dims").good();
    problem(given ? find("rope.dims").node->where : field.key,
            "rope.dims: " + std::to_string(*dims) + " is odd" +
                (given ? "" : " (the default, d_head)") + ": dims turn in pairs");
  } else if (dims && d_head_ && *dims > *d_head_) {
    problem(find("rope.dims").node->where, "rope.dims: " + std::to_string(*dims) +
                                               " is more than d_head, " + std::to_string(*d_head_));
  }

  const Field scaling = find("rope.scaling");
  if (scaling.good()) {
    rope.scaling.type = word("rope.scaling.type");
    for (size_t i = 0; i < scaling.node->keys.size(); ++i) {
      const std::string& name = scaling.node->keys[i].name;
      const YamlNode& value = scaling.node->items[i];
      if (name == "type") continue;
      if (name == "inv_freq") {
        for (const YamlNode& item : value.items)
          rope.scaling.inv_freq.push_back(*read_number(item));
        if (dims && *dims % 2 == 0 && static_cast<int64_t>(value.items.size()) != *dims / 2) {
          problem(value.where, "rope.scaling.inv_freq: " + std::to_string(value.items.size()) +
                                   " frequencies, must be dims / 2 = " + std::to_string(*dims / 2));
        }
      } else {
        rope.scaling.numbers[name] =
            name == "truncate" ? (*read_bool(value) ? 1 : 0) : *read_number(value);
      }
    }
    auto& numbers = rope.scaling.numbers;
    if (rope.scaling.type == "yarn") {
      numbers.try_emplace("beta_fast", 32);
      numbers.try_emplace("beta_slow", 1);
      numbers.try_emplace("truncate", 1);
      if (numbers["beta_fast"] <= numbers["beta_slow"]) {
        problem(scaling.key, "rope.scaling: beta_fast must be more than beta_slow");
      }
    }
    if (rope.scaling.type == "llama3" &&
        numbers["high_freq_factor"] <= numbers["low_freq_factor"]) {
      problem(find("rope.scaling.high_freq_factor").node->where,
              "rope.scaling: high_freq_factor must be more than low_freq_factor");
    }
  }
  spec_.rope = rope;
}

void Reader::read_masks() {
  spec_.mask.causal = flag("mask.causal");
  const Field window = find("mask.window");
  if (window.good()) {
    spec_.mask.window = Window{integer("mask.window.left", -1).value_or(-1),
                               integer("mask.window.right", -1).value_or(-1)};
  }
  const std::string tensor = word("mask.tensor", "none");
  spec_.mask.tensor = tensor == "bool"       ? MaskTensor::kBool
                      : tensor == "additive" ? MaskTensor::kAdditive
                                             : MaskTensor::kNone;
  spec_.mask.key_lengths = flag("mask.key_lengths");
  spec_.mask.key_starts = flag("mask.key_starts");
}

void Reader::read_tables() {
  const Field field = find("table");
  if (field.absent()) return;
  if (!field.good()) {
    tables_known_ = false;
    return;
  }
  for (size_t i = 0; i < field.node->keys.size(); ++i) {
    const YamlNode& value = field.node->items[i];
    Table table;
    table.name = field.node->keys[i].name;
    const bool map = value.kind == Kind::kMap;
    const YamlNode& shape = map ? required(value, "shape") : value;
    for (const YamlNode& axis : shape.items) {
      const std::optional<int64_t> number = read_int(axis);
      table.shape.push_back(number ? std::to_string(*number) : axis.text);
    }
    const Field type = map ? in(value, "dtype") : Field{};
    if (type.good()) table.dtype = dtype(type.node->text);
    spec_.tables.push_back(std::move(table));
  }
}

std::optional<Expression> Reader::read_rule(const Field& field, bool is_score, std::string* rule) {
  if (!field.good()) return std::nullopt;
  *rule = field.node->text;
  ExpressionContext context;
  context.is_score = is_score;
  context.tables = tables_known_ ? &spec_.tables : nullptr;
  ExpressionError error;
  std::optional<Expression> result = parse_expression(field.node->text, context, &error);
  if (!result) {
    problem(inside_scalar(*field.node, error.offset, text_),
            std::string(is_score ? "score_rule: " : "mask.rule: ") + error.message, error.hint);
    return result;
  }
  for (const Expression::Node& node : result->nodes) {
    spec_.locations[rule_place(is_score ? "score_rule" : "mask.rule", node.offset)] =
        inside_scalar(*field.node, node.offset, text_);
  }
  return result;
}

void Reader::read_rules() {
  read_tables();
  const Field score = find("score_rule"), mask = find("mask.rule");
  const std::optional<Expression> rules[] = {read_rule(score, true, &spec_.score_rule),
                                             read_rule(mask, false, &spec_.mask.rule)};
  if ((!score.absent() && !rules[0]) || (!mask.absent() && !rules[1]) || !tables_known_) return;
  std::set<std::string> read;
  for (const auto& rule : rules) {
    if (!rule) continue;
    for (const Expression::Node& node : rule->nodes) {
      if (node.op == Expression::Op::kTable) read.insert(node.name);
    }
  }
  for (const Table& table : spec_.tables) {
    if (read.count(table.name) > 0) continue;
    problem(spec_.where("table." + table.name), "table: no rule reads " + quote(table.name),
            "index it in score_rule or mask.rule, or leave it out");
  }
}

void Reader::read_cache() {
  spec_.packed = flag("packed");
  if (spec_.packed && spec_.layout == Layout::kBhsd) {
    problem(find("packed").key, "packed: batches laid end to end need layout bshd");
  }
  const Field field = find("kv_cache");
  if (!field.good()) return;
  KvCache cache;
  cache.capacity = integer("kv_cache.capacity").value_or(0);
  cache.paged = word("kv_cache.layout", "contiguous") == "paged";
  cache.page = integer("kv_cache.page", cache.page).value_or(cache.page);
  const Field page = find("kv_cache.page");
  if (page.good() && !cache.paged)
    problem(page.key, "kv_cache.page: only a paged cache has pages", "layout: paged");
  if (cache.page % 16 != 0) {
    problem(page.node->where,
            "kv_cache.page: " + std::to_string(cache.page) + " is no multiple of 16");
  }
  const Field capacity = find("kv_cache.capacity");
  const char* brought = spec_.key_length_given ? "key_length" : "query_length";
  const int64_t most = spec_.key_length_given ? spec_.key_length.max : spec_.query_length.max;
  if (find(brought).good() && most > cache.capacity) {
    problem(capacity.node->where, "kv_cache.capacity: " + std::to_string(cache.capacity) +
                                      " is less than " + brought + ", " + std::to_string(most));
  }
  // Where a call brings one key a query, the queries that follow the cached keys end with all.
  const Field offset = find("query_offset");
  const bool ends_there = !spec_.key_length_given && !spec_.cross;
  if (offset.good() && !(ends_there && spec_.query_offset == QueryOffset::kEnd)) {
    problem(offset.node->where, "query_offset: with kv_cache the queries follow the cached keys",
            "leave it out");
  }
  spec_.kv_cache = cache;
}

void Reader::read_outputs() {
  const Field outputs = find("outputs");
  std::set<std::string> wanted;
  if (outputs.good()) {
    for (const YamlNode& item : outputs.node->items) wanted.insert(item.text);
  } else {
    wanted.insert("output");
  }
  for (const std::string& name : output_names()) {
    if (wanted.count(name) > 0) spec_.outputs.push_back(name);
  }
  spec_.top_k = integer("top_k", 0).value_or(0);
  if (sizes_known_ && spec_.top_k > spec_.key_length.max && !spec_.kv_cache) {
    problem(find("top_k").node->where, "top_k: " + std::to_string(spec_.top_k) + " of at most " +
                                           std::to_string(spec_.key_length.max) + " keys");
  }
  const Field targets = find("targets");
  if (targets.good()) {
    for (const YamlNode& item : targets.node->items) spec_.targets.push_back(item.text);
  } else {
    spec_.targets.push_back("host");
  }
}

}  // namespace

Spec read_spec(const YamlNode& config, std::string_view text, const std::string& file,
               std::vector<Diagnostic>* problems) {
  return Reader(config, text, file, problems).read();
}

}  // namespace mha
