#include "tools/mha-run/work.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "generator/spec/expression_count.h"
#include "tools/reference/rules.h"

namespace mha {
namespace {

// One sequence of a batch: its rows, and the keys that are no padding.
struct Sequence {
  int64_t queries = 0;
  int64_t key_begin = 0, key_end = 0;
  int64_t offset = 0;
  int64_t cached = 0;  // keys that stood in the cache
};

Sequence sequence_of(const Spec& spec, const CallLengths& lengths, const HostTensors& inputs,
                     int64_t b) {
  auto index = [&](const char* name, int64_t at, int64_t otherwise) -> int64_t {
    auto found = inputs.find(name);
    return found == inputs.end() ? otherwise : found->second.ints[static_cast<size_t>(at)];
  };
  Sequence sequence{lengths.query, 0, lengths.key, 0, 0};
  if (spec.packed) {
    sequence.queries = index("sequence_starts", b + 1, 0) - index("sequence_starts", b, 0);
    sequence.key_end = lengths.key == 0 ? 0 : sequence.queries;
  }
  if (spec.kv_cache) sequence.cached = index("cache_lengths", b, 0);
  sequence.key_end += sequence.cached;
  sequence.key_begin = index("key_starts", b, 0);
  sequence.key_end = index("key_lengths", b, sequence.key_end);
  if (spec.query_offset == QueryOffset::kEnd) sequence.offset = sequence.key_end - sequence.queries;
  if (spec.query_offset == QueryOffset::kInput) sequence.offset = index("query_offset", b, 0);
  if (spec.kv_cache) sequence.offset = sequence.cached;
  return sequence;
}

// The keys that query i may see, mask tensors left out: [first, second).
std::pair<int64_t, int64_t> keys_of_row(const Mask& mask, const Sequence& sequence, int64_t i) {
  const int64_t position = i + sequence.offset;
  int64_t begin = sequence.key_begin, end = sequence.key_end;
  if (mask.causal) end = std::min(end, position + 1);
  if (mask.window && mask.window->left >= 0) begin = std::max(begin, position - mask.window->left);
  if (mask.window && mask.window->right >= 0)
    end = std::min(end, position + mask.window->right + 1);
  return {begin, std::max(begin, end)};
}

// Counts the pairs that masks show one by one, where a mask tensor or a rule may hide any.
class Shown {
 public:
  Shown(const Spec& spec, const HostTensors& inputs) : spec_(spec) {
    for (int64_t h = 0; h < spec.heads; ++h) {
      if (!is_pruned(spec, h)) heads_.push_back(h);
    }
    const auto mask = inputs.find("mask");
    if (mask != inputs.end()) mask_ = &mask->second;
    if (spec.mask.rule.empty()) return;
    for (const Table& table : spec.tables) tables_[table.name] = inputs.at(table.name).array();
    rule_.emplace(spec.mask.rule, false, spec, tables_, Rule::Arithmetic::kFloat32);
    ExpressionError error;
    auto parsed = parse_expression(spec.mask.rule, {false, &spec.tables}, &error);
    if (mask_ == nullptr && parsed && !reads_tables(*parsed)) by_ranges_ = std::move(*parsed);
  }

  // Of the keys [first, second) of query i of sequence b, over all heads that are computed.
  int64_t pairs(const Sequence& sequence, int64_t b, int64_t i,
                std::pair<int64_t, int64_t> keys) const {
    const auto heads = static_cast<int64_t>(heads_.size());
    if (mask_ == nullptr && !rule_) return (keys.second - keys.first) * heads;
    // Where no head is different, one stands for all.
    const bool same =
        (mask_ == nullptr || mask_->decl.shape[1] == 1) && (!rule_ || !rule_->reads("h"));
    RuleScope scope;
    scope.b = b;
    scope.q = i + sequence.offset;
    scope.q_len = sequence.queries;
    scope.k_len = sequence.key_end;
    RuleRow row{b, 0, scope.q, scope.q_len, scope.k_len, spec_.heads, spec_.d_head};
    int64_t count = 0, steps = 0;
    for (int64_t h : heads_) {
      scope.h = row.h = h;
      if (by_ranges_) {
        count += keys_shown(*by_ranges_, row, keys.first, keys.second, &steps);
        if (same) return count * heads;
        continue;
      }
      for (int64_t j = keys.first; j < keys.second; ++j) {
        scope.k = j;
        count += shows(b, h, i, j) && (!rule_ || (*rule_)(scope).value != 0);
      }
      if (same) return count * heads;
    }
    return count;
  }

 private:
  bool shows(int64_t b, int64_t h, int64_t i, int64_t j) const {
    if (mask_ == nullptr) return true;
    const std::vector<int64_t>& shape = mask_->decl.shape;  // four axes, each full or 1
    int64_t n = 0;
    size_t axis = 0;
    for (int64_t index : {b, h, i, j}) {
      n = n * shape[axis] + (shape[axis] == 1 ? 0 : index);
      ++axis;
    }
    const auto at = static_cast<size_t>(n);
    return mask_->bools.empty() ? mask_->floats[at] != -INFINITY : mask_->bools[at] != 0;
  }

  const Spec& spec_;
  std::vector<int64_t> heads_;
  std::optional<Expression> by_ranges_;  // the rule, where keys need not be asked for one by one
  const HostTensor* mask_ = nullptr;
  Arrays tables_;
  std::optional<Rule> rule_;
};

// KV heads that some head reads.
int64_t used_kv_heads(const Spec& spec) {
  int64_t used = 0;
  for (int64_t g = 0; g < spec.kv_heads; ++g) used += !is_kv_pruned(spec, g);
  return used;
}

}  // namespace

Work work_of(const Spec& spec, const CallLengths& lengths, const HostTensors& inputs) {
  const Shown shown(spec, inputs);
  const int64_t kv_heads = used_kv_heads(spec);
  const int64_t heads = spec.heads - static_cast<int64_t>(spec.pruned_heads.size());
  Work work;
  for (int64_t b = 0; b < lengths.batch; ++b) {
    const Sequence sequence = sequence_of(spec, lengths, inputs, b);
    int64_t pairs = 0;                                        // over all heads
    int64_t first = sequence.cached + lengths.key, last = 0;  // keys that some query may see
    for (int64_t i = 0; i < sequence.queries; ++i) {
      const auto keys = keys_of_row(spec.mask, sequence, i);
      if (keys.first == keys.second) continue;
      first = std::min(first, keys.first);
      last = std::max(last, keys.second);
      pairs += shown.pairs(sequence, b, i, keys);
    }
    work.flops += 2 * pairs * (spec.d_head + spec.d_value);
    // What stands in a cache is read, and not projected again.
    work.bytes +=
        sequence.cached * kv_heads * (spec.d_head + spec.d_value) * dtype_bytes(spec.dtype);
    if (spec.op == Op::kBlock) {
      const int64_t q_rows = heads * (spec.d_head + spec.d_value);  // and those of w_o
      const int64_t kv_rows = kv_heads * (spec.d_head + spec.d_value);
      const int64_t keys = spec.kv_cache ? sequence.key_end - sequence.cached : last - first;
      work.flops +=
          2 * spec.d_model * (sequence.queries * q_rows + std::max<int64_t>(keys, 0) * kv_rows);
    }
  }
  for (const auto& [name, tensor] : inputs) {
    if (!name.starts_with("past_")) work.bytes += static_cast<int64_t>(tensor.bytes());
  }
  for (const TensorDecl& tensor : weight_tensors(spec)) {
    const bool matrix = tensor.shape.size() == 2;
    work.bytes += dtype_bytes(matrix ? spec.weights : Dtype::kF32) * tensor.elements();
  }
  for (const TensorDecl& tensor : output_tensors(spec, lengths)) {
    if (!tensor.name.starts_with("present_")) {
      work.bytes += dtype_bytes(tensor.dtype) * tensor.elements();
    }
  }
  return work;
}

}  // namespace mha
