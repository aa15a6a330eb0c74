#include "schedules/tuner/trial.h"

#include <array>
#include <stdexcept>

namespace mha {
namespace {

// In the order of Outcome.
constexpr std::array kOutcomes = {"measured",      "pruned", "spill", "build", "wrong",
                                  "out_of_bounds", "crash",  "hang",  "memory"};

}  // namespace

const char* outcome_name(Outcome outcome) { return kOutcomes.at(static_cast<size_t>(outcome)); }

Outcome outcome_of(const std::string& name) {
  for (size_t i = 0; i < kOutcomes.size(); ++i) {
    if (name == kOutcomes[i]) return static_cast<Outcome>(i);
  }
  throw std::out_of_range("no outcome is called " + name);
}

std::string candidate_text(const StageSchedule& stage) {
  std::string text;
  for (const auto& [name, value] : stage.params) {
    text += (text.empty() ? "" : " ") + name + "=" + std::to_string(value);
  }
  return text;
}

}  // namespace mha
