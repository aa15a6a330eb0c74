#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "generator/ir/lower.h"
#include "generator/spec/expression_text.h"

namespace mha {
namespace {

std::string range_text(const Range& range) {
  return range.fixed() ? fmt::format("{}", range.min) : fmt::format("{}..{}", range.min, range.max);
}

// "w_q * 0.125 + b_q"; a folded scale multiplies the bias too.
std::string map_text(const std::string& weight, const std::string& bias, double scale) {
  std::string text = bias.empty() ? weight : weight + " + " + bias;
  if (scale == 1) return text;
  return bias.empty() ? fmt::format("{} * {}", text, scale) : fmt::format("({}) * {}", text, scale);
}

std::string projection_text(const Projection& projection) {
  std::vector<std::string> parts;
  for (const ProjectionPart& part : projection.parts) {
    parts.push_back(fmt::format("{} ({} x {})", map_text(part.weight, part.bias, part.weight_scale),
                                part.heads, part.width));
  }
  return fmt::format("  project {}: {}\n", projection.input, fmt::join(parts, ", "));
}

std::string norm_text(const QkNorm& norm) {
  return fmt::format(", norm of {} (eps {}, weight {}w)",
                     norm.all_width ? "all heads" : "each head", norm.eps,
                     norm.weight_offset == 1 ? "1 + " : "");
}

std::string rotation_text(const Rotation& rotation) {
  std::string text =
      fmt::format(", rotation of {} {} from {:.6g} to {:.6g}", rotation.inv_freq.size(),
                  rotation.interleaved ? "neighbours" : "halves", rotation.inv_freq.front(),
                  rotation.inv_freq.back());
  return rotation.attention_factor == 1
             ? text
             : text + fmt::format(" * {:.6g}", rotation.attention_factor);
}

std::string attention_text(const Attention& a) {
  std::string text = fmt::format("  attention: H = {}, G = {}, D = {}, Dv = {}, scale {}", a.heads,
                                 a.kv_heads, a.d_head, a.d_value, a.score_scale);
  if (!a.kept_heads.empty()) {
    text += fmt::format(", heads {} of {}", fmt::join(a.kept_heads, " "), a.all_heads);
    text += fmt::format(", KV heads {} of {}", fmt::join(a.kept_kv_heads, " "), a.all_kv_heads);
  }
  if (a.norm && a.norm->before_rope) text += norm_text(*a.norm);
  if (a.rotation) text += rotation_text(*a.rotation);
  if (a.norm && !a.norm->before_rope) text += norm_text(*a.norm);
  if (a.softcap) text += fmt::format(", softcap {}", *a.softcap);
  if (!a.alibi_slopes.empty()) text += ", alibi";
  if (a.sink) text += ", sink";
  if (a.score_rule) text += ", score " + expression_text(*a.score_rule);
  if (a.mask_rule) text += ", visible where " + expression_text(*a.mask_rule);
  if (a.right == 0) text += ", causal";
  if (a.left) text += fmt::format(", left {}", *a.left);
  if (a.right && *a.right != 0) text += fmt::format(", right {}", *a.right);
  if (a.mask == MaskTensor::kBool) text += ", mask of bool";
  if (a.mask == MaskTensor::kAdditive) text += ", added mask";
  if (a.key_lengths) text += ", key_lengths";
  if (a.key_starts) text += ", key_starts";
  if (a.query_offset == QueryOffset::kEnd) text += ", queries end with the keys";
  if (a.query_offset == QueryOffset::kInput) text += ", query_offset";
  return text + "\n";
}

}  // namespace

std::string plan_text(const Plan& plan) {
  const bool block = plan.op == Op::kBlock;
  std::string text = fmt::format("{}: {}", plan.name, block ? "block" : "attention");
  if (plan.dtype != Dtype::kF32) text += fmt::format(" in {}", dtype_name(plan.dtype));
  if (block && plan.weights != Dtype::kF32) {
    text += fmt::format(", weights {}", dtype_name(plan.weights));
  }
  if (!block) text += plan.layout == Layout::kBshd ? ", bshd" : ", bhsd";
  text += fmt::format(", B = {}, Lq = {}, Lk = {}", range_text(plan.batch),
                      range_text(plan.query_length),
                      plan.self_length ? "Lq" : range_text(plan.key_length));
  if (block) text += fmt::format(", M = {}", plan.d_model);
  if (plan.packed) text += ", packed";
  if (plan.cache) {
    text += fmt::format(", cache of {}", plan.cache->capacity);
    if (plan.cache->paged) text += fmt::format(" in pages of {}", plan.cache->page);
    if (plan.has_own_keys()) text += fmt::format(", Ln = {} or 0", range_text(plan.new_key_length));
    if (plan.new_keys == Plan::NewKeys::kOfQueriesOrNone) text += ", Ln = Lq or 0";
  }
  text += "\n";
  for (const Projection& projection : plan.projections) text += projection_text(projection);
  text += attention_text(plan.attention);
  if (block)
    text += fmt::format("  project out: {}\n", map_text(plan.out_weight, plan.out_bias, 1));
  text += fmt::format("  returns {}", fmt::join(plan.outputs, ", "));
  return text + (plan.top_k > 0 ? fmt::format(" of {} keys\n", plan.top_k) : "\n");
}

}  // namespace mha
