#include "bench/tune/stored_trials.h"

#include <string>

#include "schedules/space.h"

namespace mha {

std::vector<Trial> stored_trials(Database& database, const Subject& subject) {
  std::vector<Trial> trials = database.trials(subject);
  for (Trial& trial : trials) {
    const std::string stage = trial.stage.substr(0, trial.stage.find(' '));
    for (const ParamInfo& info : stage_space(stage)) {
      const std::string name = " " + info.name + "=";
      if (!info.neutral || (" " + trial.candidate).find(name) != std::string::npos) continue;
      trial.candidate += name + std::to_string(*info.neutral);
    }
  }
  return trials;
}

}  // namespace mha
