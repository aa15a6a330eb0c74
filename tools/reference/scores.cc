#include "tools/reference/scores.h"

#include <algorithm>
#include <cmath>

#include "tools/reference/sums.h"

namespace mha {

template <typename T>
ScoreStages<T>::ScoreStages(const Spec& spec, const Arrays& inputs, const Visibility& visibility)
    : spec_(spec), visibility_(visibility) {
  if (spec.score_rule.empty()) return;
  rule_.emplace(spec.score_rule, true, spec, inputs,
                kBounds ? Rule::Arithmetic::kExact : Rule::Arithmetic::kFloat32);
}

template <typename T>
Score<T> ScoreStages<T>::capped(Score<T> score) const {
  if (!spec_.softcap) return score;
  const T cap = static_cast<T>(*spec_.softcap);
  const auto of = [&](T s) { return cap * std::tanh(s / cap); };
  const T value = of(score.value);
  if constexpr (kBounds) {
    score.error =
        std::max(of(score.value + score.error) - value, value - of(score.value - score.error)) +
        8 * kEps * std::abs(value);
  }
  score.value = value;
  return score;
}

template <typename T>
Score<T> ScoreStages<T>::placed(Score<T> score, int64_t b, int64_t h, int64_t i) const {
  if (spec_.alibi) {
    const auto slope = static_cast<T>(spec_.alibi_slopes[static_cast<size_t>(h)]);
    const auto distance = static_cast<T>(std::abs(visibility_.position(b, i) - score.key));
    const T bias = slope * distance;
    if constexpr (kBounds) {
      score.error += 4 * kEps * (std::abs(score.value) + std::abs(bias));
    }
    score.value -= bias;
  }
  if (rule_) {
    RuleScope scope = visibility_.scope(b, h, i, score.key);
    scope.s = {score.value, score.error};
    const Estimate result = (*rule_)(scope);
    score.value = static_cast<T>(result.value);
    score.error = result.error;
  }
  return score;
}

template class ScoreStages<float>;
template class ScoreStages<double>;

}  // namespace mha
