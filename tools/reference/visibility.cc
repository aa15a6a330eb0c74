#include "tools/reference/visibility.h"

#include <algorithm>
#include <limits>

#include "generator/spec/error.h"

namespace mha {

const Array& input_named(const Arrays& inputs, const std::string& name) {
  auto found = inputs.find(name);
  if (found == inputs.end()) {
    throw InternalError("the reference lacks the tensor '" + name + "'");
  }
  return found->second;
}

Visibility::Visibility(const Spec& spec, const CallLengths& lengths, const Arrays& inputs)
    : spec_(spec), lengths_(lengths), inputs_(inputs) {
  if (!spec.mask.rule.empty()) {
    rule_.emplace(spec.mask.rule, false, spec, inputs, Rule::Arithmetic::kFloat32);
  }
  if (spec.mask.tensor == MaskTensor::kNone) return;
  mask_ = &input_named(inputs, "mask");
  const int64_t full[] = {lengths.batch, spec.heads, lengths.query, lengths.all_keys()};
  bool fits = mask_->shape.size() == 4;
  for (size_t axis = 0; fits && axis < 4; ++axis) {
    fits = mask_->shape[axis] == 1 || mask_->shape[axis] == full[axis];
  }
  if (!fits) throw InternalError("a mask of shape " + shape_text(mask_->shape));
}

std::vector<int64_t> Visibility::keys(int64_t b, int64_t h, int64_t i) const {
  const Mask& mask_of = spec_.mask;
  const int64_t position = this->position(b, i);
  int64_t begin = mask_of.key_starts ? index("key_starts", b) : 0;
  int64_t end = key_limit(b);
  if (mask_of.causal) end = std::min(end, position + 1);
  if (mask_of.window && mask_of.window->left >= 0) {
    begin = std::max(begin, position - mask_of.window->left);
  }
  if (mask_of.window && mask_of.window->right >= 0) {
    end = std::min(end, position + mask_of.window->right + 1);
  }
  std::vector<int64_t> seen;
  RuleScope scope = this->scope(b, h, i, 0);
  for (int64_t j = begin; j < end; ++j) {
    // A bool mask hides by 0, an additive one by -infinity alone.
    if (mask_ != nullptr) {
      const double value = mask(b, h, i, j);
      if (value == (additive() ? -std::numeric_limits<double>::infinity() : 0)) continue;
    }
    scope.k = j;
    if (rule_ && (*rule_)(scope).value == 0) continue;
    seen.push_back(j);
  }
  return seen;
}

double Visibility::mask(int64_t b, int64_t h, int64_t i, int64_t j) const {
  const int64_t at[] = {b, h, i, j};
  size_t place = 0;
  for (size_t axis = 0; axis < 4; ++axis) {
    const int64_t extent = mask_->shape[axis];
    place = place * static_cast<size_t>(extent) + static_cast<size_t>(extent == 1 ? 0 : at[axis]);
  }
  return mask_->values[place];
}

RuleScope Visibility::scope(int64_t b, int64_t h, int64_t i, int64_t j) const {
  RuleScope scope;
  scope.b = lengths_.first_sequence + b;
  scope.h = h;
  scope.q = position(b, i);
  scope.k = j;
  scope.q_len = lengths_.query;
  scope.k_len = key_limit(b);
  return scope;
}

int64_t Visibility::index(const std::string& name, int64_t b) const {
  return static_cast<int64_t>(input_named(inputs_, name).values[static_cast<size_t>(b)]);
}

int64_t Visibility::cached(int64_t b) const {
  return spec_.kv_cache ? index("cache_lengths", b) : 0;
}

// Keys from here on are padding.
int64_t Visibility::key_limit(int64_t b) const {
  return spec_.mask.key_lengths ? index("key_lengths", b) : cached(b) + lengths_.key;
}

// Where query 0 of sequence b stands among the keys.
int64_t Visibility::offset(int64_t b) const {
  if (spec_.kv_cache) return cached(b);
  switch (spec_.query_offset) {
    case QueryOffset::kStart:
      return 0;
    case QueryOffset::kEnd:
      return key_limit(b) - lengths_.query;
    case QueryOffset::kInput:
      return index("query_offset", b);
  }
  throw InternalError("query_offset");
}

}  // namespace mha
