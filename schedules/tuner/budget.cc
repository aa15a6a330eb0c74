#include "schedules/tuner/budget.h"

#include <algorithm>

#include "schedules/tuner/search.h"

namespace mha {
namespace {

constexpr double kCertificateShare = 0.3;  // of the budget at most
constexpr double kFinalShare = 0.15;

}  // namespace

double call_limit(double best_seconds, const TunerOptions& options) {
  constexpr double kSlowerThanBest = 10, kLeast = 0.25;
  if (best_seconds <= 0) return options.first_limit;
  return std::clamp(kSlowerThanBest * best_seconds, kLeast, options.first_limit);
}

double Budget::pair_seconds() const {
  return 2 * incumbent_.start_seconds() +
         2.6 * options_.certificate.rounds *
             std::max(options_.certificate.slice_seconds, trials_.whole_seconds());
}

double Budget::final_seconds() const {
  return incumbent_.build_seconds() + incumbent_.start_seconds() +
         2.2 * options_.final_race.max_rounds *
             std::max(options_.final_race.slice_seconds, trials_.whole_seconds());
}

CertificateOptions Budget::certificate() const {
  CertificateOptions options = options_.certificate;
  if (options_.budget_seconds > 0 && pair_seconds() > 0) {
    const double most = kCertificateShare * options_.budget_seconds / pair_seconds();
    options.max_pairs =
        static_cast<int>(std::clamp<double>(most, options.min_pairs, options.max_pairs));
  }
  return options;
}

double Budget::reserve(bool finals) const {
  if (!options_.certify) return 0;
  const double certificate =
      this->certificate().max_pairs * pair_seconds() + 2 * incumbent_.build_seconds();
  if (finals) return certificate;
  return certificate +
         std::min(StageSearch::kFinalists * final_seconds(), kFinalShare * options_.budget_seconds);
}

double Budget::free(bool finals) const { return std::max(0.0, left() - reserve(finals)); }

bool Budget::spent(bool finals) const {
  return options_.budget_seconds > 0 && left() < reserve(finals);
}

}  // namespace mha
