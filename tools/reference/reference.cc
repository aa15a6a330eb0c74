#include "tools/reference/reference.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <utility>

#include "generator/spec/error.h"
#include "tools/reference/heads.h"
#include "tools/reference/operands.h"
#include "tools/reference/packed.h"
#include "tools/reference/precision.h"
#include "tools/reference/rotation.h"
#include "tools/reference/row.h"
#include "tools/reference/scores.h"
#include "tools/reference/sums.h"
#include "tools/reference/visibility.h"

namespace mha {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// An output and its bound; null where the spec does not ask for it.
struct Output {
  Array* values = nullptr;
  Array* bounds = nullptr;  // null in float32 too
  explicit operator bool() const { return values != nullptr; }
  void set(size_t at, double value, double bound) const {
    values->values[at] = value;
    if (bounds != nullptr) bounds->values[at] = bound;
  }
};

// The parts of a computation in precision T; bounds are computed in float64 only.
template <typename T>
class Computation {
 public:
  static constexpr bool kBounds = std::is_same_v<T, double>;

  // `wanted`: of all rows where it is empty.
  Computation(const Spec& spec, const CallLengths& lengths, const Arrays& inputs,
              const RowFilter& wanted = {})
      : spec_(spec),
        lengths_(lengths),
        inputs_(inputs),
        wanted_(wanted),
        visibility_(spec, lengths, inputs),
        stages_(spec, inputs, visibility_) {}

  Reference run() {
    make_outputs();
    const bool block = spec_.op == Op::kBlock;
    const Operands<T> in = operands_of<T>(spec_, lengths_, inputs_, visibility_, wanted_);
    denormals_ = losses_to_denormals(in);
    Heads<T> o(lengths_.batch, spec_.heads, query_, spec_.d_value, kBounds);
    attend(in.q, in.k, in.v, &o);
    round_rows(spec_.dtype, block ? kRoundingsInSquares : 1, &o);
    const Output output = outputs("output");
    if (output && block) {
      const Array* bias = spec_.projection_bias.out ? &input_named(inputs_, "b_o") : nullptr;
      project_out(o, stored_weight(input_named(inputs_, "w_o"), spec_.weights), bias, output.values,
                  output.bounds, wanted_);
      round_output(output);
    } else if (output) {
      give(o, output);
    }
    if (spec_.kv_cache) {
      Heads<T> k = in.k, v = in.v;
      for (Heads<T>* rows : {&k, &v}) clear_pruned(rows);
      give(k, outputs("present_key"));
      give(v, outputs("present_value"));
    }
    return std::move(result_);
  }

 private:
  // All zero: what a pruned head has, and a row that sees no key but for lse and scores_masked.
  void make_outputs() {
    for (const TensorDecl& tensor : output_tensors(spec_, lengths_)) {
      Array zeros{tensor.shape, std::vector<double>(static_cast<size_t>(tensor.elements()))};
      if (kBounds) result_.bounds[tensor.name] = zeros;
      result_.outputs[tensor.name] = std::move(zeros);
    }
    if (kBounds && spec_.top_k > 0) {
      result_.top_rows.resize(static_cast<size_t>(lengths_.batch * spec_.heads * query_));
      for (size_t row = 0; row < result_.top_rows.size(); ++row) {
        const int64_t head = static_cast<int64_t>(row) / query_ % spec_.heads;
        result_.top_rows[row].pruned = is_pruned(spec_, head);
      }
      result_.keys = key_;
    }
  }

  Output outputs(const std::string& name) {
    auto found = result_.outputs.find(name);
    if (found == result_.outputs.end()) return {};
    return {&found->second, kBounds ? &result_.bounds.at(name) : nullptr};
  }

  // KV heads that nobody reads are not kept.
  void clear_pruned(Heads<T>* rows) const {
    const int64_t size = rows->length * rows->width;
    for (int64_t n = 0; n < rows->batch * rows->heads; ++n) {
      if (size == 0 || !is_kv_pruned(spec_, n % rows->heads)) continue;
      std::fill_n(rows->values.begin() + n * size, size, T{0});
      if (kBounds) std::fill_n(rows->errors.begin() + n * size, size, 0.0);
    }
  }

  // Rows in the caller's layout.
  void give(const Heads<T>& o, const Output& output) const {
    for_rows(o, spec_.layout, [&](size_t at, size_t callers) {
      std::copy_n(&o.values[at], o.width, &output.values->values[callers]);
      if constexpr (kBounds) std::copy_n(&o.errors[at], o.width, &output.bounds->values[callers]);
    });
  }

  // A block's output, as it is stored.
  void round_output(const Output& output) const {
    if (!is_half(spec_.dtype)) return;
    for (size_t n = 0; n < output.values->values.size(); ++n) {
      double& value = output.values->values[n];
      if constexpr (kBounds) {
        double& bound = output.bounds->values[n];
        bound += rounding_error(spec_.dtype, std::abs(value) + bound);
      } else {
        value = round_to(spec_.dtype, static_cast<float>(value));
      }
    }
  }

  // Instructions that multiply bf16 take numbers below the smallest normal one for 0.
  double losses_to_denormals(const Operands<T>& in) const {
    if (spec_.dtype != Dtype::kBF16) return FLT_MIN;
    T largest = 1;
    for (const Heads<T>* rows : {&in.q, &in.k}) {
      for (T value : rows->values) largest = std::max(largest, std::abs(value));
    }
    return FLT_MIN * (1 + 2 * static_cast<double>(spec_.d_head) * largest);
  }

  // softmax(scale * q k^T) v of every head; query head h uses the keys and values of head
  // h / (H / G). The rows of a task are done head by head, so that keys are read from memory once
  // for all of them, and mean_weights has the heads of a row together.
  void attend(const Heads<T>& q, const Heads<T>& k, const Heads<T>& v, Heads<T>* o) {
    constexpr int64_t kRows = 16;
    const int64_t blocks = (query_ + kRows - 1) / kRows;
    const Output mean = outputs("mean_weights");
    parallel_for(lengths_.batch * blocks, [&](int64_t task) {
      const int64_t b = task / blocks;
      const int64_t first = task % blocks * kRows;
      const int64_t last = std::min(query_, first + kRows);
      std::vector<T> sums(mean ? static_cast<size_t>((last - first) * key_) : 0);
      for (int64_t h = 0; h < spec_.heads; ++h) {
        if (is_pruned(spec_, h)) continue;
        for (int64_t i = first; i < last; ++i) {
          if (wanted_ && !wanted_(b, i)) continue;
          const Row<T> row = row_of(q, k, b, h, i);
          weigh(row, v, b, h, i, o);
          give_row(row, b, h, i);
          if (!mean) continue;
          for (size_t n = 0; n < row.p.size(); ++n) {
            const int64_t j = row.scores[n].key;
            sums[static_cast<size_t>((i - first) * key_ + j)] += row.p[n];
            if (kBounds) {
              mean.bounds->values[static_cast<size_t>((b * query_ + i) * key_ + j)] +=
                  weight_bound(row, n);
            }
          }
        }
      }
      for (size_t n = 0; n < sums.size(); ++n) {
        const size_t at = static_cast<size_t>((b * query_ + first) * key_) + n;
        const T value = sums[n] / static_cast<T>(spec_.heads);
        mean.values->values[at] = value;
        if constexpr (kBounds) {
          mean.bounds->values[at] = mean.bounds->values[at] / static_cast<double>(spec_.heads) +
                                    sum_error(spec_.heads) * value;
        }
      }
    });
  }

  // The scores of query i of head h, and their softmax.
  Row<T> row_of(const Heads<T>& q, const Heads<T>& k, int64_t b, int64_t h, int64_t i) {
    const size_t row = row_at(b, h, i);
    const auto score_of = [&](int64_t j) {
      const size_t q_at = q.at(b, h, i), k_at = k.at(b, h / (q.heads / k.heads), j);
      Score<T> score;
      score.key = j;
      score.value = static_cast<T>(spec_.scale) * dot(&q.values[q_at], &k.values[k_at], q.width);
      if constexpr (kBounds) {
        // Its own roundings, and what q and k bring along from their projections.
        const double magnitude = dot_abs(&q.values[q_at], &k.values[k_at], q.width);
        const double squares = dot_squares(&q.values[q_at], &q.errors[q_at], &k.values[k_at],
                                           &k.errors[k_at], q.width);
        score.error =
            std::abs(spec_.scale) * (sum_error(q.width) * magnitude + std::sqrt(squares)) +
            (magnitude == 0 ? 0 : denormals_);
      }
      return score;
    };
    const Output raw = outputs("scores"), capped = outputs("scores_capped");
    for (int64_t j = 0; (raw || capped) && j < key_; ++j) {
      const size_t at = row * static_cast<size_t>(key_) + static_cast<size_t>(j);
      const Score<T> score = score_of(j), after = stages_.capped(score);
      if (raw) raw.set(at, score.value, score.error);
      if (capped) capped.set(at, after.value, after.error);
    }
    std::vector<Score<T>> visible;
    for (int64_t j : visibility_.keys(b, h, i)) {
      const Score<T> score = stages_.placed(stages_.capped(score_of(j)), b, h, i);
      if (std::isinf(score.value) && score.value < 0) continue;  // hidden by a rule
      visible.push_back(score);
      if (visibility_.additive()) add_mask(&visible.back(), visibility_.mask(b, h, i, j));
    }
    const T sink = spec_.sink
                       ? static_cast<T>(input_named(inputs_, "sink").values[static_cast<size_t>(h)])
                       : -std::numeric_limits<T>::infinity();
    return Row<T>(std::move(visible), visibility_.additive() || stages_.replaces(), sink);
  }

  // o[i] = sum_j p_j v_j
  void weigh(const Row<T>& row, const Heads<T>& v, int64_t b, int64_t h, int64_t i,
             Heads<T>* o) const {
    const int64_t g = h / (o->heads / v.heads);
    const size_t width = static_cast<size_t>(v.width);
    T* o_row = &o->values[o->at(b, h, i)];
    for (size_t n = 0; n < row.p.size(); ++n) {
      const T* v_row = &v.values[v.at(b, g, row.scores[n].key)];
      const T p = for_product(row, n);
      for (size_t c = 0; c < width; ++c) o_row[c] += p * v_row[c];
    }
    if constexpr (kBounds) {
      // Only a product of bf16 takes probabilities of fewer bits.
      const double of_p = spec_.dtype == Dtype::kBF16 ? unit_roundoff(spec_.dtype) : 0;
      std::vector<double> magnitude(width), inherited(width), v_max(width);
      for (size_t n = 0; n < row.p.size(); ++n) {
        const size_t v_at = v.at(b, g, row.scores[n].key);
        for (size_t c = 0; c < width; ++c) {
          const double size = std::abs(v.values[v_at + c]);
          magnitude[c] += row.p[n] * size;
          inherited[c] += row.p[n] * v.errors[v_at + c];
          v_max[c] = std::max(v_max[c], size);
        }
      }
      for (size_t c = 0; c < width; ++c) {
        // The last term: probabilities below the smallest normal float may become 0.
        o->errors[o->at(b, h, i) + c] =
            std::min((row.relative + of_p) * magnitude[c], 2 * v_max[c]) + inherited[c] +
            2 * FLT_MIN * static_cast<double>(row.p.size()) * std::max(v_max[c], 1.0);
      }
    }
  }

  // A probability as the product with V takes it: exp(s - top) in bf16 there, over the sum of those
  // that were not rounded.
  T for_product(const Row<T>& row, size_t n) const {
    if constexpr (!kBounds) {
      if (spec_.dtype == Dtype::kBF16) {
        const T over = std::exp(row.scores[n].value - row.top);
        return round_to(spec_.dtype, over) / row.sum;
      }
    }
    return row.p[n];
  }

  static double weight_bound(const Row<T>& row, size_t n) {
    return std::min(1.0, row.relative * static_cast<double>(row.p[n]) + 2 * FLT_MIN);
  }

  // What the outputs beside `output` say of a row.
  void give_row(const Row<T>& row, int64_t b, int64_t h, int64_t i) {
    const size_t at = row_at(b, h, i);
    const size_t keys = static_cast<size_t>(key_);
    if (const Output lse = outputs("lse")) {
      const double n = static_cast<double>(row.p.size());
      const double bound = row.score_error + sum_error(static_cast<int64_t>(n)) +
                           2 * kEps * std::abs(static_cast<double>(row.lse));
      lse.set(at, row.lse, n == 0 && !spec_.sink ? 0 : bound);
    }
    if (const Output weights = outputs("weights")) {
      for (size_t n = 0; n < row.p.size(); ++n) {
        weights.set(at * keys + static_cast<size_t>(row.scores[n].key), row.p[n],
                    weight_bound(row, n));
      }
    }
    if (const Output scores = outputs("scores_masked")) {
      for (size_t j = 0; j < keys; ++j) {
        scores.values->values[at * keys + j] = -std::numeric_limits<double>::infinity();
      }
      for (const Score<T>& score : row.scores) {
        scores.set(at * keys + static_cast<size_t>(score.key), score.value, score.error);
      }
    }
    if (spec_.top_k > 0) give_top(row, at);
  }

  void give_top(const Row<T>& row, size_t at) {
    const size_t k = static_cast<size_t>(spec_.top_k);
    const Output weights = outputs("top_weights"), indices = outputs("top_indices");
    for (size_t rank = 0; rank < k; ++rank) indices.values->values[at * k + rank] = -1;
    if constexpr (kBounds) result_.top_rows[at] = possible_top(row, spec_.top_k);
    if (row.poisoned) {
      std::fill_n(weights.values->values.begin() + static_cast<ptrdiff_t>(at * k), k, kNan);
      return;
    }
    size_t rank = 0;
    for (size_t n : strongest(row, spec_.top_k)) {
      weights.values->values[at * k + rank] = row.p[n];
      indices.values->values[at * k + rank++] = static_cast<double>(row.scores[n].key);
    }
  }

  size_t row_at(int64_t b, int64_t h, int64_t i) const {
    return static_cast<size_t>((b * spec_.heads + h) * query_ + i);
  }

  const Spec& spec_;
  const CallLengths& lengths_;
  const Arrays& inputs_;
  const RowFilter wanted_;
  const Visibility visibility_;
  const ScoreStages<T> stages_;
  const int64_t query_ = lengths_.query, key_ = lengths_.all_keys();
  double denormals_ = 0;  // what products may lose of a score
  Reference result_;
};

template <typename T>
Reference compute(const Spec& spec, const CallLengths& lengths, const Arrays& inputs) {
  const auto unpacked = [](const Spec& one, const CallLengths& its, const Arrays& part) {
    return Computation<T>(one, its, part).run();
  };
  return spec.packed ? packed_reference(spec, lengths, inputs, unpacked)
                     : unpacked(spec, lengths, inputs);
}

}  // namespace

Reference reference(const Spec& spec, const CallLengths& lengths, const Arrays& inputs) {
  return compute<double>(spec, lengths, inputs);
}

bool can_sample_rows(const Spec& spec) {
  if (spec.kv_cache) return false;
  const bool finite = !spec.wants("lse") && !spec.wants("scores_masked") && spec.top_k == 0;
  return finite && !spec.packed;
}

Reference reference_of_rows(const Spec& spec, const CallLengths& lengths, const Arrays& inputs,
                            const WantedRows& wanted) {
  if (!can_sample_rows(spec)) throw InternalError("rows of this spec cannot be sampled");
  Reference result = Computation<double>(spec, lengths, inputs, wanted).run();
  // Rows that were not computed.
  for (const TensorDecl& tensor : output_tensors(spec, lengths)) {
    const bool rows_inside = tensor.axes.starts_with("B,Lq");
    const int64_t heads = rows_inside ? 1 : spec.heads;
    const int64_t width = tensor.elements() / (lengths.batch * heads * lengths.query);
    std::vector<double>& bounds = result.bounds.at(tensor.name).values;
    for (int64_t row = 0; row < lengths.batch * heads * lengths.query; ++row) {
      if (wanted(row / (heads * lengths.query), row % lengths.query)) continue;
      std::fill_n(bounds.begin() + row * width, width, std::numeric_limits<double>::infinity());
      std::fill_n(result.outputs.at(tensor.name).values.begin() + row * width, width, 0.0);
    }
  }
  return result;
}

Arrays plain_f32(const Spec& spec, const CallLengths& lengths, const Arrays& inputs) {
  return compute<float>(spec, lengths, inputs).outputs;
}

}  // namespace mha
