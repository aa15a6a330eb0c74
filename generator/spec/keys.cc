#include "generator/spec/keys.h"

#include <algorithm>

namespace mha {
namespace {

ValueRule integer(int64_t min, int64_t max = kMaxSize) {
  ValueRule rule;
  rule.kind = ValueKind::kInt;
  rule.min = min;
  rule.max = max;
  return rule;
}
ValueRule of_kind(ValueKind kind) {
  ValueRule rule;
  rule.kind = kind;
  return rule;
}
ValueRule number() { return of_kind(ValueKind::kNumber); }
ValueRule number_from(double low) {
  ValueRule rule = number();
  rule.bounded = true;
  rule.low = low;
  return rule;
}
ValueRule number_above(double low) {
  ValueRule rule = number_from(low);
  rule.above = true;
  return rule;
}
ValueRule boolean() { return of_kind(ValueKind::kBool); }
ValueRule word(std::vector<std::string> words) {
  ValueRule rule = of_kind(ValueKind::kWord);
  rule.words = std::move(words);
  return rule;
}
ValueRule expression() { return of_kind(ValueKind::kExpression); }
ValueRule map_of(std::vector<KeyRule> keys, size_t min_items = 0) {
  ValueRule rule = of_kind(ValueKind::kMap);
  rule.keys = std::move(keys);
  rule.min_items = min_items;
  return rule;
}
ValueRule list_of(std::vector<ValueRule> items, size_t min_items, size_t max_items = kMaxSize) {
  ValueRule rule = of_kind(ValueKind::kList);
  rule.items = std::move(items);
  rule.min_items = min_items;
  rule.max_items = max_items;
  return rule;
}
ValueRule set_of(std::vector<ValueRule> items, size_t min_items) {
  ValueRule rule = list_of(std::move(items), min_items);
  rule.unique = true;
  return rule;
}
ValueRule entries(std::vector<std::string> words, std::vector<ValueRule> items) {
  ValueRule rule = of_kind(ValueKind::kEntries);
  rule.words = std::move(words);
  rule.items = std::move(items);
  return rule;
}

KeyRule key(std::string name, std::vector<ValueRule> values, std::string help) {
  KeyRule rule;
  rule.name = std::move(name);
  rule.values = std::move(values);
  rule.help = std::move(help);
  return rule;
}
KeyRule required(std::string name, std::vector<ValueRule> values, std::string help) {
  KeyRule rule = key(std::move(name), std::move(values), std::move(help));
  rule.required = true;
  return rule;
}
KeyRule only(For op, KeyRule rule) {
  rule.op = op;
  return rule;
}
KeyRule block_needs(KeyRule rule) {
  rule.required_for_block = true;
  return rule;
}

std::vector<ValueRule> length() {
  return {integer(1), map_of({required("min", {integer(1)}, "The least that a call may give."),
                              required("max", {integer(1)}, "The most that a call may give.")})};
}

const std::vector<std::string>& weight_names() {
  static const std::vector<std::string> kNames = {"w_q", "w_k", "w_v",    "w_o",    "b_q", "b_k",
                                                  "b_v", "b_o", "q_norm", "k_norm", "sink"};
  return kNames;
}

ValueRule weight_source() {
  return map_of({required("name", {of_kind(ValueKind::kText)},
                          "The tensor's name in the file; {layer} stands for a number."),
                 key("transpose", {boolean()},
                     "The file holds the matrix transposed: inputs by outputs. Default: false."),
                 key("rows", {list_of({integer(0)}, 2, 2)},
                     "[from, to): the rows of the (transposed, if so said) matrix that are this "
                     "weight, for fused QKV.")});
}

std::vector<ValueRule> rope_scaling() {
  const auto factor = [] {
    return required("factor", {number_from(1)},
                    "How many times longer than in training the context is.");
  };
  const auto original = [] {
    return required("original_length", {integer(1)}, "The context length of the training.");
  };
  const auto type = [](const char* name) {
    return required("type", {word({name})}, "Which scaling: linear, llama3 or yarn.");
  };
  return {
      map_of({type("linear"), factor()}),
      map_of({type("llama3"), factor(),
              required("low_freq_factor", {number_above(0)},
                       "Wavelengths above length / this are scaled."),
              required("high_freq_factor", {number_above(0)},
                       "Wavelengths below length / this are kept."),
              original()}),
      map_of(
          {type("yarn"), factor(), original(),
           key("beta_fast", {number_above(0)}, "Rotations from which a dim is kept. Default: 32."),
           key("beta_slow", {number_above(0)},
               "Rotations up to which a dim is scaled. Default: 1."),
           key("attention_factor", {number_above(0)},
               "Multiplies cos and sin. Default: 0.1 ln(factor) + 1, or from mscale."),
           key("mscale", {number_from(0)}, "DeepSeek's mscale. Default: none."),
           key("mscale_all_dim", {number_from(0)}, "DeepSeek's mscale_all_dim. Default: none."),
           key("truncate", {boolean()},
               "Round the range of scaled dims to whole dims. Default: true.")}),
      map_of({required("inv_freq", {list_of({number_from(0)}, 1)},
                       "The dims / 2 inverse frequencies themselves."),
              key("attention_factor", {number_above(0)}, "Multiplies cos and sin. Default: 1.")})};
}

ValueRule make_config_rule() {
  using enum ValueKind;
  const ValueRule axis = word({"B", "H", "G", "Lq", "Lk", "D"});
  const ValueRule shape = list_of({integer(1), axis}, 1, 4);
  return map_of({
      required("version", {integer(1, 1)}, "The version of this language: 1."),
      required("name", {of_kind(kName)},
               "Prefix of every emitted symbol and file: a C identifier of at most 48 characters, "
               "no keyword, not "
               "starting with mha or halide."),
      key("op", {word({"block", "attention"})},
          "block: x -> Q, K, V projections -> attention -> concat -> W_O. attention: q, k, v -> "
          "output. Default: "
          "block."),
      block_needs(key("d_model", {integer(1)},
                      "Model width M; required for a block. With op attention it only gives "
                      "d_head's default.")),
      required("heads", {integer(1)}, "Query heads H."),
      key("kv_heads", {integer(1)},
          "Key and value heads G, a divisor of heads; query head h uses h / (H / G). Default: "
          "heads."),
      key("d_head", {integer(1)},
          "Width D of a query and key head, any size. Default: d_model / heads."),
      key("d_value", {integer(1)}, "Width Dv of a value head. Default: d_head."),
      key("batch", length(), "Sequences B in a call: a number, or {min, max}. Default: 1."),
      required("query_length", length(),
               "Queries Lq: a number, or {min, max} and the call says which."),
      key("key_length", length(),
          "Keys Lk, likewise. Default: query_length, and then Lk = Lq in every call as well."),
      only(For::kBlock,
           key("cross", {boolean()},
               "Keys and values come from a second input, memory [B, Lk, M]. Default: false.")),
      only(For::kAttention, key("layout", {word({"bshd", "bhsd"})},
                                "Order of the axes of query, key, value and output: [B, L, H, D] "
                                "or [B, H, L, D]. Default: bshd.")),
      key("dtype", {word({"f32", "bf16", "f16"})},
          "Activations, keys and values; sums and the softmax are f32 always. Default: f32."),
      only(For::kBlock, key("weights", {word({"f32", "bf16", "f16", "int8"})},
                            "Storage of the projection weights; int8 is symmetric per output "
                            "channel. Default: dtype.")),
      only(For::kBlock,
           key("weights_from", {entries(weight_names(), {of_kind(kText), weight_source()})},
               "A model's own names for the weights, by ours (w_q, w_k, w_v, w_o, b_q, ...).")),
      only(For::kBlock, key("projection_bias",
                            {map_of({key("q", {boolean()}, "Bias b_q [H * D]. Default: false."),
                                     key("k", {boolean()}, "Bias b_k [G * D]. Default: false."),
                                     key("v", {boolean()}, "Bias b_v [G * Dv]. Default: false."),
                                     key("out", {boolean()}, "Bias b_o [M]. Default: false.")})},
                            "Which projections add a bias.")),
      key("scale", {number()}, "Multiplies Q K^T. Default: 1 / sqrt(D)."),
      key("qk_norm",
          {map_of({key("eps", {number_above(0)}, "Added to the mean square. Default: 1e-6."),
                   key("weight_offset", {integer(0, 1)},
                       "1: the weight is 1 + w, as in Gemma. Default: 0."),
                   key("width", {word({"head", "all"})},
                       "Norm over one head or over all heads. Default: head."),
                   key("order", {word({"before_rope", "after_rope"})}, "Default: before_rope.")})},
          "RMS norm of q and k with learned weights."),
      key("query_offset", {word({"start", "end", "input"})},
          "Where query 0 stands among the keys: at 0, at (length of the keys) - Lq, or where the "
          "tensor query_offset "
          "[B] says. Default: start."),
      key("rope",
          {map_of(
              {required("style", {word({"half", "interleaved"})},
                        "Pairs are (i, i + dims / 2) or (2i, 2i + 1)."),
               key("theta", {number_above(0)}, "Base of the frequencies. Default: 10000."),
               key("dims", {integer(2)}, "How many of the first dims turn, even. Default: d_head."),
               key("scaling", rope_scaling(),
                   "How frequencies change for contexts longer than in training.")})},
          "Rotary position embedding of q and k: query i is at i + offset, key j at j."),
      key("softcap", {number_above(0)}, "s -> cap * tanh(s / cap)."),
      key("alibi", {boolean(), list_of({number()}, 1)},
          "Adds -slope * |q - k|; true takes the paper's slopes, a list gives one for each head. "
          "Default: false."),
      key("score_rule", {expression()}, "An expression whose value replaces the score s."),
      key("mask",
          {map_of(
              {key("causal", {boolean()},
                   "Key j is visible to query i when j <= i + offset. Default: false."),
               key("window",
                   {map_of({key("left", {integer(-1)},
                                "Keys before the query's place; -1: all. Default: -1."),
                            key("right", {integer(-1)}, "Keys after it; -1: all. Default: -1.")},
                           1)},
                   "Visible are the keys from place - left to place + right, both included."),
               key("tensor", {word({"none", "bool", "additive"})},
                   "A mask is an input: true attends, or a number is added. Default: none."),
               key("key_lengths", {boolean()},
                   "Right padding: input key_lengths [B]. Default: false."),
               key("key_starts", {boolean()},
                   "Left padding: input key_starts [B]. Default: false."),
               key("rule", {expression()}, "A condition on q and k: true attends.")})},
          "What hides keys; a key is visible when every mask allows it."),
      key("table",
          {entries({}, {shape,
                        map_of({required("shape", {shape}, "Axes: B, H, G, Lq, Lk, D or numbers."),
                                key("dtype", {word({"i32", "f32"})}, "Default: i32.")})})},
          "Inputs that rules may index, by name: a shape, or {shape, dtype}."),
      key("sink", {boolean()},
          "One learned logit a head joins the softmax's denominator. Default: false."),
      key("kv_cache",
          {map_of({required("capacity", {integer(1)}, "Keys that a sequence may hold."),
                   key("layout", {word({"contiguous", "paged"})}, "Default: contiguous."),
                   key("page", {integer(16)},
                       "Keys in a page of a paged cache, a multiple of 16. Default: 64.")})},
          "Adds entry points that append to a cache and decode from it."),
      key("packed", {boolean()},
          "Sequences of different lengths laid end to end, with the input sequence_starts [B + 1]. "
          "Default: false."),
      key("outputs", {set_of({word(output_names())}, 1)},
          "What a call returns. Default: [output]."),
      key("top_k", {integer(1)},
          "Also returns the k strongest keys of each row: top_weights, top_indices."),
      key("pruned_heads", {set_of({integer(0)}, 0)},
          "Heads to drop when the code is made; their slots are zero. Default: none."),
      key("targets", {set_of({word(target_names())}, 1)},
          "Machines to generate code for. Default: [host]."),
  });
}

std::string describe_one(const ValueRule& rule) {
  switch (rule.kind) {
    case ValueKind::kInt:
      if (rule.min == rule.max) return std::to_string(rule.min);
      if (rule.max - rule.min == 1)
        return std::to_string(rule.min) + " or " + std::to_string(rule.max);
      return "an integer from " + std::to_string(rule.min) + " to " + std::to_string(rule.max);
    case ValueKind::kNumber: {
      if (!rule.bounded) return "a number";
      return std::string("a number ") + (rule.above ? "> " : ">= ") +
             std::to_string(static_cast<int>(rule.low));
    }
    case ValueKind::kBool:
      return "true or false";
    case ValueKind::kWord: {
      std::string result;
      for (size_t i = 0; i < rule.words.size(); ++i) {
        if (i > 0) result += i + 1 == rule.words.size() ? " or " : ", ";
        result += rule.words[i];
      }
      return result;
    }
    case ValueKind::kName:
    case ValueKind::kTableName:
      return "a C identifier";
    case ValueKind::kText:
      return "a text";
    case ValueKind::kExpression:
      return "an expression";
    case ValueKind::kList:
      return "a list, each item " + describe(rule.items);
    case ValueKind::kMap: {
      std::string result = "{";
      for (size_t i = 0; i < rule.keys.size(); ++i)
        result += (i > 0 ? ", " : "") + rule.keys[i].name;
      return result + "}";
    }
    case ValueKind::kEntries:
      return "a map of names to " + describe(rule.items);
  }
  return "";
}

}  // namespace

const ValueRule& config_rule() {
  static const ValueRule kRule = make_config_rule();
  return kRule;
}

std::string describe(const std::vector<ValueRule>& values) {
  std::string result;
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) result += i + 1 == values.size() ? ", or " : ", ";
    result += describe_one(values[i]);
  }
  return result;
}

const std::vector<std::string>& expression_words() {
  static const std::vector<std::string> kWords = {
      "s",   "b",  "h",    "q",   "k",   "q_len", "k_len", "heads", "d_head", "and",  "or",
      "not", "if", "else", "min", "max", "abs",   "exp",   "log",   "tanh",   "sqrt", "floor"};
  return kWords;
}

const std::vector<std::string>& output_names() {
  static const std::vector<std::string> kNames = {"output", "weights",       "mean_weights", "lse",
                                                  "scores", "scores_capped", "scores_masked"};
  return kNames;
}

const std::vector<std::string>& tensor_names() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names = {"query",         "key",
                                      "value",         "x",
                                      "memory",        "mask",
                                      "key_lengths",   "key_starts",
                                      "query_offset",  "past_key",
                                      "past_value",    "block_table",
                                      "cache_lengths", "sequence_starts",
                                      "top_weights",   "top_indices",
                                      "present_key",   "present_value",
                                      "call"};  // the first field of the struct of arguments
    names.insert(names.end(), weight_names().begin(), weight_names().end());
    names.insert(names.end(), output_names().begin(), output_names().end());
    return names;
  }();
  return kNames;
}

const std::vector<std::string>& target_names() {
  static const std::vector<std::string> kNames = {
      "host",           "x86-64-v2", "x86-64-v3", "x86-64-v4",  "zen4",       "zen5",
      "sapphirerapids", "arm64",     "opencl",    "cuda-sm_80", "cuda-sm_90a"};
  return kNames;
}

bool is_identifier(std::string_view text) {
  if (text.empty()) return false;
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return letter(text[0]) && std::all_of(text.begin(), text.end(), [&](char c) {
           return letter(c) || (c >= '0' && c <= '9');
         });
}

const std::vector<std::string>& c_keywords() {
  static const std::vector<std::string> kKeywords = {
      // C
      "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else",
      "enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "register",
      "restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch", "typedef",
      "union", "unsigned", "void", "volatile", "while", "_Alignas", "_Alignof", "_Atomic",
      "_BitInt", "_Bool", "_Complex", "_Decimal128", "_Decimal32", "_Decimal64", "_Generic",
      "_Imaginary", "_Noreturn", "_Static_assert", "_Thread_local", "typeof", "typeof_unqual",
      // C++, and what C took over from it
      "alignas", "alignof", "and", "and_eq", "asm", "bitand", "bitor", "bool", "catch", "char16_t",
      "char32_t", "char8_t", "class", "co_await", "co_return", "co_yield", "compl", "concept",
      "const_cast", "consteval", "constexpr", "constinit", "decltype", "delete", "dynamic_cast",
      "explicit", "export", "false", "friend", "mutable", "namespace", "new", "noexcept", "not",
      "not_eq", "nullptr", "operator", "or", "or_eq", "private", "protected", "public",
      "reinterpret_cast", "requires", "static_assert", "static_cast", "template", "this",
      "thread_local", "throw", "true", "try", "typeid", "typename", "using", "virtual", "wchar_t",
      "xor", "xor_eq"};
  return kKeywords;
}

bool is_c_keyword(std::string_view text) {
  const auto& words = c_keywords();
  return std::find(words.begin(), words.end(), text) != words.end();
}

}  // namespace mha
