// The drawings of a report, as inline SVG in the colours of the page.
#ifndef MHA_SCHEDULES_TUNER_REPORT_SVG_H_
#define MHA_SCHEDULES_TUNER_REPORT_SVG_H_

#include <string>
#include <utility>
#include <vector>

namespace mha {

std::string html_escaped(const std::string& text);

// Gains over the default (1: as fast) by the number of the trial, and the best so far as a line.
std::string convergence_svg(const std::vector<std::pair<double, double>>& points);

struct RooflinePoint {
  std::string name;
  double flops_per_second = 0;
};
// What a call of this many FLOPs a byte could reach, and what it does; both axes logarithmic.
std::string roofline_svg(double flops_per_byte, double peak_flops, double read_bytes,
                         const std::vector<RooflinePoint>& points);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_REPORT_SVG_H_
