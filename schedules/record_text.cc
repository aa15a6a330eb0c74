// Records as text. record.cc reads them.
#include <charconv>
#include <cstdio>

#include "generator/spec/expression_text.h"
#include "schedules/record.h"

namespace mha {

namespace {

// The shortest text that reads back as the same number.
std::string number(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof(text), value).ptr};
}

std::string numbers(const std::vector<double>& values) {
  std::string text;
  for (double value : values) text += (text.empty() ? "" : ", ") + number(value);
  return "[" + text + "]";
}

std::string range(const Range& r) {
  return r.fixed() ? std::to_string(r.max) : std::to_string(r.min) + ".." + std::to_string(r.max);
}

// A digest of the frequencies and their factor: any two rotations of one model have one of their
// own.
std::string frequencies(const Rotation& rotation) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  const auto add = [&](const std::string& text) {
    for (const char c : text + ",") hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  };
  for (double frequency : rotation.inv_freq) add(number(frequency));
  add(number(rotation.attention_factor));
  char digits[20];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return digits;
}

std::string part_key(const ProjectionPart& part) {
  std::string text = part.weight + ":" + std::to_string(part.heads) + "x" +
                     std::to_string(part.width) + "*" + number(part.weight_scale);
  return part.bias.empty() ? text : text + "+" + part.bias;
}

std::string table_key(const Table& table) {
  std::string text = table.name + (table.dtype == Dtype::kF32 ? ":f32" : ":i32");
  for (const std::string& axis : table.shape) text += "x" + axis;
  return text;
}

// Their stages, `indent` deep.
std::string stages_text(const Schedule& schedule, const std::string& indent) {
  std::string text = indent + "stages:\n";
  for (const StageSchedule& stage : schedule.stages) {
    text += indent + "  " + stage.stage + ": {";
    for (size_t i = 0; i < stage.params.size(); ++i) {
      const auto& [name, value] = stage.params[i];
      text += (i == 0 ? "" : ", ") + name + ": " + std::to_string(value);
    }
    text += "}\n";
  }
  return text;
}

constexpr int64_t kAllLengths = 0;

std::string certificate_text(const std::optional<RecordCertificate>& certificate) {
  if (!certificate) return "";
  std::string text;
  const RecordCertificate& c = *certificate;
  const auto add = [&](const std::string& name, const std::string& value) {
    text += "      " + name + ": " + value + "\n";
  };
  const auto quoted = [](const std::string& value) { return "\"" + value + "\""; };
  text += "    certificate:\n";
  add("gain", number(c.gain));
  add("low", number(c.low));
  add("high", number(c.high));
  add("margin", number(c.margin));
  add("error", number(c.error));
  add("pair_gains", numbers(c.pair_gains));
  add("seconds", numbers(c.seconds));
  add("default_seconds", numbers(c.default_seconds));
  add("disturbed", std::to_string(c.disturbed));
  add("lengths", quoted(c.lengths));
  add("machine", quoted(c.machine));
  add("generator", quoted(c.generator));
  add("space", quoted(c.space));
  add("time", quoted(c.time));
  return text;
}

}  // namespace

std::string plan_key(const Plan& plan) {
  const Attention& a = plan.attention;
  std::string key = plan.op == Op::kBlock ? "block" : "attention";
  const auto add = [&](const std::string& name, const std::string& value) {
    key += " " + name + "=" + value;
  };
  if (plan.dtype != Dtype::kF32) add("dtype", dtype_name(plan.dtype));
  if (plan.op == Op::kBlock && plan.weights != Dtype::kF32) {
    add("weights", dtype_name(plan.weights));
  }
  // A block's activations have one layout.
  if (plan.op == Op::kAttention) add("layout", plan.layout == Layout::kBshd ? "bshd" : "bhsd");
  if (plan.packed) key += " packed";
  add("B", range(plan.batch));
  add("Lq", range(plan.query_length));
  add("Lk", plan.self_length ? "Lq" : range(plan.key_length));
  if (plan.cache) add("cache", plan.cache->paged ? std::to_string(plan.cache->page) : "whole");
  if (plan.may_bring_none()) add("Ln", plan.has_own_keys() ? range(plan.new_key_length) : "Lq|0");
  if (plan.op == Op::kBlock) add("M", std::to_string(plan.d_model));
  add("H", std::to_string(a.heads));
  add("G", std::to_string(a.kv_heads));
  add("D", std::to_string(a.d_head));
  add("Dv", std::to_string(a.d_value));
  add("scale", number(a.score_scale));
  const auto list = [](const std::vector<int64_t>& values) {
    std::string text;
    for (int64_t value : values) text += (text.empty() ? "" : ",") + std::to_string(value);
    return text;
  };
  if (!a.kept_heads.empty()) {
    add("heads", list(a.kept_heads) + "/" + std::to_string(a.all_heads));
    add("kv_heads", list(a.kept_kv_heads) + "/" + std::to_string(a.all_kv_heads));
  }
  if (a.norm) {
    add("norm", std::string(a.norm->all_width ? "all" : "head") +
                    (a.norm->before_rope ? "" : ",after") + "," + number(a.norm->eps) +
                    (a.norm->weight_offset == 1 ? ",1+w" : ""));
  }
  if (a.rotation) {
    // Their number, and all of them.
    add("rope", std::string(a.rotation->interleaved ? "interleaved" : "half") + "," +
                    std::to_string(a.rotation->inv_freq.size()) + "," + frequencies(*a.rotation));
  }
  if (a.softcap) add("softcap", number(*a.softcap));
  if (!a.alibi_slopes.empty()) add("alibi", numbers(a.alibi_slopes));
  if (a.score_rule) add("score_rule", expression_text(*a.score_rule));
  if (a.mask_rule) add("mask_rule", expression_text(*a.mask_rule));
  for (const Table& table : a.tables) add("table", table_key(table));
  if (a.sink) key += " sink";
  if (a.right == 0) key += " causal";
  if (a.right && *a.right != 0) add("right", std::to_string(*a.right));
  if (a.left) add("left", std::to_string(*a.left));
  if (a.mask == MaskTensor::kBool) add("mask", "bool");
  if (a.mask == MaskTensor::kAdditive) add("mask", "additive");
  if (a.key_lengths) key += " key_lengths";
  if (a.key_starts) key += " key_starts";
  add("offset", a.query_offset == QueryOffset::kStart ? "start"
                : a.query_offset == QueryOffset::kEnd ? "end"
                                                      : "input");
  for (const Projection& projection : plan.projections) {
    std::string parts;
    for (const ProjectionPart& part : projection.parts) {
      parts += (parts.empty() ? "" : ",") + part_key(part);
    }
    key += " project(" + projection.input + "->" + parts + ")";
  }
  if (plan.op == Op::kBlock) {
    add("out", plan.out_weight + (plan.out_bias.empty() ? "" : "+" + plan.out_bias));
  }
  std::string outputs;
  for (const std::string& output : plan.outputs) outputs += (outputs.empty() ? "" : ",") + output;
  add("outputs", outputs);
  if (plan.top_k > 0) add("top_k", std::to_string(plan.top_k));
  return key;
}

std::string records_head(const std::string& target) {
  return "version: 1\ntarget: " + target + "\nrecords:\n";
}

std::string record_text(const Plan& plan, const Schedule& schedule, int threads) {
  return record_text(plan_key(plan), schedule, threads);
}

std::string record_text(const std::string& key, const Schedule& schedule, int threads) {
  return record_text(key, std::vector<LengthVariant>{{kAllLengths, schedule}}, threads);
}

std::string record_text(const std::string& key, const std::vector<LengthVariant>& variants,
                        int threads) {
  std::string text = "  - key: \"" + key + "\"\n    threads: " + std::to_string(threads) + "\n";
  if (variants.size() == 1 && variants.front().max_query_length == kAllLengths) {
    text += stages_text(variants.front().schedule, "    ");
  } else {
    text += "    variants:\n";
    for (const LengthVariant& variant : variants) {
      text += "      - to: " + std::to_string(variant.max_query_length) + "\n" +
              stages_text(variant.schedule, "        ");
    }
  }
  return text + certificate_text(variants.front().schedule.certificate);
}

}  // namespace mha
