#include "generator/ir/rotation.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace mha {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;

using Numbers = std::map<std::string, double>;

double number(const Numbers& numbers, const char* name, double otherwise = 0) {
  const auto found = numbers.find(name);
  return found == numbers.end() ? otherwise : found->second;
}

void scale_llama3(const Numbers& numbers, std::vector<double>& inv_freq) {
  const double low = numbers.at("low_freq_factor"), high = numbers.at("high_freq_factor");
  for (double& frequency : inv_freq) {
    const double turns = numbers.at("original_length") * frequency / kTurn;  // while training
    const double kept = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    frequency *= kept + (1 - kept) / numbers.at("factor");
  }
}

// The number of the pair, a fraction, that turns so many times within `length`.
double pair_that_turns(double times, const Rope& rope, double length) {
  return static_cast<double>(rope.dims) * std::log(length / (times * kTurn)) /
         (2 * std::log(rope.theta));
}

void scale_yarn(const Rope& rope, std::vector<double>& inv_freq) {
  const Numbers& numbers = rope.scaling.numbers;
  const double length = numbers.at("original_length");
  double first = pair_that_turns(number(numbers, "beta_fast", 32), rope, length);
  double last = pair_that_turns(number(numbers, "beta_slow", 1), rope, length);
  if (number(numbers, "truncate", 1) != 0) {
    first = std::floor(first);
    last = std::ceil(last);
  }
  first = std::max(first, 0.0);
  last = std::min(last, static_cast<double>(rope.dims - 1));
  if (first == last) last += 0.001;
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const double scaled = std::clamp((static_cast<double>(i) - first) / (last - first), 0.0, 1.0);
    inv_freq[i] *= (1 - scaled) + scaled / numbers.at("factor");
  }
}

double yarn_attention_factor(const Numbers& numbers) {
  const double given = number(numbers, "attention_factor");
  if (given != 0) return given;
  const double factor = numbers.at("factor");
  const auto mscale = [&](double m) { return factor <= 1 ? 1 : 0.1 * m * std::log(factor) + 1; };
  const double over = number(numbers, "mscale"), under = number(numbers, "mscale_all_dim");
  return over != 0 && under != 0 ? mscale(over) / mscale(under) : mscale(1);
}

}  // namespace

Rotation rotation_of(const Rope& rope) {
  const RopeScaling& scaling = rope.scaling;
  Rotation rotation;
  rotation.interleaved = rope.interleaved;
  rotation.inv_freq = scaling.inv_freq;
  if (!scaling.inv_freq.empty()) {
    rotation.attention_factor = number(scaling.numbers, "attention_factor", 1);
    return rotation;
  }
  const double dims = static_cast<double>(rope.dims);
  for (int64_t i = 0; i < rope.dims / 2; ++i) {
    rotation.inv_freq.push_back(std::pow(rope.theta, -2 * static_cast<double>(i) / dims));
  }
  if (scaling.type == "linear") {
    for (double& frequency : rotation.inv_freq) frequency /= scaling.numbers.at("factor");
  } else if (scaling.type == "llama3") {
    scale_llama3(scaling.numbers, rotation.inv_freq);
  } else if (scaling.type == "yarn") {
    scale_yarn(rope, rotation.inv_freq);
    rotation.attention_factor = yarn_attention_factor(scaling.numbers);
  }
  return rotation;
}

}  // namespace mha
