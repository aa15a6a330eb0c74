#include "generator/pipeline/precision.h"

#include "generator/spec/error.h"

namespace mha {

using Halide::cast;
using Halide::Expr;
using Halide::reinterpret;
using Halide::Type;

Type halide_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF32:
      return Halide::Float(32);
    case Dtype::kBF16:
      return Halide::BFloat(16);
    case Dtype::kF16:
      return Halide::Float(16);
    case Dtype::kInt8:
      return Halide::Int(8);
    case Dtype::kI32:
      return Halide::Int(32);
    case Dtype::kBool:
      return Halide::UInt(8);  // any byte but 0 is true, so that it is read as a number
  }
  throw InternalError("a dtype that stages do not know");
}

Expr widened(const Expr& value) {
  if (value.type() == Halide::Float(32)) return value;
  if (!value.type().is_bfloat()) return cast<float>(value);
  return reinterpret<float>(cast<uint32_t>(reinterpret<uint16_t>(value)) << 16);
}

Expr widened_half(const Expr& word, const Expr& half) {
  return reinterpret<float>(Halide::select(half == 0, word << 16, word & Expr(0xffff0000u)));
}

Expr narrowed_to(Type type, const Expr& value) {
  if (type == value.type()) return value;
  if (!type.is_bfloat()) {
    // Where a machine has no instruction for it, Halide's cast makes an infinity of a NaN.
    Expr nan = (reinterpret<uint32_t>(value) & Expr(0x7fffffffu)) > Expr(0x7f800000u);
    return Halide::select(nan, reinterpret(type, cast<uint16_t>(0x7e00)), cast(type, value));
  }
  // Halide's own cast would carry a NaN of all ones over into a zero.
  Expr bits = reinterpret<uint32_t>(value);
  Expr rounded = (bits + Expr(0x7fffu) + ((bits >> 16) & 1u)) >> 16;
  Expr quiet = (bits >> 16) | Expr(0x40u);
  Expr nan = (bits & Expr(0x7fffffffu)) > Expr(0x7f800000u);
  return reinterpret(type, cast<uint16_t>(Halide::select(nan, quiet, rounded)));
}

Expr quieted(const Expr& value) {
  return Halide::select(Halide::strict_float(value == value), value,
                        reinterpret<float>(Expr(0x7fc00000u)));
}

Expr cut_to_bf16(const Expr& value) {
  return reinterpret(Halide::BFloat(16), cast<uint16_t>(reinterpret<uint32_t>(value) >> 16));
}

Expr narrowed_probability(const Expr& value) {
  return cut_to_bf16(reinterpret<float>(reinterpret<uint32_t>(value) + Expr(0x8000u)));
}

}  // namespace mha
