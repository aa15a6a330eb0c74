#include "tools/reference/operands.h"

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "generator/spec/error.h"
#include "tools/reference/cached.h"
#include "tools/reference/precision.h"
#include "tools/reference/rotation.h"

namespace mha {
namespace {

template <typename T>
class Maker {
 public:
  static constexpr bool kBounds = std::is_same_v<T, double>;

  Maker(const Spec& spec, const CallLengths& lengths, const Arrays& inputs,
        const Visibility& visibility, const RowFilter& wanted)
      : spec_(spec),
        lengths_(lengths),
        inputs_(inputs),
        visibility_(visibility),
        wanted_(wanted),
        block_(spec.op == Op::kBlock) {
    for (int64_t b = 0; wanted_ && b < lengths.batch; ++b) {
      bool any = false;
      for (int64_t i = 0; i < lengths.query; ++i) any = any || wanted_(b, i);
      wanted_sequences_.push_back(any);
    }
  }

  Operands<T> make() const {
    const std::string memory = spec_.cross ? "memory" : "x";
    Heads<T> q = heads(spec_.heads, lengths_.query, spec_.d_head);
    Heads<T> k = heads(spec_.kv_heads, lengths_.key, spec_.d_head);
    Heads<T> v = heads(spec_.kv_heads, lengths_.key, spec_.d_value);
    read("query", "x", "w_q", "b_q", wanted_, &q);
    read("key", memory, "w_k", "b_k", of_keys(), &k);
    read("value", memory, "w_v", "b_v", of_keys(), &v);
    if (block_) {
      round_rows(spec_.dtype, kRoundingsInSquares, &q);
      round_rows(spec_.dtype, kRoundingsInSquares, &k);
      round_rows(spec_.dtype, 1, &v);
    }
    const Array* q_norm = spec_.qk_norm ? &input_named(inputs_, "q_norm") : nullptr;
    const Array* k_norm = spec_.qk_norm ? &input_named(inputs_, "k_norm") : nullptr;
    transform_rows(
        spec_, q_norm, [&](int64_t b, int64_t i) { return visibility_.position(b, i); }, &q);
    transform_rows(
        spec_, k_norm, [&](int64_t b, int64_t j) { return visibility_.cached(b) + j; }, &k);
    if (spec_.kv_cache) {
      k = behind_cache(spec_, lengths_, inputs_, "past_key", k);
      v = behind_cache(spec_, lengths_, inputs_, "past_value", v);
    }
    return {std::move(q), std::move(k), std::move(v)};
  }

 private:
  Heads<T> heads(int64_t count, int64_t length, int64_t width) const {
    return Heads<T>(lengths_.batch, count, length, width, kBounds);
  }

  // A tensor of op attention, or the projection of a block's input.
  void read(const std::string& name, const std::string& x, const std::string& weight,
            const std::string& bias, const RowFilter& wanted, Heads<T>* rows) const {
    if (block_) {
      const Array* b = inputs_.count(bias) > 0 ? &inputs_.at(bias) : nullptr;
      project(input_named(inputs_, x), stored_weight(input_named(inputs_, weight), spec_.weights),
              b, rows, wanted);
      return;
    }
    const std::vector<double>& values = input_named(inputs_, name).values;
    for_rows(*rows, spec_.layout, [&](size_t at, size_t callers) {
      std::copy_n(values.begin() + static_cast<ptrdiff_t>(callers), rows->width,
                  rows->values.begin() + static_cast<ptrdiff_t>(at));
    });
  }

  RowFilter of_keys() const {
    if (!wanted_) return {};
    return [this](int64_t b, int64_t) -> bool { return wanted_sequences_[static_cast<size_t>(b)]; };
  }

  const Spec& spec_;
  const CallLengths& lengths_;
  const Arrays& inputs_;
  const Visibility& visibility_;
  const RowFilter& wanted_;
  const bool block_;
  std::vector<bool> wanted_sequences_;
};

}  // namespace

template <typename T>
Operands<T> operands_of(const Spec& spec, const CallLengths& lengths, const Arrays& inputs,
                        const Visibility& visibility, const RowFilter& wanted) {
  return Maker<T>(spec, lengths, inputs, visibility, wanted).make();
}

template Operands<float> operands_of(const Spec&, const CallLengths&, const Arrays&,
                                     const Visibility&, const RowFilter&);
template Operands<double> operands_of(const Spec&, const CallLengths&, const Arrays&,
                                      const Visibility&, const RowFilter&);

}  // namespace mha
