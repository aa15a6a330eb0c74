#include "tools/common/console.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "generator/spec/error.h"

namespace mha {
namespace {

// https://no-color.org: present and not empty, whatever its value.
bool wants_colour(int descriptor) {
  const char* no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && no_color[0] != '\0') return false;
  const char* term = std::getenv("TERM");
  if (term != nullptr && std::strcmp(term, "dumb") == 0) return false;
  return isatty(descriptor) == 1;
}

// Returns 0 or the errno. Unbuffered on purpose: an error shows at the write that met it.
int write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    ssize_t n = ::write(descriptor, text.data(), text.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    text.remove_prefix(static_cast<size_t>(n));
  }
  return 0;
}

std::string with_newline(std::string_view text) {
  std::string line(text);
  if (line.empty() || line.back() != '\n') line += '\n';
  return line;
}

std::string styled(bool colour, const char* style, std::string_view text) {
  if (!colour) return std::string(text);
  return std::string("\033[") + style + "m" + std::string(text) + "\033[0m";
}

}  // namespace

Console::Console(std::string tool)
    : tool_(std::move(tool)),
      colour_out_(wants_colour(STDOUT_FILENO)),
      colour_err_(wants_colour(STDERR_FILENO)) {}

void Console::print(std::string_view text) {
  if (int error = write_all(STDOUT_FILENO, text)) {
    throw SystemError(std::string("cannot write to standard output: ") + std::strerror(error));
  }
}

void Console::print_json(const nlohmann::ordered_json& value) {
  // Replacing rather than throwing: a path that is no UTF-8 must not turn a result into a failure.
  print(value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

void Console::note(std::string_view text) {
  if (!quiet_) write_all(STDERR_FILENO, with_newline(text));
}

void Console::error(std::string_view text) {
  write_all(STDERR_FILENO,
            tool_ + ": " + styled(colour_err_, "1;31", "error:") + " " + with_newline(text));
}

void Console::warning(std::string_view text) {
  write_all(STDERR_FILENO,
            tool_ + ": " + styled(colour_err_, "1;33", "warning:") + " " + with_newline(text));
}

void Console::report(std::string_view text) { write_all(STDERR_FILENO, with_newline(text)); }

std::string Console::paint(const char* style, std::string_view text) const {
  return styled(colour_out_, style, text);
}

}  // namespace mha
