#include "schedules/tuner/length_labs.h"

#include <algorithm>

namespace mha {

LengthLabs::LengthLabs(const RangesProblem& problem, const std::vector<int64_t>& lengths,
                       const RangesOptions& options, const TunerClock& clock)
    : options_(options), lengths_(lengths) {
  for (const int64_t length : lengths_) {
    labs_.push_back(std::make_unique<TimedLab>(problem.lab(length), clock));
    subjects_.push_back(problem.subject(length));
  }
}

std::string LengthLabs::text(size_t l) const {
  return std::to_string(lengths_[l]) + (lengths_[l] == 1 ? " query (" : " queries (") +
         std::to_string(l + 1) + " of " + std::to_string(lengths_.size()) + ")";
}

double LengthLabs::call_seconds(size_t l) const {
  const auto known = call_seconds_.find(l);
  if (known != call_seconds_.end()) return known->second;
  const auto longest = call_seconds_.find(lengths_.size() - 1);
  if (longest == call_seconds_.end()) return 0;
  return longest->second * static_cast<double>(lengths_[l]) / static_cast<double>(lengths_.back());
}

double LengthLabs::build_seconds() const {
  double most = 0;
  for (const auto& lab : labs_) most = std::max(most, lab->build_seconds());
  return most;
}

double LengthLabs::start_seconds(size_t l) const {
  double most = labs_[l]->start_seconds();
  for (const auto& lab : labs_) most = most > 0 ? most : lab->start_seconds();
  return most;
}

double LengthLabs::cell_seconds(size_t l) const {
  return start_seconds(l) +
         options_.rounds * std::max(options_.tuner.race.slice_seconds, call_seconds(l));
}

double LengthLabs::row_seconds() const {
  double sum = build_seconds();
  for (size_t l = 0; l < size(); ++l) sum += cell_seconds(l);
  return sum;
}

double LengthLabs::pair_seconds(size_t l) const {
  const CertificateOptions& certificate = options_.tuner.certificate;
  return 2 * start_seconds(l) +
         2.6 * certificate.rounds * std::max(certificate.slice_seconds, call_seconds(l));
}

double LengthLabs::certificates_seconds(int pairs) const {
  double sum = 0;
  for (size_t l = 0; l < size(); ++l) sum += pairs * pair_seconds(l);
  return sum;
}

}  // namespace mha
