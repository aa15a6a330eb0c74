// What happens to a score between the product of q and k and the masks: softcap, alibi, score_rule.
#ifndef MHA_TOOLS_REFERENCE_SCORES_H_
#define MHA_TOOLS_REFERENCE_SCORES_H_

#include <cstdint>
#include <optional>
#include <type_traits>

#include "generator/spec/spec.h"
#include "tools/reference/row.h"
#include "tools/reference/rules.h"
#include "tools/reference/visibility.h"

namespace mha {

template <typename T>
class ScoreStages {
 public:
  static constexpr bool kBounds = std::is_same_v<T, double>;

  // All are kept by reference.
  ScoreStages(const Spec& spec, const Arrays& inputs, const Visibility& visibility);

  // cap * tanh(s / cap)
  Score<T> capped(Score<T> score) const;
  // What query i of head h makes of its capped score: alibi, then the rule. -infinity hides.
  Score<T> placed(Score<T> score, int64_t b, int64_t h, int64_t i) const;
  // Whether a number was added or put in the place of a score, so that a kernel may have to turn it
  // to units of log2.
  bool replaces() const { return rule_.has_value(); }

 private:
  const Spec& spec_;
  const Visibility& visibility_;
  std::optional<Rule> rule_;
};

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_SCORES_H_
