#include "tools/mha-run/verify.h"

#include <cmath>
#include <cstdio>

namespace mha {
namespace {

// JSON has no NaN and no infinity.
nlohmann::ordered_json json_number(double value) {
  if (std::isfinite(value)) return value;
  return nullptr;
}

std::string line_of(const HostTensor& tensor, const Comparison& c, double rms, Console& console) {
  const std::string verdict =
      c.passed() ? console.paint("32", "ok")
                 : console.paint("1;31", std::to_string(c.failures) + " of " +
                                             std::to_string(c.compared) + " FAILED");
  const std::string head = "verify " + tensor.decl.name + ": ";
  if (tensor.is_index()) return head + "each where it may stand; " + verdict + "\n";
  return head + "max error " + number("%.2e", c.max_error) + ", rms " + number("%.2e", rms) +
         "; nearest its bound: " + number("%.2e", c.error_at_worst) + " of " +
         number("%.2e", c.bound_at_worst) + " at element " + std::to_string(c.worst) + "; " +
         verdict + "\n";
}

}  // namespace

std::string number(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

nlohmann::ordered_json verify_outputs(const std::vector<HostTensor>& outputs, const Reference& want,
                                      Console& console) {
  Arrays got;
  for (const HostTensor& tensor : outputs) got[tensor.decl.name] = tensor.array();
  bool passed = true;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const HostTensor& tensor : outputs) {
    const Comparison c = compare_output(tensor.decl.name, got, want);
    passed = passed && c.passed();
    const double rms = std::sqrt(c.square_sum / static_cast<double>(c.compared));
    rows.push_back({{"output", tensor.decl.name},
                    {"passed", c.passed()},
                    {"compared", c.compared},
                    {"failures", c.failures},
                    {"max_error", json_number(c.max_error)},
                    {"rms_error", json_number(rms)},
                    {"error_nearest_bound", json_number(c.error_at_worst)},
                    {"its_bound", json_number(c.bound_at_worst)}});
    if (!console.json()) console.print(line_of(tensor, c, rms, console));
  }
  return {{"passed", passed}, {"outputs", rows}};
}

}  // namespace mha
