#include "schedules/tuner/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "generator/spec/error.h"

namespace mha {
namespace {

// P(T > tan(theta) sqrt(degrees)).
double t_tail(int degrees, double theta) {
  const double sine = std::sin(theta), cosine = std::cos(theta);
  const bool odd = degrees % 2 != 0;
  // 1 + (1/2) c^2 + (1 3)/(2 4) c^4 + ..., or for odd degrees c + (2/3) c^3 + (2 4)/(3 5) c^5 + ...
  double term = odd ? cosine : 1, sum = degrees == 1 ? 0 : term;
  for (int i = odd ? 2 : 1; i <= degrees - 3; i += 2) {
    term *= cosine * cosine * i / (i + 1);
    sum += term;
  }
  const double within = odd ? 2 / std::numbers::pi * (theta + sine * sum) : sine * sum;
  return (1 - within) / 2;
}

// P(X >= hits) of a binomial.
double binomial_tail(int64_t hits, int64_t trials, double p) {
  if (hits <= 0) {
    return 1;
  }
  double sum = 0;
  for (int64_t i = hits; i <= trials; ++i) {
    sum +=
        std::exp(std::lgamma(trials + 1.0) - std::lgamma(i + 1.0) - std::lgamma(trials - i + 1.0) +
                 i * std::log(p) + (trials - i) * std::log1p(-p));
  }
  return sum;
}

// Where a rising function of [low, high] passes 0.
template <typename Function>
double bisect(double low, double high, const Function& rising) {
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (rising(middle) < 0 ? low : high) = middle;
  }
  return (low + high) / 2;
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) {
    throw InternalError("the median of nothing");
  }
  const auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 != 0) {
    return *middle;
  }
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

double spread(const std::vector<double>& values) {
  const double center = median(values);
  std::vector<double> distances;
  for (const double value : values) {
    distances.push_back(std::abs(value - center));
  }
  return 1.4826 * median(distances);
}

double t_quantile(int degrees, double tail) {
  if (degrees < 1 || !(tail > 0 && tail < 0.5)) {
    throw InternalError("no such quantile of t");
  }
  const double theta =
      bisect(0, std::numbers::pi / 2, [&](double angle) { return tail - t_tail(degrees, angle); });
  return std::tan(theta) * std::sqrt(degrees);
}

Interval mean_interval(const std::vector<double>& values, double tail) {
  const double count = static_cast<double>(values.size());
  double sum = 0;
  for (const double value : values) {
    sum += value;
  }
  if (values.size() < 2) {
    return {sum, std::numeric_limits<double>::infinity()};
  }
  const double mean = sum / count;
  double squares = 0;
  for (const double value : values) {
    squares += (value - mean) * (value - mean);
  }
  const double error = std::sqrt(squares / (count - 1) / count);
  return {mean, error * t_quantile(static_cast<int>(values.size()) - 1, tail)};
}

Interval trimmed_interval(std::vector<double> values, double tail) {
  // Of few values the ends are too many to lose.
  const size_t cut = values.size() < 10 ? 0 : values.size() / 5;
  if (cut == 0) {
    return mean_interval(values, tail);
  }
  std::sort(values.begin(), values.end());
  const size_t kept = values.size() - 2 * cut;
  double sum = 0;
  for (size_t i = cut; i < cut + kept; ++i) {
    sum += values[i];
  }
  const double middle = sum / static_cast<double>(kept);
  for (size_t i = 0; i < cut; ++i) {  // winsorized
    values[i] = values[cut];
    values[values.size() - 1 - i] = values[cut + kept - 1];
  }
  const double count = static_cast<double>(values.size());
  const double center = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) {
    squares += (value - center) * (value - center);
  }
  const double error =
      std::sqrt(squares / (count - 1)) / (static_cast<double>(kept) / count * std::sqrt(count));
  return {middle, error * t_quantile(static_cast<int>(kept) - 1, tail)};
}

std::vector<int> look_schedule(int first, int last) {
  std::vector<int> looks;
  for (int look = first; look < last; look = (look * 3 + 1) / 2) {
    looks.push_back(look);
  }
  looks.push_back(last);
  return looks;
}

Interval proportion_interval(int64_t hits, int64_t trials) {
  constexpr double kTail = 0.025;
  if (trials < 1 || hits < 0 || hits > trials) {
    throw InternalError("no such proportion");
  }
  const double low =
      hits == 0 ? 0
                : bisect(0, 1, [&](double p) { return binomial_tail(hits, trials, p) - kTail; });
  const double high = hits == trials ? 1 : bisect(0, 1, [&](double p) {
    return kTail - (1 - binomial_tail(hits + 1, trials, p));
  });
  return {(low + high) / 2, (high - low) / 2};
}

}  // namespace mha
