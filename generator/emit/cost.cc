#include "generator/emit/cost.h"

#include <algorithm>
#include <limits>

namespace mha {
namespace {

constexpr int64_t kFloatBytes = 4;

// Products of lengths up to 2^31 and windows as wide do not fit 64 bits on the way.
using Wide = __int128;

int64_t narrowed(Wide value) {
  return static_cast<int64_t>(std::min<Wide>(value, std::numeric_limits<int64_t>::max()));
}

// Rows of K and V that a call brings.
int64_t brought(const Plan& plan, const Lengths& lengths) {
  if (!plan.cache) return lengths.key;
  return plan.has_own_keys() ? plan.new_key_length.max : lengths.query;
}

// Rows of x or memory that a projection reads.
int64_t rows_of(const Plan& plan, const Projection& projection, const Lengths& lengths) {
  return lengths.batch * (projection.input == "memory" ? brought(plan, lengths) : lengths.query);
}

int64_t columns_of(const Projection& projection) {
  int64_t columns = 0;
  for (const ProjectionPart& part : projection.parts) columns += part.heads * part.width;
  return columns;
}

// The sum of min(i, most) for i = 1 to n; 0 for n < 1.
Wide sum_clamped(int64_t n, int64_t most) {
  const Wide growing = std::clamp<int64_t>(n, 0, most);
  return growing * (growing + 1) / 2 + Wide{std::max<int64_t>(n - most, 0)} * most;
}

}  // namespace

Lengths largest_lengths(const Plan& plan) {
  return {plan.batch.max, plan.query_length.max, plan.keys().max};
}

int64_t visible_pairs(const Plan& plan, const Lengths& lengths) {
  const Attention& a = plan.attention;
  const int64_t offset = plan.attention.query_offset == QueryOffset::kStart ? 0
                         : plan.cache ? lengths.key - brought(plan, lengths)
                                      : lengths.key - lengths.query;
  // Over all queries i, how many of the keys lie before i + reach.
  const auto keys_before = [&](int64_t reach) {
    return sum_clamped(lengths.query - 1 + reach, lengths.key) -
           sum_clamped(reach - 1, lengths.key);
  };
  const Wide seen =
      a.right ? keys_before(offset + *a.right + 1) : Wide{lengths.query} * lengths.key;
  return narrowed(seen - (a.left ? keys_before(offset - *a.left) : 0));
}

int64_t call_flops(const Plan& plan, const Lengths& lengths) {
  const Attention& a = plan.attention;
  Wide products =
      Wide{lengths.batch} * a.heads * visible_pairs(plan, lengths) * (a.d_head + a.d_value);
  for (const Projection& projection : plan.projections) {
    products += Wide{rows_of(plan, projection, lengths)} * plan.d_model * columns_of(projection);
  }
  if (!plan.out_weight.empty()) {
    products += Wide{lengths.batch} * lengths.query * a.heads * a.d_value * plan.d_model;
  }
  return narrowed(2 * products);
}

int64_t call_bytes(const Plan& plan, const Lengths& lengths) {
  const Attention& a = plan.attention;
  int64_t floats = 0, rows_of_weights = 0;
  int64_t activations = 0, weights = 0;  // of the config's dtype, and of its weights'
  if (plan.op == Op::kAttention) {
    activations += lengths.batch * lengths.query * a.heads * (a.d_head + a.d_value);
    activations += lengths.batch * lengths.key * a.kv_heads * (a.d_head + a.d_value);
  } else {
    bool memory = false;
    for (const Projection& projection : plan.projections) {
      memory = memory || projection.input == "memory";
      weights += plan.d_model * columns_of(projection);
      rows_of_weights += columns_of(projection);
      for (const ProjectionPart& part : projection.parts) {
        if (!part.bias.empty()) floats += part.heads * part.width;
      }
    }
    activations += 2 * lengths.batch * lengths.query * plan.d_model;  // x and output
    if (memory) activations += lengths.batch * brought(plan, lengths) * plan.d_model;
    weights += a.heads * a.d_value * plan.d_model;  // w_o
    rows_of_weights += plan.d_model;
    if (plan.weights == Dtype::kInt8) floats += rows_of_weights;  // their scales
    if (!plan.out_bias.empty()) floats += plan.d_model;
  }
  const int64_t rows = lengths.batch * a.heads * lengths.query;
  if (a.mask == MaskTensor::kAdditive) floats += rows * lengths.key;
  int64_t bytes = a.mask == MaskTensor::kBool ? rows * lengths.key : 0;
  for (const std::string& output : plan.outputs) {
    if (output == "lse") floats += rows;
    if (output == "mean_weights") floats += rows / a.heads * lengths.key;
    if (output.starts_with("top_")) floats += rows * plan.top_k;
    if (output == "weights" || output.starts_with("scores")) floats += rows * lengths.key;
  }
  return bytes + activations * dtype_bytes(plan.dtype) + weights * dtype_bytes(plan.weights) +
         floats * kFloatBytes;
}

}  // namespace mha
