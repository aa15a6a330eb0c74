#include "tools/mha-tune/options.h"

#include <cmath>
#include <cstdlib>

#include "generator/spec/error.h"

namespace mha {

double parse_budget(const std::string& text) {
  const UserError wrong("--budget: '" + text + "' is no time; write 20s, 10m or 2h");
  char* end = nullptr;
  if (text.empty() || text[0] < '0' || text[0] > '9') throw wrong;
  const double number = std::strtod(text.c_str(), &end);
  const std::string unit = end;
  const double scale = unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  const double seconds = number * scale;
  if (!std::isfinite(seconds) || seconds <= 0) throw wrong;
  return seconds;
}

std::string default_database() {
  const char* data = std::getenv("XDG_DATA_HOME");
  if (data != nullptr && data[0] == '/') return std::string(data) + "/mha/tuning.db";
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') return std::string(home) + "/.local/share/mha/tuning.db";
  throw UserError("--database: neither XDG_DATA_HOME nor HOME is set; name a file");
}

}  // namespace mha
