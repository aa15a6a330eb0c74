// Records with a schedule for each range of lengths.
#include <gtest/gtest.h>

#include "generator/spec/error.h"
#include "schedules/lengths.h"
#include "schedules/record.h"
#include "tests/schedules/plans.h"
#include "tests/schedules/record_files.h"

namespace mha {
namespace {

class RecordVariants : public RecordFiles {
 protected:
  std::optional<std::vector<LengthVariant>> find(const std::string& record) const {
    write(records_head("zen5") + record);
    return find_variants(folder_, plan_, zen5_, 1);
  }
  // The first line of the message, from the position on.
  std::string error(const std::string& record) const {
    try {
      find(record);
    } catch (const UserError& problem) {
      const std::string text = problem.what();
      const size_t start = text.find("zen5.yaml") + 9;
      return text.substr(start, text.find('\n') - start);
    }
    return "no error";
  }
  // Variants in one line each, as many as there are ends.
  std::string record(const std::vector<std::string>& ends, const Schedule& schedule) const {
    std::string text = "  - key: \"" + plan_key(plan_) + "\"\n    threads: 1\n    variants:\n";
    std::string stages;
    for (const StageSchedule& stage : schedule.stages) {
      stages += (stages.empty() ? "" : ", ") + stage.stage + ": {";
      for (const auto& [name, value] : stage.params) {
        stages += name + ": " + std::to_string(value) + ", ";
      }
      stages += "}";
    }
    for (const std::string& to : ends) {
      text += "      - {to: " + to + ", stages: {" + stages + "}}\n";
    }
    return text;
  }

  const Plan plan_ = plan_of(
      "{version: 1, name: t, op: block, d_model: 256, heads: 4, query_length: {min: 3, max: 512}}");
  const Schedule schedule_ = default_schedule(plan_, zen5_, 1);
};

TEST_F(RecordVariants, RoundTrip) {
  std::vector<LengthVariant> variants = default_variants(plan_, zen5_, 1);
  ASSERT_GT(variants.size(), 1u);
  const auto found = find(record_text(plan_key(plan_), variants, 1));
  ASSERT_TRUE(found.has_value());
  ASSERT_EQ(found->size(), variants.size());
  for (size_t i = 0; i < variants.size(); ++i) {
    EXPECT_EQ((*found)[i].max_query_length, variants[i].max_query_length);
    EXPECT_EQ((*found)[i].schedule.stages, variants[i].schedule.stages);
    EXPECT_EQ((*found)[i].schedule.origin, "record");
  }
  EXPECT_EQ(find_record(folder_, plan_, zen5_, 1)->stages, variants.back().schedule.stages);
  // One for all lengths, in a list or without, is read as one variant.
  variants = {{512, schedule_}};
  for (const std::string& text :
       {record_text(plan_key(plan_), variants, 1), record_text(plan_, schedule_, 1)}) {
    const auto one = find(text);
    ASSERT_TRUE(one.has_value());
    ASSERT_EQ(one->size(), 1u);
    EXPECT_EQ((*one)[0].max_query_length, 512);
  }
}

TEST_F(RecordVariants, LengthsThatServeNothing) {
  const auto of = [&](const std::vector<std::string>& ends) {
    return error(record(ends, schedule_));
  };
  EXPECT_EQ(of({"16", "512"}), "no error");
  EXPECT_EQ(of({"3", "512"}), "no error");
  EXPECT_EQ(of({"64", "16", "512"}),
            ":8:14: error: to is 16: variants must ascend, and the one before goes to 64");
  EXPECT_EQ(of({"16", "16", "512"}),
            ":8:14: error: to is 16: variants must ascend, and the one before goes to 16");
  EXPECT_EQ(of({"16", "511"}),
            ":8:14: error: to is 511: the last variant must go to the largest query_length, 512");
  EXPECT_EQ(of({"16", "513"}),
            ":8:14: error: to is 513: the last variant must go to the largest query_length, 512");
  EXPECT_EQ(of({"2", "512"}), ":7:14: error: to is 2: query_length goes from 3 to 512");
  EXPECT_EQ(of({"600", "700"}), ":7:14: error: to is 600: query_length goes from 3 to 512");
  EXPECT_EQ(of({"4", "5", "6", "7", "8", "9", "512"}),
            ":13:9: error: a record has at most 6 variants");
  EXPECT_EQ(of({"x"}), ":7:14: error: to must be an integer");
  EXPECT_EQ(of({}), ":7:1: error: variants must be a list of at least one");
}

TEST_F(RecordVariants, OtherShapesOfTheEntry) {
  const std::string head = "  - key: \"" + plan_key(plan_) + "\"\n    threads: 1\n";
  EXPECT_EQ(error(head + "    variants: 3\n"),
            ":6:15: error: variants must be a list of at least one");
  EXPECT_EQ(error(head + "    variants: [{to: 512}]\n"),
            ":6:16: error: a variant needs the key stages");
  EXPECT_EQ(error(head + "    variants: [{to: 512, stages: {}, from: 1}]\n"),
            ":6:38: error: unknown key from in a variant");
  EXPECT_EQ(error(head + "    stages: {}\n    variants: []\n"),
            ":6:5: error: unknown key stages in a record");
}

TEST_F(RecordVariants, RulesOfEachAndOfAll) {
  std::string text = record({"16", "512"}, schedule_);
  const std::string panel = "panel_vectors: 2";
  text.replace(text.rfind(panel), panel.size(), "panel_vectors: 1");
  const std::string other = error(text);
  EXPECT_EQ(other.substr(0, 3), ":8:");
  EXPECT_NE(other.find("error: project_out.panel_vectors = 1: weights are packed once for all "
                       "variants: must be 2 as in the first"),
            std::string::npos)
      << other;
  const std::string rows =
      error(record({"16", "512"}, with(schedule_, "attention", "value_rows", 7)));
  EXPECT_EQ(rows.substr(0, 3), ":7:");
  EXPECT_NE(rows.find("attention.value_rows = 7"), std::string::npos) << rows;
}

}  // namespace
}  // namespace mha
