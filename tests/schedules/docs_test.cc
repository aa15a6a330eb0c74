// docs/schedules.md: the parameters are those of stage_space(), the example of a record is one.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "schedules/space.h"
#include "tests/schedules/plans.h"

namespace mha {
namespace {

// The rows of parameters under a heading.
std::vector<std::string> rows_under(const std::string& heading) {
  std::ifstream file(MHA_SOURCE_DIR "/docs/schedules.md");
  std::vector<std::string> rows;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("#", 0) == 0) inside = line == heading;
    if (inside && line.rfind("| `", 0) == 0) rows.push_back(line);
  }
  return rows;
}

std::vector<std::string> expected(const std::string& stage) {
  std::vector<std::string> rows;
  for (const ParamInfo& info : stage_space(stage)) {
    std::string values;
    for (int64_t value : info.values) {
      values += (values.empty() ? "" : ", ") + std::to_string(value);
    }
    rows.push_back("| `" + info.name + "` | " + values + " | " + info.meaning + " |");
  }
  return rows;
}

TEST(Docs, ParametersOfAttention) {
  EXPECT_EQ(rows_under("### Stage `attention`"), expected("attention"));
}

TEST(Docs, ParametersOfDecode) { EXPECT_EQ(rows_under("### Stage `decode`"), expected("decode")); }

TEST(Docs, ParametersOfProjections) {
  EXPECT_EQ(rows_under("### Stages `project_...`"), expected("project_out"));
}

// The example, indented by four, from its first line to the next line that is not.
TEST(Docs, TheRecordIsRead) {
  std::ifstream file(MHA_SOURCE_DIR "/docs/schedules.md");
  std::string example;
  for (std::string line; std::getline(file, line);) {
    if (example.empty() && line != "    version: 1") continue;
    if (line.rfind("    ", 0) != 0) break;
    example += line.substr(4) + "\n";
  }
  std::string folder = (std::filesystem::temp_directory_path() / "mha_docs_XXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  std::ofstream(folder + "/zen5.yaml") << example;
  const Plan plan =
      plan_of("version: 1\nname: t\nop: attention\nheads: 8\nd_head: 64\nquery_length: 512\n");
  std::optional<Schedule> found;
  EXPECT_NO_THROW(found = find_record(folder, plan, machine_named("zen5"), 1));
  std::filesystem::remove_all(folder);
  ASSERT_TRUE(found.has_value()) << example;
  EXPECT_EQ(found->stage("attention").get("key_block"), 256);
}

}  // namespace
}  // namespace mha
