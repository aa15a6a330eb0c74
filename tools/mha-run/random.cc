#include "tools/mha-run/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace mha {
namespace {

// [B + 1]: the first sequence has all the rows it may have, the others any number.
std::vector<int32_t> random_starts(const CallLengths& lengths, uint64_t seed) {
  Random random(seed, "sequence_starts");
  std::vector<int32_t> starts = {0, static_cast<int32_t>(lengths.query)};
  for (int64_t b = 1; b < lengths.batch; ++b) {
    starts.push_back(starts.back() + static_cast<int32_t>(random.integer(0, lengths.query)));
  }
  return starts;
}

// The keys of each sequence.
std::vector<int64_t> keys_of(const Spec& spec, const CallLengths& lengths, uint64_t seed) {
  std::vector<int64_t> keys(static_cast<size_t>(lengths.batch), lengths.key);
  if (spec.packed) {
    const std::vector<int32_t> starts = random_starts(lengths, seed);
    for (size_t b = 0; b < keys.size(); ++b)
      keys[b] = lengths.key == 0 ? 0 : starts[b + 1] - starts[b];
  }
  if (spec.kv_cache) {
    const TensorDecl decl{"cache_lengths", Dtype::kI32, "B", {lengths.batch}};
    const HostTensor cached = random_tensor(spec, lengths, decl, seed);
    for (size_t b = 0; b < keys.size(); ++b) keys[b] += cached.ints[b];
  }
  return keys;
}

void fill_mask(HostTensor* mask, Random* random) {
  const auto width = static_cast<size_t>(mask->decl.shape.back());
  const auto count = static_cast<size_t>(mask->decl.elements());
  bool row_hides = false;
  for (size_t n = 0; n < count; ++n) {
    if (n % width == 0) row_hides = random->integer(0, 31) == 0;
    const bool hides = random->integer(0, 4) == 0 || row_hides;
    if (mask->decl.dtype == Dtype::kBool) {
      mask->bools[n] = hides ? 0 : 1;
    } else {
      const double value = random->normal();
      mask->floats[n] = hides ? -INFINITY : static_cast<float>(value);
    }
  }
}

}  // namespace

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
  if (decl.name == "mask") {
    fill_mask(&tensor, &random);
  } else if (decl.name == "sequence_starts") {
    tensor.ints = random_starts(lengths, seed);
  } else if (decl.name == "key_lengths") {
    const std::vector<int64_t> keys = keys_of(spec, lengths, seed);
    for (size_t b = 0; b < keys.size(); ++b) {
      tensor.ints[b] = static_cast<int32_t>(random.integer((keys[b] + 1) / 2, keys[b]));
    }
    tensor.ints.front() = static_cast<int32_t>(keys.front());
  } else if (decl.name == "key_starts") {
    const std::vector<int64_t> keys = keys_of(spec, lengths, seed);
    for (size_t b = 1; b < keys.size(); ++b) {
      tensor.ints[b] = static_cast<int32_t>(random.integer(0, keys[b] / 4));
    }
  } else if (decl.name == "cache_lengths") {
    for (int32_t& value : tensor.ints) {
      value =
          static_cast<int32_t>(lengths.full_past ? lengths.past : random.integer(0, lengths.past));
    }
    tensor.ints.front() = static_cast<int32_t>(lengths.past);
  } else if (decl.name == "block_table") {
    // Pages in any order, none twice while there are enough.
    std::vector<int32_t> pages(static_cast<size_t>(lengths.pages));
    for (size_t n = 0; n < pages.size(); ++n) {
      const auto other = static_cast<size_t>(random.integer(0, static_cast<int64_t>(n)));
      pages[n] = pages[other];
      pages[other] = static_cast<int32_t>(n);
    }
    // The first entries of every sequence are those of the first one, as far as they are shared.
    const auto blocks = static_cast<size_t>(lengths.blocks);
    const auto common =
        lengths.shared > 0 ? static_cast<size_t>(lengths.shared / spec.kv_cache->page) : 0;
    size_t next = common;
    for (size_t n = 0; n < tensor.ints.size(); ++n) {
      tensor.ints[n] = n % blocks < common ? pages[n % blocks] : pages[next++ % pages.size()];
    }
  } else if (decl.name == "query_offset") {
    const int64_t room = std::max<int64_t>(lengths.key - lengths.query, 0);
    for (int32_t& value : tensor.ints) value = static_cast<int32_t>(random.integer(0, room));
  } else if (is_table(spec, decl.name) && decl.dtype == Dtype::kI32) {
    // Sorted, as the numbers of documents are.
    int32_t value = 0;
    const auto width = static_cast<size_t>(decl.shape.back());
    for (size_t n = 0; n < tensor.ints.size(); ++n) {
      value = n % width == 0 ? 0 : value + (random.integer(0, 15) == 0 ? 1 : 0);
      tensor.ints[n] = value;
    }
  } else {
    double size = 1;
    if (decl.name.starts_with("w_")) size = 1 / std::sqrt(static_cast<double>(decl.shape.back()));
    if (decl.name.starts_with("b_")) size = 0.1;
    const bool norm = decl.name.ends_with("_norm") && !is_table(spec, decl.name);
    const double middle = norm ? 1 - spec.qk_norm->weight_offset : 0;
    if (norm) size = 0.2;
    for (float& value : tensor.floats) {
      value = static_cast<float>(middle + size * random.normal());
    }
  }
  return tensor;
}

CallLengths random_lengths(const Spec& spec, CallLengths lengths, uint64_t seed) {
  if (spec.packed) lengths.total = random_starts(lengths, seed).back();
  return lengths;
}

}  // namespace mha
