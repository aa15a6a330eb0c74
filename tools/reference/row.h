// The softmax of one row: one query of one head over the keys that it sees.
#ifndef MHA_TOOLS_REFERENCE_ROW_H_
#define MHA_TOOLS_REFERENCE_ROW_H_

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "tools/reference/sums.h"

namespace mha {

// A score with what an additive mask gives: rounded to float32, as every kernel does it, because at
// large numbers that rounding is what makes scores equal. A sum of finite numbers hides nothing:
// it stops at the lowest float32.
inline double add_mask(double score, double mask) {
  const double sum = score + mask;
  if (sum < -FLT_MAX && std::isfinite(score)) return -FLT_MAX;
  if (sum > FLT_MAX) return std::numeric_limits<double>::infinity();
  return static_cast<float>(sum);
}

// The score of one visible key, and how far a kernel may be from it.
template <typename T>
struct Score {
  int64_t key = 0;
  T value = 0;
  double error = 0;
};

// Adds `mask` to the score. A kernel that is off by at most `error` before it rounds stays between
// the roundings of the two ends.
template <typename T>
void add_mask(Score<T>* score, double mask) {
  const double value = score->value;
  const double sum = add_mask(value, mask);
  score->value = static_cast<T>(sum);
  score->error = std::max(add_mask(value + score->error, mask) - sum,
                          sum - add_mask(value - score->error, mask));
}

// One row's softmax. Bounds are computed in float64 only.
template <typename T>
struct Row {
  std::vector<Score<T>> scores;  // of the keys that the row sees, ascending by key
  std::vector<T> p;              // their softmax, in the same order: exp(score - top) / sum
  T top = 0, sum = 0;
  T lse = 0;               // the sink's logit or -infinity where the row sees no key
  bool poisoned = false;   // a score is NaN or +infinity, and so is all of the row NaN
  double score_error = 0;  // of the scores that count
  double relative = 0;     // error of each p

  // `sink`: a logit that joins the sum; -infinity: none. `replaced`: scores are no longer just
  // products, so that a kernel may have to turn them to units of log2.
  Row(std::vector<Score<T>> visible, bool replaced, T sink) : scores(std::move(visible)) {
    top = sink;
    poisoned = !(sink < std::numeric_limits<T>::infinity());
    for (const Score<T>& score : scores) {
      top = std::max(top, score.value);
      poisoned |= !(score.value < std::numeric_limits<T>::infinity());
    }
    if (poisoned) top = std::numeric_limits<T>::quiet_NaN();  // max() drops a NaN
    sum = std::isinf(sink) && sink < 0 ? 0 : std::exp(sink - top);
    for (const Score<T>& score : scores) {
      p.push_back(std::exp(score.value - top));
      sum += p.back();
    }
    for (T& value : p) value /= sum;
    lse = scores.empty() ? sink : top + std::log(sum);
    if constexpr (std::is_same_v<T, double>) {
      if (replaced) conversion_errors(top);
      score_error = error_of_those_that_count(sink);
      // A probability is off by exp of twice the error of a score (its own, and that of the sum),
      // by the error of exp itself, and by the roundings of the sum.
      relative = std::expm1(2 * score_error) + sum_error(static_cast<int64_t>(scores.size()));
    }
  }

 private:
  // A kernel may turn s + m, or what a rule gives, to units of log2, which rounds once more; but
  // what is equal stays equal.
  void conversion_errors(double top) {
    for (Score<T>& score : scores) {
      if (score.error > 0 || score.value != top) score.error += 2 * kEps * std::abs(score.value);
    }
  }

  // The largest, keys left out whose probability vanishes in float32 whatever the errors are: an
  // additive mask of -1e38 has a large error and no weight.
  double error_of_those_that_count(double sink) const {
    constexpr double kVanishes = 110;  // exp(-110) is below half the smallest float32
    const double sink_error = std::isinf(sink) ? 0 : 2 * kEps * std::abs(sink);
    double surely = sink - sink_error;
    for (const Score<T>& score : scores) surely = std::max(surely, score.value - score.error);
    double largest = sink + sink_error < surely - kVanishes ? 0 : sink_error;
    for (const Score<T>& score : scores) {
      if (score.value + score.error < surely - kVanishes) continue;
      largest = std::max(largest, score.error);
    }
    return largest;
  }
};

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_ROW_H_
