#include <nlohmann/json.hpp>

#include "generator/spec/parse.h"

namespace mha {
namespace {

using Json = nlohmann::json;  // keeps keys sorted

Json range(const Range& r) {
  if (r.fixed()) return r.min;
  return {{"min", r.min}, {"max", r.max}};
}

const char* name(Dtype dtype) { return dtype_name(dtype); }
const char* name(QueryOffset offset) {
  switch (offset) {
    case QueryOffset::kStart:
      return "start";
    case QueryOffset::kEnd:
      return "end";
    case QueryOffset::kInput:
      return "input";
  }
  return "";
}
const char* name(MaskTensor tensor) {
  switch (tensor) {
    case MaskTensor::kNone:
      return "none";
    case MaskTensor::kBool:
      return "bool";
    case MaskTensor::kAdditive:
      return "additive";
  }
  return "";
}

Json mask(const Mask& mask) {
  Json json = {{"causal", mask.causal},
               {"tensor", name(mask.tensor)},
               {"key_lengths", mask.key_lengths},
               {"key_starts", mask.key_starts}};
  if (mask.window) json["window"] = {{"left", mask.window->left}, {"right", mask.window->right}};
  if (!mask.rule.empty()) json["rule"] = mask.rule;
  return json;
}

Json rope(const Rope& rope) {
  Json json = {{"style", rope.interleaved ? "interleaved" : "half"},
               {"theta", rope.theta},
               {"dims", rope.dims}};
  Json scaling = Json::object();
  for (const auto& [key, value] : rope.scaling.numbers) scaling[key] = value;
  if (scaling.contains("original_length")) {
    scaling["original_length"] = static_cast<int64_t>(rope.scaling.numbers.at("original_length"));
  }
  if (!rope.scaling.type.empty()) scaling["type"] = rope.scaling.type;
  if (scaling.contains("truncate")) scaling["truncate"] = rope.scaling.numbers.at("truncate") != 0;
  if (!rope.scaling.inv_freq.empty()) scaling["inv_freq"] = rope.scaling.inv_freq;
  if (!scaling.empty()) json["scaling"] = std::move(scaling);
  return json;
}

Json weights_from(const std::map<std::string, WeightSource>& weights) {
  Json json = Json::object();
  for (const auto& [weight, source] : weights) {
    if (!source.transpose && !source.rows) {
      json[weight] = source.name;
      continue;
    }
    Json entry = {{"name", source.name}, {"transpose", source.transpose}};
    if (source.rows) entry["rows"] = {source.rows->min, source.rows->max};
    json[weight] = std::move(entry);
  }
  return json;
}

}  // namespace

// A config that says the same is a JSON object with these keys: the JSON can be parsed as a config
// again. Keys that do not fit the op, and features that are off and have no default to show, are
// left out.
std::string spec_to_json(const Spec& spec) {
  const bool block = spec.op == Op::kBlock;
  Json json = {{"version", spec.version},
               {"name", spec.name},
               {"op", block ? "block" : "attention"},
               {"heads", spec.heads},
               {"kv_heads", spec.kv_heads},
               {"d_head", spec.d_head},
               {"d_value", spec.d_value},
               {"batch", range(spec.batch)},
               {"query_length", range(spec.query_length)},
               {"dtype", name(spec.dtype)},
               {"scale", spec.scale},
               {"mask", mask(spec.mask)},
               {"sink", spec.sink},
               {"packed", spec.packed},
               {"outputs", spec.outputs},
               {"targets", spec.targets}};
  if (spec.key_length_given) json["key_length"] = range(spec.key_length);
  if (block) {
    json["d_model"] = spec.d_model;
    json["cross"] = spec.cross;
    json["weights"] = name(spec.weights);
    json["projection_bias"] = {{"q", spec.projection_bias.q},
                               {"k", spec.projection_bias.k},
                               {"v", spec.projection_bias.v},
                               {"out", spec.projection_bias.out}};
    if (!spec.weights_from.empty()) json["weights_from"] = weights_from(spec.weights_from);
  } else {
    json["layout"] = spec.layout == Layout::kBshd ? "bshd" : "bhsd";
  }
  if (spec.qk_norm) {
    json["qk_norm"] = {{"eps", spec.qk_norm->eps},
                       {"weight_offset", spec.qk_norm->weight_offset},
                       {"width", spec.qk_norm->all_width ? "all" : "head"},
                       {"order", spec.qk_norm->before_rope ? "before_rope" : "after_rope"}};
  }
  if (!spec.kv_cache) json["query_offset"] = name(spec.query_offset);
  if (spec.rope) json["rope"] = rope(*spec.rope);
  if (spec.softcap) json["softcap"] = *spec.softcap;
  if (spec.alibi) {
    json["alibi"] = spec.alibi_slopes;
  } else {
    json["alibi"] = false;
  }
  if (!spec.score_rule.empty()) json["score_rule"] = spec.score_rule;
  if (!spec.tables.empty()) {
    for (const Table& table : spec.tables) {
      Json shape = Json::array();
      for (const std::string& axis : table.shape) {
        if (axis[0] >= '0' && axis[0] <= '9') {
          shape.push_back(std::stoll(axis));
        } else {
          shape.push_back(axis);
        }
      }
      json["table"][table.name] = {{"shape", std::move(shape)}, {"dtype", name(table.dtype)}};
    }
  }
  if (spec.kv_cache) {
    json["kv_cache"] = {{"capacity", spec.kv_cache->capacity},
                        {"layout", spec.kv_cache->paged ? "paged" : "contiguous"}};
    if (spec.kv_cache->paged) json["kv_cache"]["page"] = spec.kv_cache->page;
  }
  if (spec.top_k > 0) json["top_k"] = spec.top_k;
  json["pruned_heads"] = spec.pruned_heads;
  return json.dump();
}

}  // namespace mha
