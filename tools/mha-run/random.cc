#include "tools/mha-run/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace mha {

Random::Random(uint64_t seed, const std::string& stream) : state_(seed * 0x9e3779b97f4a7c15) {
  for (char c : stream) state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  next();
}

// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
uint64_t Random::next() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double Random::uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

int64_t Random::integer(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(next() % static_cast<uint64_t>(high - low + 1));
}

double Random::normal() {
  const double radius = std::sqrt(-2 * std::log(1 - uniform()));
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

HostTensor random_tensor(const Spec& spec, const CallLengths& lengths, const TensorDecl& decl,
                         uint64_t seed) {
  HostTensor tensor(decl);
  Random random(seed, decl.name);
  if (decl.name == "key_lengths") {
    for (int32_t& value : tensor.ints) {
      value = static_cast<int32_t>(random.integer((lengths.key + 1) / 2, lengths.key));
    }
    tensor.ints.front() = static_cast<int32_t>(lengths.key);
  } else if (decl.name == "query_offset") {
    const int64_t room = std::max<int64_t>(lengths.key - lengths.query, 0);
    for (int32_t& value : tensor.ints) value = static_cast<int32_t>(random.integer(0, room));
  } else {
    double size = 1;
    if (decl.name.starts_with("w_")) size = 1 / std::sqrt(static_cast<double>(decl.shape.back()));
    if (decl.name.starts_with("b_")) size = 0.1;
    (void)spec;
    for (float& value : tensor.floats) value = static_cast<float>(size * random.normal());
  }
  return tensor;
}

}  // namespace mha
