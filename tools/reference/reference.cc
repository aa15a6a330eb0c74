#include "tools/reference/reference.h"

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <functional>
#include <limits>
#include <thread>

#include "generator/spec/error.h"

namespace mha {
namespace {

// Distance from 1 to the next float32: the eps of every bound (docs/numerics.md).
constexpr double kEps = 1.0 / (1 << 23);
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The relative error of a sum of n float32 products: a few roundings around it, and roundings along
// the chain, which are independent and so grow as the square root of its length.
double sum_error(int64_t n) { return kEps * (8 + std::sqrt(static_cast<double>(n))); }

// One function for each kind of machine, chosen when the program is loaded: earlier than
// ThreadSanitizer, which instruments the choice too, is ready for it.
#if defined(__SANITIZE_THREAD__)
#define MHA_CLONES
#else
#define MHA_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif

// Eight partial sums let the compiler use vectors; in float64 the order of a sum does not matter
// here.
MHA_CLONES double dot(const double* a, const double* b, int64_t n) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  double sum = 0;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (double partial : sums) sum += partial;
  return sum;
}

// In order: this is the plain computation that kernels are measured against.
float dot(const float* a, const float* b, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

MHA_CLONES double dot_abs(const double* a, const double* b, int64_t n) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] += std::abs(a[i + lane] * b[i + lane]);
  }
  double sum = 0;
  for (; i < n; ++i) sum += std::abs(a[i] * b[i]);
  for (double partial : sums) sum += partial;
  return sum;
}

// What a score of q and k may be off by because q and k themselves are: squares of the errors,
// summed.
MHA_CLONES double dot_squares(const double* q, const double* q_error, const double* k,
                              const double* k_error, int64_t n) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int lane = 0; lane < 8; ++lane) {
      const double from_q = q_error[i + lane] * k[i + lane];
      const double from_k = q[i + lane] * k_error[i + lane];
      sums[lane] += from_q * from_q + from_k * from_k;
    }
  }
  double sum = 0;
  for (; i < n; ++i) {
    const double from_q = q_error[i] * k[i];
    const double from_k = q[i] * k_error[i];
    sum += from_q * from_q + from_k * from_k;
  }
  for (double partial : sums) sum += partial;
  return sum;
}

void parallel_for(int64_t count, const std::function<void(int64_t)>& body) {
  std::atomic<int64_t> next{0};
  auto work = [&] {
    for (int64_t i = next++; i < count; i = next++) body(i);
  };
  int64_t threads = std::min<int64_t>(count, std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::thread> others;
  for (int64_t i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  for (std::thread& thread : others) thread.join();
}

// [B][heads][L][width], whatever the caller's layout, with a bound of the error beside each value.
template <typename T>
struct Heads {
  int64_t batch = 0, heads = 0, length = 0, width = 0;
  std::vector<T> values;
  std::vector<double> errors;  // empty where no bounds are wanted

  Heads(int64_t batch, int64_t heads, int64_t length, int64_t width, bool bounds)
      : batch(batch),
        heads(heads),
        length(length),
        width(width),
        values(static_cast<size_t>(batch * heads * length * width)),
        errors(bounds ? values.size() : 0) {}

  size_t at(int64_t b, int64_t h, int64_t i) const {
    return static_cast<size_t>(((b * heads + h) * length + i) * width);
  }
};

// The parts of a computation in precision T; bounds are computed in float64 only.
template <typename T>
class Computation {
 public:
  static constexpr bool kBounds = std::is_same_v<T, double>;

  Computation(const Spec& spec, const CallLengths& lengths, const Arrays& inputs)
      : spec_(spec), lengths_(lengths), inputs_(inputs) {}

  Reference run() {
    const bool block = spec_.op == Op::kBlock;
    Heads<T> q = block ? project("w_q", "b_q", spec_.heads, spec_.d_head, lengths_.query)
                       : given("query", spec_.heads, spec_.d_head, lengths_.query);
    Heads<T> k = block ? project("w_k", "b_k", spec_.kv_heads, spec_.d_head, lengths_.key)
                       : given("key", spec_.kv_heads, spec_.d_head, lengths_.key);
    Heads<T> v = block ? project("w_v", "b_v", spec_.kv_heads, spec_.d_value, lengths_.key)
                       : given("value", spec_.kv_heads, spec_.d_value, lengths_.key);
    Heads<T> o = attend(q, k, v);
    if (spec_.wants("output")) block ? project_out(o) : give(o);
    return std::move(result_);
  }

 private:
  const Array& input(const std::string& name) const {
    auto found = inputs_.find(name);
    if (found == inputs_.end())
      throw InternalError("the reference lacks the tensor '" + name + "'");
    return found->second;
  }

  std::vector<T> numbers(const std::string& name) const {
    const Array& array = input(name);
    return std::vector<T>(array.values.begin(), array.values.end());
  }

  // A tensor of op attention, [B,L,heads,width] or [B,heads,L,width].
  Heads<T> given(const std::string& name, int64_t heads, int64_t width, int64_t length) const {
    const std::vector<T> values = numbers(name);
    Heads<T> result(lengths_.batch, heads, length, width, kBounds);
    for (int64_t b = 0; b < lengths_.batch; ++b) {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = 0; i < length; ++i) {
          int64_t row = spec_.layout == Layout::kBshd ? (b * length + i) * heads + h
                                                      : (b * heads + h) * length + i;
          std::copy_n(&values[static_cast<size_t>(row * width)], width,
                      &result.values[result.at(b, h, i)]);
        }
      }
    }
    return result;
  }

  // x W^T + b, split into heads. x [B,L,M], W [heads*width, M].
  Heads<T> project(const std::string& weight, const std::string& bias, int64_t heads, int64_t width,
                   int64_t length) const {
    const std::vector<T> x = numbers("x");
    const std::vector<T> w = numbers(weight);
    const bool biased = inputs_.count(bias) > 0;
    const std::vector<T> b_values =
        biased ? numbers(bias) : std::vector<T>(static_cast<size_t>(heads * width));
    const int64_t m = spec_.d_model;
    Heads<T> result(lengths_.batch, heads, length, width, kBounds);
    // A few rows at a time, so that W is read from memory once for all of them.
    constexpr int64_t kRows = 16;
    const int64_t rows = lengths_.batch * length;
    parallel_for((rows + kRows - 1) / kRows, [&](int64_t group) {
      for (int64_t n = 0; n < heads * width; ++n) {
        const T* w_row = &w[static_cast<size_t>(n * m)];
        const T bias_value = b_values[static_cast<size_t>(n)];
        for (int64_t row = group * kRows; row < std::min(rows, (group + 1) * kRows); ++row) {
          const T* x_row = &x[static_cast<size_t>(row * m)];
          const size_t at =
              result.at(row / length, n / width, row % length) + static_cast<size_t>(n % width);
          result.values[at] = dot(x_row, w_row, m) + bias_value;
          if constexpr (kBounds) {
            result.errors[at] = sum_error(m) * (dot_abs(x_row, w_row, m) + std::abs(bias_value));
          }
        }
      }
    });
    return result;
  }

  // Where query 0 of sequence b stands among the keys.
  int64_t offset(int64_t b) const {
    switch (spec_.query_offset) {
      case QueryOffset::kStart:
        return 0;
      case QueryOffset::kEnd:
        return key_limit(b) - lengths_.query;
      case QueryOffset::kInput:
        return static_cast<int64_t>(input("query_offset").values[static_cast<size_t>(b)]);
    }
    throw InternalError("query_offset");
  }

  // Keys from here on are padding.
  int64_t key_limit(int64_t b) const {
    if (!spec_.mask.key_lengths) return lengths_.key;
    return static_cast<int64_t>(input("key_lengths").values[static_cast<size_t>(b)]);
  }

  // Query i sees the keys [0, visible_end).
  int64_t visible_end(int64_t b, int64_t i) const {
    int64_t end = key_limit(b);
    if (spec_.mask.causal) end = std::min(end, i + offset(b) + 1);
    return std::max<int64_t>(end, 0);
  }

  // softmax(scale * q k^T) v of every head; query head h uses the keys and values of head h / (H /
  // G).
  Heads<T> attend(const Heads<T>& q, const Heads<T>& k, const Heads<T>& v) {
    Heads<T> o(q.batch, q.heads, q.length, v.width, kBounds);
    const bool want_weights = spec_.wants("weights");
    const bool want_lse = spec_.wants("lse");
    auto [weights, weights_bound] = outputs("weights", want_weights);
    auto [lse, lse_bound] = outputs("lse", want_lse);
    const T scale = static_cast<T>(spec_.scale);

    parallel_for(q.batch * q.heads, [&, weights = weights, weights_bound = weights_bound, lse = lse,
                                     lse_bound = lse_bound](int64_t bh) {
      const int64_t b = bh / q.heads;
      const int64_t h = bh % q.heads;
      const int64_t g = h / (q.heads / k.heads);
      std::vector<T> p(static_cast<size_t>(k.length));
      for (int64_t i = 0; i < q.length; ++i) {
        const int64_t end = visible_end(b, i);
        const T* q_row = &q.values[q.at(b, h, i)];
        T top = -std::numeric_limits<T>::infinity();
        bool poisoned = false;  // max() drops a NaN
        for (int64_t j = 0; j < end; ++j) {
          p[static_cast<size_t>(j)] = scale * dot(q_row, &k.values[k.at(b, g, j)], q.width);
          top = std::max(top, p[static_cast<size_t>(j)]);
          poisoned |= std::isnan(p[static_cast<size_t>(j)]);
        }
        if (poisoned) top = std::numeric_limits<T>::quiet_NaN();
        T sum = 0;
        for (int64_t j = 0; j < end; ++j) {
          p[static_cast<size_t>(j)] = std::exp(p[static_cast<size_t>(j)] - top);
          sum += p[static_cast<size_t>(j)];
        }
        // From here on p holds the softmax; a row that sees no key has none, and its output stays
        // 0.
        for (int64_t j = 0; j < end; ++j) p[static_cast<size_t>(j)] /= sum;

        T* o_row = &o.values[o.at(b, h, i)];
        for (int64_t j = 0; j < end; ++j) {
          const T* v_row = &v.values[v.at(b, g, j)];
          for (int64_t c = 0; c < v.width; ++c) o_row[c] += p[static_cast<size_t>(j)] * v_row[c];
        }
        const size_t row = static_cast<size_t>(bh * q.length + i);
        if (weights)
          std::copy_n(p.begin(), end, &weights->values[row * static_cast<size_t>(k.length)]);
        if (lse) {
          const T log_sum = top + std::log(sum);
          lse->values[row] = end == 0 ? -kInfinity : log_sum;
        }

        if constexpr (kBounds) {
          const double score = score_error(q, k, b, h, g, i, end);
          // A probability is off by exp of twice the error of a score (its own, and that of the
          // sum), by the error of exp itself, and by the roundings of the sum.
          const double relative = std::expm1(2 * score) + sum_error(end);
          attend_bounds(o, v, b, h, g, i, end, p, relative);
          if (weights) {
            for (int64_t j = 0; j < end; ++j) {
              weights_bound->values[row * static_cast<size_t>(k.length) + static_cast<size_t>(j)] =
                  std::min(1.0, relative * p[static_cast<size_t>(j)] + 2 * FLT_MIN);
            }
          }
          if (lse && end > 0) {
            lse_bound->values[row] = score + sum_error(end) + 2 * kEps * std::abs(lse->values[row]);
          }
        }
      }
    });
    return o;
  }

  // By how much a score of row i may be off: its own roundings, and what q and k bring along from
  // their projections.
  double score_error(const Heads<T>& q, const Heads<T>& k, int64_t b, int64_t h, int64_t g,
                     int64_t i, int64_t end) const {
    const size_t q_at = q.at(b, h, i);
    double largest = 0;
    for (int64_t j = 0; j < end; ++j) {
      const size_t k_at = k.at(b, g, j);
      const double magnitude = dot_abs(&q.values[q_at], &k.values[k_at], q.width);
      const double squares =
          dot_squares(&q.values[q_at], &q.errors[q_at], &k.values[k_at], &k.errors[k_at], q.width);
      largest = std::max(largest, sum_error(q.width) * magnitude + std::sqrt(squares));
    }
    return std::abs(spec_.scale) * largest;
  }

  void attend_bounds(Heads<T>& o, const Heads<T>& v, int64_t b, int64_t h, int64_t g, int64_t i,
                     int64_t end, const std::vector<T>& p, double relative) const {
    const size_t width = static_cast<size_t>(v.width);
    std::vector<double> magnitude(width), inherited(width), v_max(width);
    for (int64_t j = 0; j < end; ++j) {
      const size_t v_at = v.at(b, g, j);
      const double weight = p[static_cast<size_t>(j)];
      for (size_t c = 0; c < width; ++c) {
        const double size = std::abs(v.values[v_at + c]);
        magnitude[c] += weight * size;
        inherited[c] += weight * v.errors[v_at + c];
        v_max[c] = std::max(v_max[c], size);
      }
    }
    for (size_t c = 0; c < width; ++c) {
      // The last term: probabilities below the smallest normal float may become 0.
      o.errors[o.at(b, h, i) + c] =
          std::min(relative * magnitude[c], 2 * v_max[c]) + inherited[c] +
          2 * FLT_MIN * static_cast<double>(end) * std::max(v_max[c], 1.0);
    }
  }

  // concat(o) W_o^T + b_o -> [B,Lq,M]
  void project_out(const Heads<T>& o) {
    const std::vector<T> w = numbers("w_o");
    const int64_t m = spec_.d_model;
    const int64_t n = spec_.heads * spec_.d_value;
    const std::vector<T> bias =
        spec_.projection_bias.out ? numbers("b_o") : std::vector<T>(static_cast<size_t>(m));
    auto [y, bound] = outputs("output", true);
    // The concat, row-major.
    const int64_t rows = lengths_.batch * lengths_.query;
    std::vector<T> concat(static_cast<size_t>(rows * n));
    std::vector<double> errors(kBounds ? concat.size() : 0);
    for (int64_t i = 0; i < rows * n; ++i) {
      const int64_t row = i / n;
      const int64_t c = i % n;
      const size_t from =
          o.at(row / o.length, c / o.width, row % o.length) + static_cast<size_t>(c % o.width);
      concat[static_cast<size_t>(i)] = o.values[from];
      if constexpr (kBounds) errors[static_cast<size_t>(i)] = o.errors[from];
    }
    constexpr int64_t kRows = 16;
    parallel_for((rows + kRows - 1) / kRows, [&, y = y, bound = bound](int64_t group) {
      const std::vector<double> zeros(static_cast<size_t>(kBounds ? n : 0));
      for (int64_t c = 0; c < m; ++c) {
        const T* w_row = &w[static_cast<size_t>(c * n)];
        const T bias_value = bias[static_cast<size_t>(c)];
        for (int64_t row = group * kRows; row < std::min(rows, (group + 1) * kRows); ++row) {
          const T* o_row = &concat[static_cast<size_t>(row * n)];
          const size_t at = static_cast<size_t>(row * m + c);
          y->values[at] = dot(o_row, w_row, n) + bias_value;
          if constexpr (kBounds) {
            const double* error = &errors[static_cast<size_t>(row * n)];
            bound->values[at] = sum_error(n) * (dot_abs(o_row, w_row, n) + std::abs(bias_value)) +
                                std::sqrt(dot_squares(o_row, error, w_row, zeros.data(), n));
          }
        }
      }
    });
  }

  // o in the caller's layout.
  void give(const Heads<T>& o) {
    auto [y, bound] = outputs("output", true);
    for (int64_t b = 0; b < o.batch; ++b) {
      for (int64_t h = 0; h < o.heads; ++h) {
        for (int64_t i = 0; i < o.length; ++i) {
          const size_t from = o.at(b, h, i);
          const int64_t row = spec_.layout == Layout::kBshd ? (b * o.length + i) * o.heads + h
                                                            : (b * o.heads + h) * o.length + i;
          const size_t to = static_cast<size_t>(row * o.width);
          std::copy_n(&o.values[from], o.width, &y->values[to]);
          if constexpr (kBounds) std::copy_n(&o.errors[from], o.width, &bound->values[to]);
        }
      }
    }
  }

  // Makes an output, all zero, and its bound; null where it is not wanted.
  std::pair<Array*, Array*> outputs(const std::string& name, bool wanted) {
    if (!wanted) return {nullptr, nullptr};
    for (const TensorDecl& tensor : output_tensors(spec_, lengths_)) {
      if (tensor.name != name) continue;
      Array zeros{tensor.shape, std::vector<double>(static_cast<size_t>(tensor.elements()))};
      Array* bound = kBounds ? &(result_.bounds[name] = zeros) : nullptr;
      return {&(result_.outputs[name] = std::move(zeros)), bound};
    }
    throw InternalError("no output named " + name);
  }

  const Spec& spec_;
  const CallLengths& lengths_;
  const Arrays& inputs_;
  Reference result_;
};

}  // namespace

Reference reference(const Spec& spec, const CallLengths& lengths, const Arrays& inputs) {
  return Computation<double>(spec, lengths, inputs).run();
}

Arrays plain_f32(const Spec& spec, const CallLengths& lengths, const Arrays& inputs) {
  return Computation<float>(spec, lengths, inputs).run().outputs;
}

Comparison compare(const std::vector<float>& got, const Array& want, const Array& bound) {
  if (got.size() != want.values.size() || bound.values.size() != want.values.size()) {
    throw InternalError("an output and its reference differ in size");
  }
  Comparison result;
  for (size_t i = 0; i < got.size(); ++i) {
    const double value = got[i];
    const double expected = want.values[i];
    const double allowed = bound.values[i];
    ++result.compared;
    result.zeros += value == 0;
    if (value == expected || (std::isnan(value) && std::isnan(expected))) continue;
    const double error = std::abs(value - expected);
    const bool finite = std::isfinite(error);
    if (finite) {
      result.max_error = std::max(result.max_error, error);
      result.square_sum += error * error;
    }
    // Written so that a NaN on either side fails.
    if (!(error <= allowed) || !finite) ++result.failures;
    const double ratio = finite && allowed > 0 ? error / allowed : kInfinity;
    if (ratio > result.max_ratio) {
      result.max_ratio = ratio;
      result.error_at_worst = error;
      result.bound_at_worst = allowed;
      result.worst = static_cast<int64_t>(i);
    }
  }
  return result;
}

}  // namespace mha
