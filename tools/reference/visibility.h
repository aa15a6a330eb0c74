// Who sees whom: the masks of a spec, and the numbers of one call that they depend on.
#ifndef MHA_TOOLS_REFERENCE_VISIBILITY_H_
#define MHA_TOOLS_REFERENCE_VISIBILITY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "generator/spec/spec.h"
#include "tools/reference/rules.h"
#include "tools/reference/tensors.h"

namespace mha {

// Of a batch that is not packed.
class Visibility {
 public:
  // All three are kept by reference.
  Visibility(const Spec& spec, const CallLengths& lengths, const Arrays& inputs);

  // The keys that query i of head h of sequence b sees, ascending.
  std::vector<int64_t> keys(int64_t b, int64_t h, int64_t i) const;

  bool additive() const { return mask_ != nullptr && spec_.mask.tensor == MaskTensor::kAdditive; }
  // What the mask tensor holds for a pair.
  double mask(int64_t b, int64_t h, int64_t i, int64_t j) const;

  // Where query i of sequence b stands among the keys.
  int64_t position(int64_t b, int64_t i) const { return i + offset(b); }
  // Keys that stood in the cache before the call.
  int64_t cached(int64_t b) const;
  // What the names of a rule stand for at a pair; the score is left out.
  RuleScope scope(int64_t b, int64_t h, int64_t i, int64_t j) const;

 private:
  int64_t index(const std::string& name, int64_t b) const;
  int64_t key_limit(int64_t b) const;
  int64_t offset(int64_t b) const;

  const Spec& spec_;
  const CallLengths& lengths_;
  const Arrays& inputs_;
  const Array* mask_ = nullptr;
  // In float32: a condition that real numbers settle is the same for everybody.
  std::optional<Rule> rule_;
};

// The input of that name; throws InternalError where there is none.
const Array& input_named(const Arrays& inputs, const std::string& name);

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_VISIBILITY_H_
