#include "schedules/whole_pairs.h"

#include <optional>

namespace mha {

namespace hi = Halide::Internal;

namespace {

// A vector of words whose upper halves are the bf16 that `value` is, or nothing: `value` is
// (word >> 16), or (word + 0x8000) >> 16, cut to 16 bits.
Halide::Expr words_of(const Halide::Expr& value) {
  const auto* number = value.as<hi::Reinterpret>();
  const auto* half = number != nullptr ? number->value.as<hi::Cast>() : nullptr;
  if (half == nullptr || !half->type.is_uint() || half->type.bits() != 16) return {};
  const auto* shift = half->value.as<hi::Call>();
  if (shift == nullptr || !shift->type.is_uint() || shift->type.bits() != 32) return {};
  const bool rounds = shift->is_intrinsic(hi::Call::rounding_shift_right);
  if (!rounds && !shift->is_intrinsic(hi::Call::shift_right)) return {};
  if (!hi::is_const(shift->args[1], 16)) return {};
  Halide::Expr word = shift->args[0];
  return rounds ? word + hi::make_const(word.type(), 0x8000) : word;
}

class StoreWholePairs : public hi::IRMutator {
 private:
  using hi::IRMutator::visit;
  Halide::Expr visit(const hi::Shuffle* shuffle) override {
    if (!shuffle->is_interleave() || shuffle->vectors.size() != 2 || !shuffle->type.is_bfloat())
      return hi::IRMutator::visit(shuffle);
    Halide::Expr low = words_of(shuffle->vectors[0]), high = words_of(shuffle->vectors[1]);
    if (!low.defined() || !high.defined()) return hi::IRMutator::visit(shuffle);
    low = mutate(low);
    high = mutate(high);
    Halide::Expr sixteen = hi::make_const(low.type(), 16);
    Halide::Expr upper = hi::make_const(high.type(), 0xffff0000);
    return hi::Reinterpret::make(shuffle->type, (low >> sixteen) | (high & upper));
  }
};

}  // namespace

void store_whole_pairs(Halide::Pipeline& pipeline) {
  pipeline.add_custom_lowering_pass(new StoreWholePairs);
}

}  // namespace mha
