#include "generator/emit/cost.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "generator/spec/expression_count.h"

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

// Where query 0 stands.
int64_t offset_of(const Plan& plan, const Lengths& lengths) {
  if (plan.attention.query_offset == QueryOffset::kStart) return 0;
  return lengths.key - (plan.cache ? brought(plan, lengths) : lengths.query);
}

// Over all heads of a sequence, what a mask rule shows within the window. Of a very large call some
// rows stand for all.
Wide pairs_of_rule(const Plan& plan, const Lengths& lengths) {
  constexpr int64_t kMostSteps = int64_t{1} << 22;  // half a second
  const Attention& a = plan.attention;
  const int64_t offset = offset_of(plan, lengths);
  int64_t steps = 0;
  const auto shown = [&](int64_t head, int64_t i) {
    const int64_t q = i + offset;
    RuleRow row{0, head, q, lengths.query, lengths.key, a.all_heads, a.d_head};
    if (!a.kept_heads.empty()) row.h = a.kept_heads[static_cast<size_t>(head)];
    const int64_t first = a.left ? std::max<int64_t>(q - *a.left, 0) : 0;
    const int64_t end = a.right ? std::min(q + *a.right + 1, lengths.key) : lengths.key;
    return keys_shown(*a.mask_rule, row, first, end, &steps);
  };
  // Where no head is different, one stands for all.
  const int64_t heads = reads_variable(*a.mask_rule, "h") ? a.heads : 1;
  // A row of every `stride` stands for them all; nothing where that takes too many steps.
  const auto counted = [&](int64_t stride) -> std::optional<Wide> {
    Wide pairs = 0;
    steps = 0;
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t i = 0; i < lengths.query; i += stride) {
        const int64_t alike = std::min(stride, lengths.query - i);
        pairs += Wide{alike} * shown(head, i + alike / 2);
        if (steps > kMostSteps && stride < lengths.query) return std::nullopt;
      }
    }
    return pairs * (a.heads / heads);
  };
  // Rows may differ much in their steps, so that only counting tells how many rows there may be.
  Wide pairs = 0;
  for (int64_t stride = lengths.query;; stride = (stride + 1) / 2) {
    const std::optional<Wide> finer = counted(stride);
    if (!finer) return pairs;
    pairs = *finer;
    if (stride == 1) return pairs;
  }
}

// Over all heads of a sequence.
Wide pairs_of_heads(const Plan& plan, const Lengths& lengths) {
  const Attention& a = plan.attention;
  if (a.mask_rule && !reads_tables(*a.mask_rule)) return pairs_of_rule(plan, lengths);
  const int64_t offset = offset_of(plan, lengths);
  // Over all queries i, how many of the keys lie before i + reach.
  const auto keys_before = [&](int64_t reach) {
    return sum_clamped(lengths.query - 1 + reach, lengths.key) -
           sum_clamped(reach - 1, lengths.key);
  };
  const Wide seen =
      a.right ? keys_before(offset + *a.right + 1) : Wide{lengths.query} * lengths.key;
  return (seen - (a.left ? keys_before(offset - *a.left) : 0)) * a.heads;
}

}  // namespace

Lengths largest_lengths(const Plan& plan) {
  return {plan.batch.max, plan.query_length.max, plan.keys().max};
}

CallWork call_work(const Plan& plan, const Lengths& lengths) {
  const Attention& a = plan.attention;
  const Wide pairs = pairs_of_heads(plan, lengths);
  Wide products = Wide{lengths.batch} * pairs * (a.d_head + a.d_value);
  for (const Projection& projection : plan.projections) {
    products += Wide{rows_of(plan, projection, lengths)} * plan.d_model * columns_of(projection);
  }
  if (!plan.out_weight.empty()) {
    products += Wide{lengths.batch} * lengths.query * a.heads * a.d_value * plan.d_model;
  }
  return {narrowed(pairs / a.heads), narrowed(2 * products)};
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
