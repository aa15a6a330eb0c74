#include "tools/mha-run/work.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace mha {
namespace {

// One sequence of a batch: its rows, and the keys that are no padding.
struct Sequence {
  int64_t queries = 0;
  int64_t key_begin = 0, key_end = 0;
  int64_t offset = 0;
};

Sequence sequence_of(const Spec& spec, const CallLengths& lengths, const HostTensors& inputs,
                     int64_t b) {
  auto index = [&](const char* name, int64_t at, int64_t otherwise) -> int64_t {
    auto found = inputs.find(name);
    return found == inputs.end() ? otherwise : found->second.ints[static_cast<size_t>(at)];
  };
  Sequence sequence{lengths.query, 0, lengths.key, 0};
  if (spec.packed) {
    sequence.queries = index("sequence_starts", b + 1, 0) - index("sequence_starts", b, 0);
    sequence.key_end = sequence.queries;
  }
  sequence.key_begin = index("key_starts", b, 0);
  sequence.key_end = index("key_lengths", b, sequence.key_end);
  if (spec.query_offset == QueryOffset::kEnd) sequence.offset = sequence.key_end - sequence.queries;
  if (spec.query_offset == QueryOffset::kInput) sequence.offset = index("query_offset", b, 0);
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

// How many of the keys of a row the mask shows, over all heads.
int64_t shown(const HostTensor& mask, int64_t heads, int64_t b, int64_t i,
              std::pair<int64_t, int64_t> keys) {
  const std::vector<int64_t>& shape = mask.decl.shape;  // four axes, each full or 1
  const auto at = [&](size_t axis, int64_t index) { return shape[axis] == 1 ? 0 : index; };
  int64_t count = 0;
  for (int64_t h = 0; h < shape[1]; ++h) {
    const int64_t row = ((at(0, b) * shape[1] + h) * shape[2] + at(2, i)) * shape[3];
    for (int64_t j = keys.first; j < keys.second; ++j) {
      const auto n = static_cast<size_t>(row + at(3, j));
      count += mask.bools.empty() ? mask.floats[n] != -INFINITY : mask.bools[n] != 0;
    }
  }
  return shape[1] == 1 ? count * heads : count;
}

}  // namespace

Work work_of(const Spec& spec, const CallLengths& lengths, const HostTensors& inputs) {
  const auto mask = inputs.find("mask");
  Work work;
  for (int64_t b = 0; b < lengths.batch; ++b) {
    const Sequence sequence = sequence_of(spec, lengths, inputs, b);
    int64_t pairs = 0;                      // over all heads
    int64_t first = lengths.key, last = 0;  // keys that some query may see
    for (int64_t i = 0; i < sequence.queries; ++i) {
      const auto keys = keys_of_row(spec.mask, sequence, i);
      if (keys.first == keys.second) continue;
      first = std::min(first, keys.first);
      last = std::max(last, keys.second);
      pairs += mask == inputs.end() ? (keys.second - keys.first) * spec.heads
                                    : shown(mask->second, spec.heads, b, i, keys);
    }
    work.flops += 2 * pairs * (spec.d_head + spec.d_value);
    if (spec.op == Op::kBlock) {
      const int64_t q_rows = spec.heads * (spec.d_head + spec.d_value);  // and those of w_o
      const int64_t kv_rows = spec.kv_heads * (spec.d_head + spec.d_value);
      work.flops += 2 * spec.d_model *
                    (sequence.queries * q_rows + std::max<int64_t>(last - first, 0) * kv_rows);
    }
  }
  for (const auto& [name, tensor] : inputs) work.bytes += static_cast<int64_t>(tensor.bytes());
  for (const auto& tensors : {weight_tensors(spec), output_tensors(spec, lengths)}) {
    for (const TensorDecl& tensor : tensors) work.bytes += 4 * tensor.elements();
  }
  return work;
}

}  // namespace mha
