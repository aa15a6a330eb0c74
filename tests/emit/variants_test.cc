// What a library says of its variants, and which records leave it several.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "generator/emit/generate.h"
#include "generator/ir/lower.h"
#include "generator/spec/parse.h"
#include "schedules/record.h"

namespace mha {
namespace {

Spec spec_of(const std::string& lengths) {
  const auto parsed = parse_spec_text(
      "{version: 1, name: ranged, op: attention, heads: 2, d_head: 16, query_length: " + lengths +
          "}",
      "ranged.yaml");
  return parsed.spec.value();
}

nlohmann::json manifest_of(const Spec& spec, const std::string& records) {
  GenerateOptions options;
  options.targets = {"zen4"};
  options.explain_only = true;
  options.schedules_dir = records;
  return nlohmann::json::parse(generate(spec, options).manifest);
}

TEST(VariantsInALibrary, AreListedAndServeRanges) {
  const std::string folder =
      (std::filesystem::temp_directory_path() / ("mha-variants-" + std::to_string(getpid())))
          .string();
  std::filesystem::create_directories(folder);
  const Spec spec = spec_of("{min: 1, max: 512}");
  const nlohmann::json usual = manifest_of(spec, folder);
  ASSERT_EQ(usual.at("variants").size(), 4u);
  EXPECT_EQ(usual["variants"][1]["min_query_length"], 17);
  EXPECT_EQ(usual["variants"][1]["max_query_length"], 48);
  EXPECT_EQ(usual["variants"][3]["parameters"], usual["schedule"]["parameters"]);
  EXPECT_EQ(manifest_of(spec_of("512"), folder).count("variants"), 0u);

  // A record serves all lengths; one that says it was measured, only those that were.
  const Plan plan = *lower(spec).plan;
  Schedule schedule = default_schedule(plan, *named_machine("zen4"), 1);
  const auto write = [&] {
    std::ofstream(folder + "/zen4.yaml")
        << records_head("zen4") + record_text(plan_key(plan), schedule, 1);
  };
  write();
  EXPECT_EQ(manifest_of(spec, folder).count("variants"), 0u);
  schedule.certificate = RecordCertificate{};
  RecordCertificate& c = *schedule.certificate;
  c.gain = c.low = c.high = 1.1;
  c.margin = 1.005;
  c.error = 0.005;
  c.lengths = c.machine = c.generator = c.space = c.time = "x";
  write();
  EXPECT_EQ(manifest_of(spec, folder).at("variants").size(), 4u);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace mha
