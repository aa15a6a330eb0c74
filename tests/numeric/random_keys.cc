#include "tests/numeric/random_keys.h"

#include <algorithm>
#include <initializer_list>
#include <stdexcept>

#include "generator/spec/parse.h"

namespace mha {
namespace {

template <typename T>
T pick(Random& random, std::initializer_list<T> values) {
  return values.begin()[random.integer(0, static_cast<int64_t>(values.size()) - 1)];
}

bool chance(Random& random, double probability) { return random.uniform() < probability; }

ConfigPart alibi(const ConfigFacts& facts, Random& random) {
  if (chance(random, 0.5)) return {{"alibi"}, "alibi: true\n", "", ""};
  std::string slopes;
  for (int64_t h = 0; h < facts.heads; ++h) {
    slopes += (h > 0 ? ", " : "") + std::string(pick(random, {"0", "0.25", "1", "-0.03", "0.007"}));
  }
  return {{"alibi"}, "alibi: [" + slopes + "]\n", "", ""};
}

struct RuleText {
  const char* rule;
  const char* table = "";  // an entry of `table`
};

ConfigPart score_rule(Random& random) {
  const RuleText rule = pick<RuleText>(
      random, {{"s * 0.5 + 0.25 * (h + 1)"},
               {"s - 0.01 * abs(q - k)"},
               {"s if q - k < 8 else s - 2"},
               {"min(s, 1.5) + b"},
               {"tanh(s / 2) * 3"},
               {"s * (1 + (q + k) % 3 / 4)"},
               {"s + log(1 + abs(q - k)) * 0.25"},
               {"s - sqrt(abs(s) + 1)"},
               {"(s if k // 4 % 2 == 0 else -s) / (1 + q_len + k_len) * d_head"},
               {"s + bias[h, min(abs(q - k), 15)]", "bias: {shape: [H, 16], dtype: f32}"},
               {"s + place[k]", "place: {shape: [Lk], dtype: f32}"},
               {"s * own[b] - exp(-abs(s))", "own: {shape: [B], dtype: f32}"}});
  ConfigPart part{
      {"score_rule"}, std::string("score_rule: \"") + rule.rule + "\"\n", "", rule.table};
  if (!part.table.empty()) part.keys.emplace_back("table");
  return part;
}

ConfigPart mask_rule(const ConfigFacts& facts, Random& random) {
  std::vector<RuleText> rules = {
      {"k <= q"},
      {"k <= q and q - k < 33"},
      {"k < 4 or (q - k < 16 and k <= q)"},
      {"(q + k) % 3 != 0"},
      {"k // 16 <= q // 16"},
      {"not k > q + 5"},
      {"q * 2 > k - 7 or h == 0"},
      {"abs(q - k) < 40 if b % 2 == 0 else k < 64"},
      {"k >= k_len - 20 or q / 3 >= k"},
      {"doc[max(min(q, k_len - 1), 0)] == doc[k]", "doc: [Lk]"},
  };
  if (facts.queries_among_keys) rules.push_back({"doc[q] == doc[k]", "doc: [Lk]"});
  const RuleText rule =
      rules[static_cast<size_t>(random.integer(0, static_cast<int64_t>(rules.size()) - 1))];
  ConfigPart part{{"mask.rule"}, "", std::string("rule: \"") + rule.rule + "\"", rule.table};
  if (!part.table.empty()) part.keys.emplace_back("table");
  return part;
}

ConfigPart rope(const ConfigFacts& facts, Random& random) {
  const int64_t even = facts.d_head / 2 * 2;
  std::string text = std::string("rope: {style: ") + pick(random, {"half", "interleaved"});
  int64_t dims = even;
  if (facts.d_head != even || chance(random, 0.3)) {
    dims = chance(random, 0.5) ? even : 2 * random.integer(1, even / 2);
    text += ", dims: " + std::to_string(dims);
  }
  if (chance(random, 0.4)) text += std::string(", theta: ") + pick(random, {"100", "500000"});
  const double scaling = random.uniform();
  if (scaling < 0.15) {
    text += ", scaling: {type: linear, factor: 4}";
  } else if (scaling < 0.3) {
    text +=
        ", scaling: {type: llama3, factor: 8, low_freq_factor: 1, high_freq_factor: 4, "
        "original_length: 64}";
  } else if (scaling < 0.45) {
    text += ", scaling: {type: yarn, factor: 4, original_length: 64}";
  } else if (scaling < 0.55) {
    std::string numbers;
    for (int64_t i = 0; i < dims / 2; ++i) {
      numbers += (i > 0 ? ", " : "") + std::to_string(1.0 / static_cast<double>(1 + 3 * i));
    }
    text += ", scaling: {inv_freq: [" + numbers + "], attention_factor: 0.75}";
  }
  return {{"rope"}, text + "}\n", "", ""};
}

ConfigPart qk_norm(bool rope, Random& random) {
  std::string text;
  if (chance(random, 0.4)) text += ", width: all";
  if (chance(random, 0.4)) text += ", weight_offset: 1";
  if (chance(random, 0.3)) text += ", eps: 0.01";
  ConfigPart part{{"qk_norm"}, "", "", ""};
  if (rope && chance(random, 0.5)) {
    text += ", order: after_rope";
    part.keys.emplace_back("rope");  // without which that order has no meaning
  }
  part.lines = "qk_norm: {" + (text.empty() ? "" : text.substr(2)) + "}\n";
  return part;
}

ConfigPart pruned_heads(const ConfigFacts& facts, Random& random) {
  const int64_t kept = random.integer(0, facts.heads - 1);
  std::string list;
  for (int64_t h = 0; h < facts.heads; ++h) {
    if (h == kept || chance(random, 0.5)) continue;
    list += (list.empty() ? "" : ", ") + std::to_string(h);
  }
  return {{"pruned_heads"}, "pruned_heads: [" + list + "]\n", "", ""};
}

ConfigPart kv_cache(const ConfigFacts& facts, Random& random) {
  const int64_t more = pick<int64_t>(random, {0, 1, 15, 48, 130, 300});
  std::string text = "kv_cache: {capacity: " + std::to_string(facts.new_keys + more);
  if (chance(random, 0.6)) {
    text += std::string(", layout: paged, page: ") + pick(random, {"16", "32", "64"});
  }
  return {{"kv_cache"}, text + "}\n", "", ""};
}

std::string text_of(const std::string& lines, const std::string& mask,
                    const std::vector<ConfigPart>& parts) {
  std::string text = lines, entries = mask, tables;
  for (const ConfigPart& part : parts) {
    if (!part.mask.empty()) entries += (entries.empty() ? "" : ", ") + part.mask;
    if (!part.table.empty()) tables += (tables.empty() ? "" : ", ") + part.table;
    text += part.lines;
  }
  if (!tables.empty()) text += "table: {" + tables + "}\n";
  if (!entries.empty()) text += "mask: {" + entries + "}\n";
  return text;
}

}  // namespace

std::vector<ConfigPart> random_parts(const ConfigFacts& facts, Random& random) {
  std::vector<ConfigPart> parts;
  if (chance(random, 0.3)) {
    const char* dtype = pick(random, {"bf16", "bf16", "f16"});
    parts.push_back({{"dtype"}, std::string("dtype: ") + dtype + "\n", "", ""});
  }
  if (facts.block && chance(random, 0.3)) {
    const char* weights = pick(random, {"f32", "bf16", "f16", "int8", "int8"});
    parts.push_back({{"weights"}, std::string("weights: ") + weights + "\n", "", ""});
  }
  if (chance(random, 0.15)) {
    const char* cap = pick(random, {"0.5", "5", "30"});
    parts.push_back({{"softcap"}, std::string("softcap: ") + cap + "\n", "", ""});
  }
  if (chance(random, 0.15)) parts.push_back(alibi(facts, random));
  if (chance(random, 0.2)) parts.push_back(score_rule(random));
  if (chance(random, 0.2)) parts.push_back(mask_rule(facts, random));
  if (chance(random, 0.15)) parts.push_back({{"sink"}, "sink: true\n", "", ""});
  const bool turns = facts.d_head > 1 && chance(random, 0.2);
  if (turns) parts.push_back(rope(facts, random));
  if (chance(random, 0.2)) parts.push_back(qk_norm(turns, random));
  if (facts.heads > 1 && chance(random, 0.15)) parts.push_back(pruned_heads(facts, random));
  if (facts.may_cache && chance(random, 0.3)) parts.push_back(kv_cache(facts, random));
  return parts;
}

std::string built_config(const std::string& lines, const std::string& mask,
                         std::vector<ConfigPart> parts) {
  for (;;) {
    const std::string text = text_of(lines, mask, parts);
    const ParseResult parsed = parse_spec_text(text, "random.yaml");
    if (!parsed.spec) throw std::logic_error(format_diagnostics(parsed.problems, text));
    const std::vector<Diagnostic> refused = unsupported(*parsed.spec);
    const size_t before = parts.size();
    std::erase_if(parts, [&](const ConfigPart& part) {
      return std::any_of(refused.begin(), refused.end(), [&](const Diagnostic& problem) {
        const std::string key = problem.message.substr(0, problem.message.find(':'));
        return std::find(part.keys.begin(), part.keys.end(), key) != part.keys.end();
      });
    });
    if (parts.size() == before) return text;  // what is refused now is no part's fault
  }
}

}  // namespace mha
