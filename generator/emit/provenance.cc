#include "generator/emit/provenance.h"

#include <fmt/format.h>

#include <filesystem>

namespace mha {

using nlohmann::ordered_json;

ordered_json provenance_json(const Schedule& schedule) {
  ordered_json json = ordered_json::object();
  if (schedule.file.empty()) return json;
  json["file"] = std::filesystem::path(schedule.file).filename().string();
  if (!schedule.certificate) return json;
  const RecordCertificate& c = *schedule.certificate;
  json["certificate"] = {
      {"gain", c.gain},       {"low", c.low},         {"high", c.high},
      {"margin", c.margin},   {"error", c.error},     {"pairs", c.pair_gains.size()},
      {"lengths", c.lengths}, {"machine", c.machine}, {"generator", c.generator},
      {"space", c.space},     {"time", c.time}};
  return json;
}

std::string provenance_text(const Schedule& schedule, const std::string& here,
                            const std::string& generator, const std::string& space) {
  if (schedule.file.empty()) return "";
  std::string text = fmt::format("    from {}\n", schedule.file);
  if (!schedule.certificate) {
    return text + "    without a certificate: nothing says that it is faster than the default\n";
  }
  const RecordCertificate& c = *schedule.certificate;
  text += fmt::format(
      "    certified: {:.3f} times as fast as the default, between {:.3f} and {:.3f} (error {:g} % "
      "at either end; margin {:.3f}; {} pair{} of processes; {})\n",
      c.gain, c.low, c.high, 100 * c.error, c.margin, c.pair_gains.size(),
      c.pair_gains.size() == 1 ? "" : "s", c.lengths);
  text += c.machine == here
              ? fmt::format("    certified on this machine: {}\n", c.machine)
              : fmt::format("    certified on another machine: {}\n    this machine is: {}\n",
                            c.machine, here);
  text += fmt::format("    certified {} by {}, schedule space {}\n", c.time, c.generator, c.space);
  if (c.generator != generator || c.space != space) {
    text += fmt::format("    that is another version than this one: {}, schedule space {}\n",
                        generator, space);
  }
  return text;
}

}  // namespace mha
