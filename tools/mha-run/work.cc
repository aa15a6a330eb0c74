#include "tools/mha-run/work.h"

#include <algorithm>

namespace mha {

Work work_of(const Spec& spec, const CallLengths& lengths, const HostTensors& inputs) {
  auto index = [&](const char* name, int64_t b, int64_t otherwise) -> int64_t {
    auto found = inputs.find(name);
    return found == inputs.end() ? otherwise : found->second.ints[static_cast<size_t>(b)];
  };
  Work work;
  for (int64_t b = 0; b < lengths.batch; ++b) {
    const int64_t key_limit = index("key_lengths", b, lengths.key);
    int64_t offset = 0;
    if (spec.query_offset == QueryOffset::kEnd) offset = key_limit - lengths.query;
    if (spec.query_offset == QueryOffset::kInput) offset = index("query_offset", b, 0);
    int64_t pairs = 0;
    int64_t keys = 0;  // that some query sees
    for (int64_t i = 0; i < lengths.query; ++i) {
      int64_t end = key_limit;
      if (spec.mask.causal) end = std::clamp<int64_t>(i + offset + 1, 0, key_limit);
      pairs += end;
      keys = std::max(keys, end);
    }
    work.flops += 2 * pairs * spec.heads * (spec.d_head + spec.d_value);
    if (spec.op == Op::kBlock) {
      const int64_t kv_rows = spec.kv_heads * (spec.d_head + spec.d_value);
      work.flops += 2 * spec.d_model *
                    (lengths.query * spec.heads * (spec.d_head + spec.d_value) + keys * kv_rows);
    }
  }
  for (const auto& tensors :
       {input_tensors(spec, lengths), weight_tensors(spec), output_tensors(spec, lengths)}) {
    for (const TensorDecl& tensor : tensors) work.bytes += 4 * tensor.elements();
  }
  return work;
}

}  // namespace mha
