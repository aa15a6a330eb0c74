#include "tests/numeric/pairwise_specs.h"

#include <algorithm>
#include <sstream>

#include "generator/spec/parse.h"

namespace mha {
namespace {

// A value in words, and what stands in the config for it: lines, an entry of `mask`, of `table`.
struct Value {
  const char* words;
  const char* lines = "";
  const char* mask = "";
  const char* table = "";
};
struct Factor {
  const char* name;
  bool block_only;  // without effect in op attention
  std::vector<Value> values;
};

constexpr size_t kForm = 0;
constexpr int kFirstBlockForm = 3;

const std::vector<Factor>& factors() {
  static const std::vector<Factor> kFactors = {
      {"form",
       false,
       {{"attention", "op: attention\n"},
        {"attention bhsd", "op: attention\nlayout: bhsd\n"},
        {"attention packed", "op: attention\npacked: true\n"},
        {"block", "op: block\nd_model: 40\n"},
        {"block cross", "op: block\nd_model: 40\ncross: true\n"},
        {"block packed", "op: block\nd_model: 40\npacked: true\n"}}},
      {"heads",
       false,
       {{"4 of 4", "heads: 4\n"},
        {"4 of 2", "heads: 4\nkv_heads: 2\n"},
        {"4 of 1", "heads: 4\nkv_heads: 1\n"}}},
      {"widths",
       false,
       {{"32", "d_head: 32\n"},
        {"64 and 48", "d_head: 64\nd_value: 48\n"},
        {"10 and 7", "d_head: 10\nd_value: 7\n"}}},
      {"lengths",
       false,
       {{"fixed", "query_length: 50\n"},
        {"range", "query_length: {min: 1, max: 70}\n"},
        {"one", "query_length: 1\n"},
        {"keys", "query_length: {min: 1, max: 33}\nkey_length: 90\n"}}},
      {"batch", false, {{"1", ""}, {"range", "batch: {min: 1, max: 3}\n"}}},
      {"dtype", false, {{"f32", ""}, {"bf16", "dtype: bf16\n"}, {"f16", "dtype: f16\n"}}},
      {"weights",
       true,
       {{"dtype", ""},
        {"f32", "weights: f32\n"},
        {"bf16", "weights: bf16\n"},
        {"int8", "weights: int8\n"}}},
      {"bias",
       true,
       {{"none", ""}, {"all", "projection_bias: {q: true, k: true, v: true, out: true}\n"}}},
      {"softcap", false, {{"no", ""}, {"yes", "softcap: 2\n"}}},
      {"alibi",
       false,
       {{"no", ""}, {"paper", "alibi: true\n"}, {"list", "alibi: [0.5, 0, 0.125, -0.05]\n"}}},
      {"score_rule",
       false,
       {{"no", ""},
        {"plain", "score_rule: \"s * (1 + (q + k) % 3 / 4) - h\"\n"},
        {"table", "score_rule: \"s + bias[h, min(abs(q - k), 15)]\"\n", "",
         "bias: {shape: [H, 16], dtype: f32}"}}},
      {"window",
       false,
       {{"none", ""},
        {"causal", "", "causal: true"},
        {"window", "", "window: {left: 20, right: 5}"},
        {"causal window", "", "causal: true, window: {left: 30}"}}},
      {"mask.tensor",
       false,
       {{"none", ""}, {"bool", "", "tensor: bool"}, {"additive", "", "tensor: additive"}}},
      {"padding",
       false,
       {{"none", ""}, {"right", "", "key_lengths: true"}, {"left", "", "key_starts: true"}}},
      {"mask.rule",
       false,
       {{"none", ""},
        {"affine", "", "rule: \"k < 4 or q - k < 16\""},
        {"other", "", "rule: \"(q + 2 * k) % 5 != 2\""},
        {"documents", "", "rule: \"doc[max(min(q, k_len - 1), 0)] == doc[k]\"", "doc: [Lk]"}}},
      {"sink", false, {{"no", ""}, {"yes", "sink: true\n"}}},
      {"offset",
       false,
       {{"start", ""}, {"end", "query_offset: end\n"}, {"input", "query_offset: input\n"}}},
      {"rope",
       false,
       {{"no", ""},
        {"half", "rope: {style: half}\n"},
        {"interleaved",
         "rope: {style: interleaved, dims: 8, scaling: {type: linear, factor: 2}}\n"},
        {"yarn", "rope: {style: half, scaling: {type: yarn, factor: 4, original_length: 32}}\n"}}},
      {"qk_norm",
       false,
       {{"no", ""}, {"head", "qk_norm: {weight_offset: 1}\n"}, {"all", "qk_norm: {width: all}\n"}}},
      {"outputs",
       false,
       {{"output", ""},
        {"lse", "outputs: [output, lse]\n"},
        {"weights", "outputs: [output, weights, mean_weights]\n"},
        {"scores", "outputs: [output, scores, scores_capped, scores_masked]\n"}}},
      {"top_k", false, {{"no", ""}, {"3", "top_k: 3\n"}}},
      {"pruned",
       false,
       {{"none", ""}, {"two", "pruned_heads: [0, 1]\n"}, {"one", "pruned_heads: [2]\n"}}},
      {"target", false, {{"host", ""}, {"v3", "targets: [x86-64-v3]\n"}}},
      {"kv_cache",
       false,
       {{"no", ""},
        {"contiguous", "kv_cache: {capacity: 128}\n"},
        {"paged", "kv_cache: {capacity: 128, layout: paged, page: 16}\n"}}},
  };
  return kFactors;
}

}  // namespace

const std::vector<SpecFactor>& spec_factors() {
  static const std::vector<SpecFactor> kNamed = [] {
    std::vector<SpecFactor> named;
    for (const Factor& factor : factors()) {
      named.push_back({factor.name, {}});
      for (const Value& value : factor.values) named.back().values.emplace_back(value.words);
    }
    return named;
  }();
  return kNamed;
}

CoveringRow effective_row(const CoveringRow& row) {
  CoveringRow effective = row;
  for (size_t n = 0; n < row.size(); ++n) {
    if (factors()[n].block_only && row[kForm] < kFirstBlockForm) effective[n] = 0;
  }
  return effective;
}

std::string spec_text(const CoveringRow& row) {
  const CoveringRow effective = effective_row(row);
  std::string text = "version: 1\nname: pairwise\n", mask, table;
  const auto add = [](std::string* to, const char* entry) {
    if (*entry != '\0') *to += (to->empty() ? "" : ", ") + std::string(entry);
  };
  for (size_t n = 0; n < effective.size(); ++n) {
    const Value& value = factors()[n].values[static_cast<size_t>(effective[n])];
    text += value.lines;
    add(&mask, value.mask);
    add(&table, value.table);
  }
  if (!mask.empty()) text += "mask: {" + mask + "}\n";
  if (!table.empty()) text += "table: {" + table + "}\n";
  return text;
}

std::string tuple_text(const CoveringTuple& tuple) {
  std::string text;
  for (const auto& [factor, value] : tuple) {
    const SpecFactor& of = spec_factors()[static_cast<size_t>(factor)];
    text += (text.empty() ? "" : ", ") + of.name + "=" + of.values[static_cast<size_t>(value)];
  }
  return text;
}

CoveringProblem spec_problem(int strength, bool built) {
  CoveringProblem problem;
  problem.strength = strength;
  for (const SpecFactor& factor : spec_factors()) {
    problem.sizes.push_back(static_cast<int>(factor.values.size()));
  }
  problem.effective = effective_row;
  problem.valid = [built](const CoveringRow& row) {
    const ParseResult parsed = parse_spec_text(spec_text(row), "pairwise.yaml");
    return parsed.spec && (!built || unsupported(*parsed.spec).empty());
  };
  for (int form = 1; form < problem.sizes[kForm]; ++form) {
    CoveringRow base(problem.sizes.size());
    base[kForm] = form;
    problem.bases.push_back(base);
  }
  return problem;
}

}  // namespace mha
