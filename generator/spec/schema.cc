#include "generator/spec/schema.h"

#include <nlohmann/json.hpp>

#include "generator/spec/keys.h"

namespace mha {
namespace {

using Json = nlohmann::ordered_json;  // keys in the order of the table

Json any_of(const std::vector<ValueRule>& values);

Json identifier() {
  return {{"type", "string"},
          {"pattern", "^[A-Za-z_][A-Za-z0-9_]*$"},
          {"maxLength", kMaxNameLength},
          {"not", {{"enum", c_keywords()}}}};
}

Json keys_of(const ValueRule& rule) {
  Json properties = Json::object();
  Json required = Json::array();
  for (const KeyRule& key : rule.keys) {
    Json value = {{"description", key.help}};
    value.update(any_of(key.values));
    properties[key.name] = std::move(value);
    if (key.required) required.push_back(key.name);
  }
  Json json = {
      {"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
  if (!required.empty()) json["required"] = std::move(required);
  if (rule.min_items > 0) json["minProperties"] = rule.min_items;
  return json;
}

Json schema_of(const ValueRule& rule) {
  switch (rule.kind) {
    case ValueKind::kInt:
      if (rule.min == rule.max) return {{"const", rule.min}};
      return {{"type", "integer"}, {"minimum", rule.min}, {"maximum", rule.max}};
    case ValueKind::kNumber: {
      Json json = {{"type", "number"}};
      if (rule.bounded) json[rule.above ? "exclusiveMinimum" : "minimum"] = rule.low;
      return json;
    }
    case ValueKind::kBool:
      return {{"type", "boolean"}};
    case ValueKind::kWord:
      return {{"enum", rule.words}};
    case ValueKind::kName: {
      Json json = identifier();
      json["pattern"] = "^(?!mha|halide)[A-Za-z_][A-Za-z0-9_]*$";
      return json;
    }
    case ValueKind::kTableName:
      return identifier();
    case ValueKind::kText:
      return {{"type", "string"}, {"minLength", 1}};
    case ValueKind::kExpression:
      return {{"type", {"string", "number"}}, {"minLength", 1}};
    case ValueKind::kList: {
      Json json = {{"type", "array"}, {"items", any_of(rule.items)}};
      if (rule.min_items > 0) json["minItems"] = rule.min_items;
      if (rule.max_items < static_cast<size_t>(kMaxSize)) json["maxItems"] = rule.max_items;
      if (rule.unique) json["uniqueItems"] = true;
      return json;
    }
    case ValueKind::kMap:
      return keys_of(rule);
    case ValueKind::kEntries: {
      Json json = {{"type", "object"}};
      if (!rule.words.empty()) {
        json["propertyNames"] = {{"enum", rule.words}};
      } else {
        Json taken = Json::array();
        for (const auto* words : {&c_keywords(), &expression_words(), &tensor_names()}) {
          for (const std::string& word : *words) taken.push_back(word);
        }
        json["propertyNames"] = identifier();
        json["propertyNames"]["not"]["enum"] = std::move(taken);
      }
      json["additionalProperties"] = any_of(rule.items);
      return json;
    }
  }
  return {};
}

Json any_of(const std::vector<ValueRule>& values) {
  if (values.size() == 1) return schema_of(values.front());
  Json all = Json::array();
  for (const ValueRule& rule : values) all.push_back(schema_of(rule));
  return {{"anyOf", std::move(all)}};
}

// What depends on the op: the keys it must have and those it must not.
Json for_op(const ValueRule& config) {
  Json needed = Json::array();
  Json not_block = Json::object(), not_attention = Json::object();
  for (const KeyRule& key : config.keys) {
    if (key.required_for_block) needed.push_back(key.name);
    if (key.op == For::kAttention) not_block[key.name] = false;
    if (key.op == For::kBlock) not_attention[key.name] = false;
  }
  const Json is_attention = {{"properties", {{"op", {{"const", "attention"}}}}},
                             {"required", {"op"}}};
  return {{"if", is_attention},
          {"then", {{"properties", std::move(not_attention)}}},
          {"else", {{"required", std::move(needed)}, {"properties", std::move(not_block)}}}};
}

}  // namespace

std::string schema_json() {
  Json json = {{"$schema", "http://json-schema.org/draft-07/schema#"},
               {"title", "A kernel of mha"},
               {"description", "One config describes one kernel family. See docs/spec.md."}};
  json.update(keys_of(config_rule()));
  json.update(for_op(config_rule()));
  return json.dump(2) + "\n";
}

}  // namespace mha
