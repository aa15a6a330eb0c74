// The archives that a candidate is linked with, carried inside the program: a tuner works wherever
// it lies.
#ifndef MHA_SCHEDULES_TUNER_PROBE_ARCHIVES_H_
#define MHA_SCHEDULES_TUNER_PROBE_ARCHIVES_H_

#include <string_view>
#include <utility>
#include <vector>

namespace mha {

// File name -> bytes, in the order in which a linker wants them.
std::vector<std::pair<std::string_view, std::string_view>> probe_archives();

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_PROBE_ARCHIVES_H_
