#include <algorithm>

#include "generator/spec/parse.h"

namespace mha {
namespace {

struct Unbuilt {
  bool asked;
  const char* key;
  const char* what;     // with its verb
  const char* instead;  // what this version does build
};

bool other_output(const std::string& name) {
  return name != "output" && name != "weights" && name != "lse";
}

}  // namespace

std::vector<Diagnostic> unsupported(const Spec& spec) {
  const auto target = [&](const char* prefix) {
    return std::any_of(spec.targets.begin(), spec.targets.end(),
                       [&](const std::string& name) { return name.starts_with(prefix); });
  };
  const Unbuilt table[] = {
      {spec.dtype != Dtype::kF32, "dtype", "a dtype other than f32 is", "dtype: f32"},
      {spec.op == Op::kBlock && spec.dtype == Dtype::kF32 && spec.weights != Dtype::kF32, "weights",
       "weights stored as other than f32 are", "weights: f32"},
      {spec.cross, "cross", "cross-attention blocks are",
       "op: attention, which takes any key and value"},
      {spec.qk_norm.has_value(), "qk_norm", "the norm of q and k is", ""},
      {spec.rope.has_value(), "rope", "rotary position embedding is", ""},
      {spec.softcap.has_value(), "softcap", "softcap is", ""},
      {spec.alibi, "alibi", "alibi is", ""},
      {!spec.score_rule.empty(), "score_rule", "score rules are", ""},
      {spec.mask.window.has_value(), "mask.window", "window masks are", "mask: {causal: true}"},
      {spec.mask.tensor != MaskTensor::kNone, "mask.tensor", "mask tensors are",
       "causal and key_lengths"},
      {spec.mask.key_starts, "mask.key_starts", "left padding is",
       "mask: {key_lengths: true}, right padding"},
      {!spec.mask.rule.empty(), "mask.rule", "mask rules are", "causal and key_lengths"},
      {!spec.tables.empty(), "table", "tables are", ""},
      {spec.sink, "sink", "attention sinks are", ""},
      {spec.kv_cache.has_value(), "kv_cache", "KV caches are", ""},
      {spec.packed, "packed", "packed batches are", "mask: {key_lengths: true}, padded batches"},
      {std::any_of(spec.outputs.begin(), spec.outputs.end(), other_output), "outputs",
       "outputs other than output, weights and lse are", ""},
      {!spec.wants("output"), "outputs", "a kernel without `output` among its outputs is",
       "lists with output"},
      {spec.top_k > 0, "top_k", "top_k is", "outputs: [output, weights]"},
      {!spec.pruned_heads.empty(), "pruned_heads", "pruned heads are", ""},
      {spec.targets.size() > 1, "targets", "several targets in one library are", "one target"},
      {target("arm64"), "targets", "the target arm64 is", "host or an x86-64 target"},
      {target("opencl"), "targets", "the target opencl is", "host or an x86-64 target"},
      {target("cuda"), "targets", "CUDA targets are", "host or an x86-64 target"},
  };
  std::vector<Diagnostic> problems;
  for (const Unbuilt& row : table) {
    if (!row.asked) continue;
    const std::string instead = row.instead;
    problems.push_back({spec.where(row.key),
                        std::string(row.key) + ": " + row.what + " not built yet in this version",
                        instead.empty() ? "" : "this version builds " + instead});
  }
  return problems;
}

}  // namespace mha
