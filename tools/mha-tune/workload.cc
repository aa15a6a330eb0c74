#include "tools/mha-tune/workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <utility>

#include "tools/mha-run/call_cache.h"
#include "tools/mha-run/host_tensor.h"
#include "tools/mha-run/inputs.h"
#include "tools/mha-run/random.h"
#include "tools/reference/reference.h"

namespace mha {
namespace {

std::string bytes_of(HostTensor& tensor) {
  return {static_cast<const char*>(tensor.data()), tensor.bytes()};
}

size_t bytes_of(const TensorDecl& decl) { return HostTensor(decl).bytes(); }

// The tensor whose bytes these are.
HostTensor tensor_of(const TensorDecl& decl, const std::string& bytes) {
  HostTensor tensor(decl);
  std::memcpy(tensor.data(), bytes.data(), bytes.size());
  tensor.read_back();
  return tensor;
}

std::string index_text(int64_t flat, const std::vector<int64_t>& shape) {
  std::vector<int64_t> index(shape.size());
  for (size_t axis = shape.size(); axis-- > 0;) {
    index[axis] = flat % shape[axis];
    flat /= shape[axis];
  }
  return fmt::format("[{}]", fmt::join(index, ","));
}

// What sequences have cached, as the probe wants it: F32 rows of past_key or past_value, [rows, G,
// width], of one sequence after the other.
std::string past_bytes(const Spec& spec, const HostTensors& inputs, const std::string& name) {
  const std::vector<int32_t>& cached = inputs.at("cache_lengths").ints;
  std::string bytes;
  for (size_t b = 0; b < cached.size(); ++b) {
    const std::vector<float> rows =
        past_rows(spec, inputs, name, static_cast<int64_t>(b), 0, cached[b]);
    bytes.append(reinterpret_cast<const char*>(rows.data()), rows.size() * sizeof(float));
  }
  return bytes;
}

// Multiply-adds of the whole reference, its bounds among them.
double reference_cost(const Spec& spec, const CallLengths& lengths) {
  const auto product = [](std::initializer_list<int64_t> factors) {
    double result = 1;
    for (const int64_t factor : factors) result *= static_cast<double>(factor);
    return result;
  };
  const int64_t width = spec.d_head + spec.d_value;
  double cost = 3 * product({lengths.batch, spec.heads, lengths.query, lengths.all_keys(), width});
  if (spec.op == Op::kBlock) {
    cost += 2 * product({lengths.batch, lengths.query, spec.d_model, spec.heads, width});
    cost += 2 * product({lengths.batch, lengths.key, spec.d_model, spec.kv_heads, width});
  }
  return cost;
}

// Whether row i of sequence b is one of the sample.
bool in_sample(const CallLengths& lengths, int64_t b, int64_t i) {
  constexpr int64_t kSequences = 8, kEdge = 16, kBetween = 64;
  const int64_t sequence_step = (lengths.batch + kSequences - 1) / kSequences;
  if (b % sequence_step != 0 && b != lengths.batch - 1) return false;
  if (i < kEdge || i >= lengths.query - kEdge) return true;
  // Spread without a period that a tile could share.
  const uint64_t spread = (static_cast<uint64_t>(i + 31 * b) * 0x9E3779B97F4A7C15) >> 32;
  const auto step = static_cast<uint64_t>(
      std::max<int64_t>(1, lengths.query / kBetween * std::min(lengths.batch, kSequences)));
  return spread % step == 0;
}

Reference make_reference(const Spec& spec, const CallLengths& lengths, const Arrays& arrays,
                         double most) {
  if (reference_cost(spec, lengths) <= most || !can_sample_rows(spec)) {
    return reference(spec, lengths, arrays);
  }
  return reference_of_rows(spec, lengths, arrays,
                           [&](int64_t b, int64_t i) { return in_sample(lengths, b, i); });
}

}  // namespace

CallLengths lengths_at(const Spec& spec, int64_t query_length) {
  CallLengths lengths = max_lengths(spec);
  lengths.query = query_length;
  if (!spec.key_length_given) lengths.key = query_length;
  if (spec.packed) lengths.total = lengths.batch * query_length;
  return lengths;
}

Workload make_workload(const Spec& spec, const CallLengths& given, int threads, uint64_t seed,
                       double most) {
  const CallLengths lengths = random_lengths(spec, given, seed);
  Workload workload;
  workload.threads = threads;
  workload.batch = lengths.batch;
  workload.query_length = lengths.query;
  workload.key_length = lengths.all_keys();
  if (may_bring_none(spec)) workload.new_keys = lengths.key;
  Arrays arrays;
  const HostTensors inputs = random_input_tensors(spec, lengths, seed);
  for (const auto& [name, tensor] : inputs) {
    HostTensor copy = tensor;
    if (name == "past_key" || name == "past_value") {
      workload.inputs.push_back({name, 0, {}, past_bytes(spec, inputs, name)});
      arrays[name] = copy.array();
      continue;
    }
    const mha_tensor view = copy.view();
    Workload::Input input{name, view.flags, {}, bytes_of(copy)};
    if (view.flags != 0) {
      input.strides.assign(view.strides, view.strides + copy.decl.shape.size() - 1);
    }
    workload.inputs.push_back(std::move(input));
    arrays[name] = copy.array();
  }
  for (const TensorDecl& decl : weight_tensors(spec)) {
    HostTensor tensor = random_tensor(spec, lengths, decl, seed);
    const bool vector = decl.shape.size() == 1;
    workload.weights.push_back(
        {decl.name, decl.shape[0], vector ? 0 : decl.shape[1], bytes_of(tensor)});
    arrays[decl.name] = tensor.array();
  }
  // What the cache has after the call is not the kernel's to give.
  std::vector<TensorDecl> outputs = output_tensors(spec, lengths);
  std::erase_if(outputs, [](const TensorDecl& decl) { return CallCache::holds(decl.name); });
  for (const TensorDecl& decl : outputs) workload.outputs.push_back({decl.name, bytes_of(decl)});

  const auto want = std::make_shared<const Reference>(make_reference(spec, lengths, arrays, most));
  workload.wrong = [want, outputs](const Workload::Outputs& got) -> std::optional<std::string> {
    Arrays values;
    for (const TensorDecl& decl : outputs) {
      values[decl.name] = tensor_of(decl, got.at(decl.name)).array();
    }
    for (const TensorDecl& decl : outputs) {
      const Comparison result = compare_output(decl.name, values, *want);
      if (result.passed()) continue;
      return fmt::format("{}: {} of {} values are beyond the bound, the worst at {}: error {:.3g}",
                         decl.name, result.failures, result.compared,
                         index_text(result.worst, decl.shape), result.error_at_worst);
    }
    return std::nullopt;
  };
  return workload;
}

std::string lengths_text(const Spec& spec, const CallLengths& given, uint64_t seed) {
  const CallLengths lengths = random_lengths(spec, given, seed);
  std::string text = fmt::format("B={} Lq={} Lk={}", lengths.batch, lengths.query, lengths.key);
  if (spec.packed) text += fmt::format(" T={}", lengths.total);
  if (spec.kv_cache) text += fmt::format(" cached={}", lengths.past);
  return text;
}

}  // namespace mha
