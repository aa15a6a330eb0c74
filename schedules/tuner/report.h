// What a search found, as a page for people.
#ifndef MHA_SCHEDULES_TUNER_REPORT_H_
#define MHA_SCHEDULES_TUNER_REPORT_H_

#include <optional>
#include <string>
#include <vector>

#include "schedules/tuner/database.h"

namespace mha {

// One subject's search. Figures that are not known are 0, and what they would show is left out.
struct ReportInput {
  std::string name;  // of the config
  Subject subject;
  std::vector<Trial> trials;                   // in the order in which they were made
  std::optional<CertifiedSchedule> certified;  // the winner, also where it is not faster
  double flops = 0, bytes = 0;                 // of a call; bytes of operands, each once
  double peak_flops = 0;                       // a second, of as many threads as the calls had
  double read_bytes = 0;                       // a second, likewise, from memory
};

// One HTML page that needs nothing else: no script, no network. The same input gives the same text.
std::string report_html(const std::vector<ReportInput>& searches);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_REPORT_H_
