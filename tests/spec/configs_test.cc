// The configs that ship, the JSON of a spec, configs/schema.json and the examples of docs/spec.md.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "cases.h"
#include "generator/spec/keys.h"
#include "generator/spec/schema.h"

namespace mha {
namespace {

const std::filesystem::path kSource = MHA_SOURCE_DIR;

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::filesystem::path> configs() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(kSource / "configs")) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
  }
  EXPECT_GE(paths.size(), 5u);
  return paths;
}

TEST(Configs, AreGoodBuiltAndNamedAsTheirFile) {
  for (const auto& path : configs()) {
    const Spec spec = load_spec(path);
    EXPECT_EQ(spec.name, path.stem());
    EXPECT_TRUE(read(path).starts_with("# "))
        << path << " starts with a comment that says what it is";
  }
}

TEST(Configs, ShapesOfTheKnownModels) {
  const auto shape = [](const std::string& name) {
    const Spec s = load_spec(kSource / "configs" / (name + ".yaml"));
    return std::vector<int64_t>{s.d_model, s.heads, s.kv_heads, s.d_head};
  };
  EXPECT_EQ(shape("transformer_base"), (std::vector<int64_t>{512, 8, 8, 64}));
  EXPECT_EQ(shape("transformer_large"), (std::vector<int64_t>{1024, 16, 16, 64}));
  EXPECT_EQ(shape("bert_base"), (std::vector<int64_t>{768, 12, 12, 64}));
  EXPECT_EQ(shape("llama3_8b"), (std::vector<int64_t>{4096, 32, 8, 128}));
  EXPECT_EQ(shape("gpt2"), (std::vector<int64_t>{768, 12, 12, 64}));
  EXPECT_EQ(shape("minilm_l6"), (std::vector<int64_t>{384, 12, 12, 32}));
}

// A spec's JSON is itself a config that says the same; and says it without the file's name.
TEST(Json, IsAConfigOfTheSameSpec) {
  std::vector<std::string> texts;
  for (const auto& path : configs()) texts.push_back(read(path));
  texts.push_back(
      attention("qk_norm: {}\nrope: {style: half, scaling: {type: llama3, factor: 8, "
                "low_freq_factor: 1, high_freq_factor: 4, "
                "original_length: 8192}}\nalibi: true\nscore_rule: s * bias[h]\ntable: {bias: "
                "{shape: [8], dtype: f32}}\n"
                "mask: {window: {left: 3}, tensor: bool}\nkv_cache: {capacity: 32, layout: "
                "paged}\ntop_k: 2\nsoftcap: 2.5\n"));
  texts.push_back(attention(
      "rope: {style: half, dims: 4, scaling: {inv_freq: [1, 0.1], attention_factor: 1.5}}\n"));
  texts.push_back(
      attention("rope: {style: half, scaling: {type: yarn, factor: 8, original_length: 4, "
                "truncate: false}}\n"));
  texts.push_back(block(
      "cross: true\nkey_length: 5\nweights_from: {w_q: {name: x, rows: [0, 512]}, w_k: {name: "
      "x, transpose: true}, w_v: {name: x, transpose: true, rows: [7, 519]}}\n"));
  for (const std::string& text : texts) {
    const std::string json = spec_to_json(good(text));
    EXPECT_EQ(json.find("t.yaml"), std::string::npos);
    EXPECT_EQ(spec_to_json(good(json)), json);
  }
  EXPECT_NE(spec_to_json(good(attention("scale: 0.5\n"))), spec_to_json(good(attention(""))));
}

// The one place where the text itself is written down: it is part of manifests, and of what a cache
// is keyed by.
TEST(Json, Text) {
  EXPECT_EQ(
      spec_to_json(good(
          "version: 1\nname: t\nop: attention\nheads: 6\nkv_heads: 2\nd_head: 16\nd_value: 3\n"
          "batch: {min: 1, max: 4}\nquery_length: 5\nkey_length: {min: 7, max: 9}\nlayout: bhsd\n"
          "scale: 0.5\nquery_offset: input\nmask: {causal: true, key_lengths: true}\n"
          "outputs: [lse, output]\ntargets: [zen4]\n")),
      R"({"alibi":false,"batch":{"max":4,"min":1},"d_head":16,"d_value":3,"dtype":"f32","heads":6,)"
      R"("key_length":{"max":9,"min":7},"kv_heads":2,"layout":"bhsd","mask":{"causal":true,)"
      R"("key_lengths":true,"key_starts":false,"tensor":"none"},"name":"t","op":"attention",)"
      R"("outputs":["output","lse"],"packed":false,"pruned_heads":[],"query_length":5,)"
      R"("query_offset":"input","scale":0.5,"sink":false,"targets":["zen4"],"version":1})");
  EXPECT_EQ(
      spec_to_json(good(
          "version: 1\nname: t\nd_model: 12\nheads: 2\nd_head: 5\nd_value: 7\nquery_length: 8\n"
          "scale: 2\nprojection_bias: {v: true}\nweights_from: {w_o: o, b_v: {name: v}}\n")),
      R"({"alibi":false,"batch":1,"cross":false,"d_head":5,"d_model":12,"d_value":7,"dtype":"f32","heads":2,)"
      R"("kv_heads":2,"mask":{"causal":false,"key_lengths":false,"key_starts":false,"tensor":"none"},)"
      R"("name":"t","op":"block","outputs":["output"],"packed":false,"projection_bias":{"k":false,)"
      R"("out":false,"q":false,"v":true},"pruned_heads":[],"query_length":8,"query_offset":"start",)"
      R"("scale":2.0,"sink":false,"targets":["host"],"version":1,"weights":"f32",)"
      R"("weights_from":{"b_v":"v","w_o":"o"}})");
}

TEST(Schema, FileEqualsTheTableOfKeys) {
  const auto path = kSource / "configs" / "schema.json";
  if (std::getenv("MHA_UPDATE") != nullptr) std::ofstream(path, std::ios::binary) << schema_json();
  EXPECT_EQ(read(path), schema_json())
      << "to write it anew: MHA_UPDATE=1 spec_test --gtest_filter=Schema.*";
}

void check_descriptions(const nlohmann::json& schema, const std::string& path) {
  if (schema.contains("properties")) {
    for (const auto& [name, value] : schema["properties"].items()) {
      ASSERT_TRUE(value.contains("description")) << path << name;
      EXPECT_GT(value["description"].get<std::string>().size(), 5u) << path << name;
      check_descriptions(value, path + name + ".");
    }
  }
  if (schema.contains("anyOf")) {
    for (const auto& part : schema["anyOf"]) check_descriptions(part, path);
  }
}
TEST(Schema, EveryKeyHasADescription) {
  check_descriptions(nlohmann::json::parse(schema_json()), "");
}

// A fenced block of the docs, and the word behind its fence.
struct Fence {
  std::string language, text;
};
std::vector<Fence> fences(const std::string& markdown) {
  std::vector<Fence> result;
  std::istringstream lines(markdown);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("```")) {
      inside = !inside;
      if (inside) result.push_back({line.substr(3), ""});
    } else if (inside) {
      result.back().text += line + "\n";
    }
  }
  return result;
}

// Every yaml block of the docs is a whole config, or lines to put behind one; one that is followed
// by a text block is bad, and the text is the message it gets.
TEST(Docs, ExamplesAreTrue) {
  const std::vector<Fence> blocks = fences(read(kSource / "docs" / "spec.md"));
  int good_ones = 0, bad_ones = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].language != "yaml") continue;
    const bool whole = blocks[i].text.find("version: 1\n") != std::string::npos;
    const std::string config = whole ? blocks[i].text : attention(blocks[i].text);
    if (i + 1 < blocks.size() && blocks[i + 1].language == "text") {
      const ParseResult result = parse_spec_text(config, "my_kernel.yaml");
      const auto problems = result.spec ? unsupported(*result.spec) : result.problems;
      EXPECT_EQ(format_diagnostics(problems, result.text), blocks[i + 1].text);
      ++bad_ones;
    } else {
      good(config);
      ++good_ones;
    }
  }
  EXPECT_GE(good_ones, 5);
  EXPECT_GE(bad_ones, 2);
}

// The key that a line begins with.
std::string key_of(const std::string& line) { return line.substr(0, line.find(':')); }

// Each example of the table stands in a config that is good without it: keys that it gives replace
// those of the base. An empty value takes a key away.
TEST(Docs, ExamplesOfWhatHasNoMeaningAreRefused) {
  const std::string docs = read(kSource / "docs" / "spec.md");
  const size_t begin = docs.find("## What has no meaning\n");
  ASSERT_NE(begin, std::string::npos);
  std::istringstream rows(docs.substr(begin, docs.find("\n## ", begin) - begin));
  int count = 0;
  for (std::string row; std::getline(rows, row);) {
    const size_t end = row.rfind("` |"), start = row.rfind("| `", end);
    if (!row.starts_with("| ") || end == std::string::npos) continue;
    const std::string example = row.substr(start + 3, end - start - 3);
    std::vector<std::string> lines;
    std::set<std::string> keys;
    std::istringstream parts(example);
    for (std::string part; std::getline(parts, part, ';');) {
      part.erase(0, part.find_first_not_of(' '));
      keys.insert(key_of(part));
      if (!part.ends_with(": ")) lines.push_back(part);
    }
    const bool is_block = example.starts_with("op: block");
    std::istringstream base(is_block ? block("op: block\n") : attention(""));
    std::string config;
    for (std::string line; std::getline(base, line);) {
      if (keys.count(key_of(line)) == 0) config += line + "\n";
    }
    for (const std::string& line : lines) config += line + "\n";
    const ParseResult result = parse_spec_text(config, "t.yaml");
    EXPECT_EQ(result.problems.size(), 1u)
        << example << "\n"
        << config << format_diagnostics(result.problems, result.text);
    ++count;
  }
  EXPECT_GE(count, 25);
}

void collect(const std::vector<ValueRule>& values, std::set<std::string>* names) {
  for (const ValueRule& value : values) {
    for (const KeyRule& key : value.keys) {
      names->insert(key.name);
      collect(key.values, names);
    }
    collect(value.items, names);
    names->insert(value.words.begin(), value.words.end());
  }
}
TEST(Docs, NameEveryKeyAndWord) {
  const std::string docs = read(kSource / "docs" / "spec.md");
  std::set<std::string> names;
  collect({config_rule()}, &names);
  for (const std::string& name : names) {
    const auto letter = [](char c) { return is_identifier(std::string("_") + c); };
    bool found = false;
    for (size_t at = docs.find(name); at != std::string::npos && !found;
         at = docs.find(name, at + 1)) {
      found = !letter(docs[at - 1]) && !letter(docs[at + name.size()]);
    }
    EXPECT_TRUE(found) << "docs/spec.md does not mention " << name;
  }
}

}  // namespace
}  // namespace mha
