// From the text of a config to a Spec, or to the list of everything that is wrong with it.
#ifndef MHA_GENERATOR_SPEC_PARSE_H_
#define MHA_GENERATOR_SPEC_PARSE_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "generator/spec/spec.h"

namespace mha {

// One thing that is wrong. `message` names the key, what was given and the rule; `hint` (may be
// empty) says what to write instead.
struct Diagnostic {
  SourceLocation where;
  std::string message;
  std::string hint;
};

// Either a spec, or at least one problem. `text` is what was parsed, for format_diagnostics().
struct ParseResult {
  std::optional<Spec> spec;
  std::vector<Diagnostic> problems;  // in the order of the file
  std::string text;
};

inline constexpr size_t kMaxConfigBytes = 1 << 20;
inline constexpr int kMaxConfigDepth = 64;

// Does no I/O and never throws; `file` is only a name for the messages.
ParseResult parse_spec_text(std::string_view text, const std::string& file);

// The same for a file. One that is missing, unreadable, too large or no regular file is a problem
// at line 0.
ParseResult parse_spec_file(const std::string& path);

// Keys that are right but whose code generation is not built in this version; empty: all of the
// spec is.
std::vector<Diagnostic> unsupported(const Spec& spec);

// For every problem "file:line:column: error: message", the line with a caret under the place, and
// the hint. `text` is the config's text (ParseResult::text). Ends with a newline unless there is no
// problem.
std::string format_diagnostics(const std::vector<Diagnostic>& problems, std::string_view text);

// What tools call: a spec that code can be generated for. Throws UserError (generator/spec/error.h)
// whose message is format_diagnostics() of all problems, or of all keys that are not built yet.
Spec load_spec(const std::string& path);

// Canonical JSON of the resolved spec: every field, sorted and deterministic, without the file's
// name.
std::string spec_to_json(const Spec& spec);

}  // namespace mha

#endif  // MHA_GENERATOR_SPEC_PARSE_H_
