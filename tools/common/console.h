// Where a tool writes: results on standard output, messages on standard error.
#ifndef MHA_TOOLS_COMMON_CONSOLE_H_
#define MHA_TOOLS_COMMON_CONSOLE_H_

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace mha {

class Console {
 public:
  explicit Console(std::string tool);

  // A result, on standard output. Throws SystemError when it cannot be written (a full disk), so
  // that a tool never exits with 0 after losing what it had to say.
  void print(std::string_view text);
  // One JSON value and a newline, on standard output. Key order is that of insertion.
  void print_json(const nlohmann::ordered_json& value);
  // A message about progress, on standard error; --quiet silences it.
  void note(std::string_view text);
  // What went wrong, on standard error, after "TOOL: error: ".
  void error(std::string_view text);
  // Something surprising that is no error, after "TOOL: warning: "; --quiet does not silence it.
  void warning(std::string_view text);
  // A complete, already formatted report on standard error.
  void report(std::string_view text);

  // `text` in an SGR style ("1;31" is bold red) where standard output is a terminal that wants
  // colour.
  std::string paint(const char* style, std::string_view text) const;

  const std::string& tool() const { return tool_; }
  bool json() const { return json_; }
  bool quiet() const { return quiet_; }
  void set_json(bool json) { json_ = json; }
  void set_quiet(bool quiet) { quiet_ = quiet; }

 private:
  std::string tool_;
  bool json_ = false;
  bool quiet_ = false;
  bool colour_out_ = false;
  bool colour_err_ = false;
};

}  // namespace mha

#endif  // MHA_TOOLS_COMMON_CONSOLE_H_
