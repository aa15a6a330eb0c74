#include "schedules/tuner/surrogate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <utility>

namespace mha {
namespace {

constexpr double kTrust = 0.6;       // of the model's log gain that is expected to be real
constexpr double kTrustError = 0.4;  // standard deviation of that share
constexpr double kOwn = 0.12;        // of a parameter's own effect, in log gain
constexpr double kTogether = 0.08;   // of the effects that parameters have together
constexpr double kNoise = 0.012;     // of a measurement
constexpr double kOwnReach = 2, kTogetherReach = 4;  // steps over which an effect fades

// exp(-steps / reach) by steps.
std::array<double, 32> fading(double reach) {
  std::array<double, 32> table;
  for (size_t i = 0; i < table.size(); ++i) {
    table[i] = std::exp(-static_cast<double>(i) / reach);
  }
  return table;
}

}  // namespace

double Surrogate::kernel(const std::vector<int>& a, double a_prior, const std::vector<int>& b,
                         double b_prior) const {
  static const std::array<double, 32> own = fading(kOwnReach), together = fading(kTogetherReach);
  double sum = 0, product = 1;
  for (size_t i = 0; i < a.size(); ++i) {
    const size_t steps = std::min<size_t>(std::abs(a[i] - b[i]), own.size() - 1);
    sum += own[steps];
    product *= together[steps];
  }
  return kOwn * kOwn * sum + kTogether * kTogether * product +
         kTrustError * kTrustError * a_prior * b_prior;
}

Surrogate::Surrogate(std::vector<Sample> samples) : samples_(std::move(samples)) {
  const size_t count = samples_.size();
  lower_.assign(count, std::vector<double>(count));
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      const Sample &a = samples_[i], &b = samples_[j];
      double sum = kernel(a.places, a.prior, b.places, b.prior) + (i == j ? kNoise * kNoise : 0);
      for (size_t k = 0; k < j; ++k) sum -= lower_[i][k] * lower_[j][k];
      lower_[i][j] = i == j ? std::sqrt(std::max(sum, 1e-12)) : sum / lower_[j][j];
    }
  }
  weights_.resize(count);
  for (size_t i = 0; i < count; ++i) {
    double sum = samples_[i].gain - kTrust * samples_[i].prior;
    for (size_t k = 0; k < i; ++k) sum -= lower_[i][k] * weights_[k];
    weights_[i] = sum / lower_[i][i];
  }
  for (size_t i = count; i-- > 0;) {
    double sum = weights_[i];
    for (size_t k = i + 1; k < count; ++k) sum -= lower_[k][i] * weights_[k];
    weights_[i] = sum / lower_[i][i];
  }
}

Surrogate::Guess Surrogate::guess(const std::vector<int>& places, double prior) const {
  Guess guess{kTrust * prior, 0};
  double variance = kernel(places, prior, places, prior);
  std::vector<double> solved(samples_.size());
  for (size_t i = 0; i < samples_.size(); ++i) {
    const double covariance = kernel(places, prior, samples_[i].places, samples_[i].prior);
    guess.mean += covariance * weights_[i];
    double sum = covariance;
    for (size_t k = 0; k < i; ++k) sum -= lower_[i][k] * solved[k];
    solved[i] = sum / lower_[i][i];
    variance -= solved[i] * solved[i];
  }
  guess.deviation = std::sqrt(std::max(variance, 0.0));
  return guess;
}

}  // namespace mha
