// Any bytes as a config: the parser answers with a spec or with problems, and never fails
// otherwise. A spec that it accepts survives the round trip through its JSON, and what is built of
// it goes through the dialect to a plan.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "generator/ir/lower.h"
#include "generator/spec/parse.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const mha::ParseResult result = mha::parse_spec_text(text, "fuzz.yaml");
  require(result.spec.has_value() == result.problems.empty());
  for (const mha::Diagnostic& problem : result.problems) {
    require(problem.where.line >= 1 && problem.where.column >= 1);  // line 0 is for internal errors
    require(!problem.message.empty());
  }
  mha::format_diagnostics(result.problems, result.text);
  if (result.spec) {
    const mha::LowerResult lowered = mha::lower(*result.spec);
    require(lowered.plan.has_value() == lowered.problems.empty());
    if (lowered.plan) mha::plan_text(*lowered.plan);
    const std::string json = mha::spec_to_json(*result.spec);
    const mha::ParseResult again = mha::parse_spec_text(json, "fuzz.json");
    // The slopes of many heads may make the JSON longer than a config may be.
    if (json.size() <= mha::kMaxConfigBytes) {
      require(again.spec && mha::spec_to_json(*again.spec) == json);
    }
  }
  return 0;
}
