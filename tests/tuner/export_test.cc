// From certificates to files of records: what is replaced, what stays, and that mha-gen's reader
// finds it.
#include "schedules/tuner/export.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "generator/ir/lower.h"
#include "generator/spec/error.h"
#include "generator/spec/parse.h"
#include "schedules/machine.h"
#include "schedules/record.h"
#include "tests/tuner/database_tools.h"

namespace mha {
namespace {

const char kThis[] = "A 1/2/3", kOther[] = "B 1/2/3";

class Export : public DatabaseTest {
 protected:
  static Plan plan(int length) {
    const ParseResult parsed =
        parse_spec_text("version: 1\nname: t\nop: attention\nheads: 8\nd_head: 64\nquery_length: " +
                            std::to_string(length) + "\n",
                        "t.yaml");
    return *lower(*parsed.spec).plan;
  }
  Subject subject(int length, const char* machine = kThis, int threads = 1) const {
    Subject s = subject_named(plan_key(plan(length)));
    s.machine = machine;
    s.threads = threads;
    return s;
  }
  CertifiedSchedule winner(int length, double low = 0.02) const {
    CertifiedSchedule c = certified(0, low);
    c.schedule = default_schedule(plan(length), zen4_, 1);
    return c;
  }
  NewRecord record(int length, double low = 0.02, const char* machine = kThis) const {
    return new_record(subject(length, machine), winner(length, low), machine);
  }
  Exported merge(const std::string& existing, const std::vector<NewRecord>& records,
                 bool over_others = false, const char* machine = kThis) const {
    return merge_records("zen4.yaml", existing, records, {"zen4", machine, over_others});
  }

  const Machine zen4_ = *named_machine("zen4");
};

TEST_F(Export, TheGeneratorFindsIt) {
  const Exported exported = merge("", {record(512), record(64)});
  EXPECT_EQ(exported.added, 2);
  std::ofstream(file("zen4.yaml")) << exported.text;
  const std::optional<Schedule> found = find_record(folder_, plan(512), zen4_, 1);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->stages, winner(512).schedule.stages);
  ASSERT_TRUE(found->certificate.has_value());
  EXPECT_EQ(found->certificate->machine, kThis);
  EXPECT_EQ(found->certificate->lengths, subject(512).lengths);
  EXPECT_DOUBLE_EQ(found->certificate->low, std::exp(0.02));
  EXPECT_DOUBLE_EQ(found->certificate->margin, std::exp(0.005));
  EXPECT_EQ(found->certificate->pair_gains.size(), 2u);
}

TEST_F(Export, TheSameRecordsGiveTheSameText) {
  std::vector<NewRecord> records = {record(512), record(64), record(100), record(7)};
  const std::string text = merge("", records).text;
  std::reverse(records.begin(), records.end());
  EXPECT_EQ(merge("", records).text, text);
  const Exported again = merge(text, records);
  EXPECT_EQ(again.text, text);
  EXPECT_EQ(again.added + again.replaced, 0);
  EXPECT_EQ(merge(merge("", {record(100), record(7)}).text, {record(64), record(512)}).text, text);
  EXPECT_EQ(merge("", {}).text, "version: 1\ntarget: zen4\nrecords:\n  []\n");
  EXPECT_EQ(merge(merge("", {}).text, records).text, text);
}

TEST_F(Export, ReplacesItsOwnAndKeepsTheOthers) {
  const std::string hand =
      "  # Tried on a Tuesday.\n" + record_text(plan(64), default_schedule(plan(64), zen4_, 1), 1);
  const std::string other =
      "  # Another comment.\n\n" + record_text("zz of nobody's plan", {"record", {{"x", {}}}}, 3);
  const std::string file = "# Ours.\n" + records_head("zen4") + hand + record(512).text + other;
  const Exported exported = merge(file, {record(512, 0.07), record(64), record(7)});
  EXPECT_EQ(exported.added, 1);
  EXPECT_EQ(exported.replaced, 1);
  ASSERT_EQ(exported.kept.size(), 1u);
  EXPECT_NE(exported.kept[0].find("was written by hand and stays"), std::string::npos);
  EXPECT_TRUE(exported.text.starts_with("# Ours.\n" + records_head("zen4")));
  for (const std::string& part : {hand, record(512, 0.07).text, record(7).text,
                                  record_text("zz of nobody's plan", {"record", {{"x", {}}}}, 3)}) {
    EXPECT_NE(exported.text.find(part), std::string::npos) << part;
  }
  EXPECT_NE(exported.text.find("# Another comment."), std::string::npos);
  EXPECT_EQ(exported.text.find(record(512).text), std::string::npos);
}

TEST_F(Export, AForeignMachineNeverTakesAPlace) {
  const std::string ours = merge("", {record(512)}).text;
  const NewRecord foreign = record(512, 0.5, kOther);
  const Exported kept = merge(ours, {foreign}, false, kOther);
  EXPECT_EQ(kept.text, ours);
  ASSERT_EQ(kept.kept.size(), 1u);
  EXPECT_NE(kept.kept[0].find(kThis), std::string::npos);
  EXPECT_NE(merge(ours, {foreign}, true, kOther).text.find(foreign.text), std::string::npos);
  try {
    new_record(subject(512, kOther), winner(512), kThis);
    FAIL() << "a foreign machine's schedule became a record";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(kOther), std::string::npos);
  }
  CertifiedSchedule slower = winner(512);
  slower.certificate.faster = false;
  EXPECT_THROW(new_record(subject(512), slower, kThis), UserError);
}

TEST_F(Export, ChoosesFromTheDatabase) {
  Database database(file());
  const auto records = [&](const std::string& target, const std::string& machine) {
    const Subject s = subject_named();
    return certified_records(database, target, machine, s.generator, s.space);
  };
  EXPECT_TRUE(records("zen4", kThis).empty());
  database.append(subject(64, kOther), winner(64, 0.9));
  EXPECT_TRUE(records("zen5", kThis).empty());
  try {
    records("zen4", kThis);
    FAIL() << "no word of the other machine";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(kOther), std::string::npos);
  }
  database.append(subject(64), winner(64, 0.02));
  database.append(subject(64), winner(64, 0.04));
  Subject longer = subject(64), older = subject(64);
  longer.lengths = "B=1 Lq=64 Lk=64";
  database.append(longer, winner(64, 0.03));
  older.generator = "mha-gen 0.0.9";
  database.append(older, winner(64, 0.8));
  database.append(subject(512, kThis, 2), winner(512));
  CertifiedSchedule slower = winner(7, 0.6);
  slower.certificate.faster = false;
  database.append(subject(7), slower);
  const std::vector<NewRecord> found = records("zen4", kThis);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].threads, 2);
  EXPECT_EQ(found[1].text, new_record(longer, winner(64, 0.03), kThis).text);
}

// Of a range of lengths what was chosen last, and never what was certified at one of them.
TEST_F(Export, ChoosesWhatARangeGotLast) {
  const ParseResult parsed = parse_spec_text(
      "version: 1\nname: t\nop: attention\nheads: 8\nd_head: 64\nquery_length: {min: 1, max: "
      "512}\n",
      "t.yaml");
  const Plan ranged = *lower(*parsed.spec).plan;
  Subject longest = subject_named(plan_key(ranged));
  longest.machine = kThis;
  longest.lengths = "B=1 Lq=512 Lk=512";
  Database database(file());
  const auto records = [&] {
    return certified_records(database, "zen4", kThis, longest.generator, longest.space);
  };
  database.append(longest, winner(512, 0.9));
  EXPECT_TRUE(records().empty());
  CertifiedVariants chosen = certified_variants(0, 0.03);
  chosen.variants = {{64, default_schedule(ranged, zen4_, 1)},
                     {512, default_schedule(ranged, zen4_, 1)}};
  chosen.variants[0].schedule.stages[0].params[0].second = 32;
  chosen.lengths = "B=1 Lq=64 Lk=64";
  database.append(longest, chosen);
  CertifiedVariants before = certified_variants(0, 0.3);
  before.certificate.time = "2025-01-31T13:00:00Z";
  database.append(longest, before);
  const std::vector<NewRecord> found = records();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].text, new_record(longest, chosen, kThis).text);
  std::ofstream(file("zen4.yaml")) << merge("", found).text;
  const auto read = find_variants(folder_, ranged, zen4_, 1);
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ((*read)[i].max_query_length, chosen.variants[i].max_query_length);
    EXPECT_EQ((*read)[i].schedule.stages, chosen.variants[i].schedule.stages);
    EXPECT_EQ((*read)[i].schedule.certificate->lengths, chosen.lengths);
  }
  Subject foreign = longest;
  foreign.machine = kOther;
  EXPECT_THROW(new_record(foreign, chosen, kThis), UserError);
}

TEST_F(Export, FilesThatCannotBeTakenApart) {
  EXPECT_THROW(merge("version: 1\ntarget: zen5\nrecords: []\n", {record(64)}), UserError);
  EXPECT_THROW(merge("no yaml: [", {record(64)}), UserError);
  const std::string flow = "{key: a, threads: 1, stages: {x: {}}}";
  EXPECT_THROW(merge("version: 1\ntarget: zen4\nrecords: [" + flow + "]\n", {record(64)}),
               UserError);
  EXPECT_THROW(merge("version: 1\nrecords:\n  - " + flow + "\ntarget: zen4\n", {record(64)}),
               UserError);
  // One on a line is one.
  const std::string text = merge("version: 1\ntarget: zen4\nrecords:\n- " + flow + "\n", {}).text;
  EXPECT_NE(text.find("- " + flow + "\n"), std::string::npos);
  // Ours follow the way that the file is written.
  EXPECT_EQ(merge("version: 1\ntarget: zen4\nrecords:\n- " + flow + "\n", {record(64)}).added, 1);
  EXPECT_EQ(merge("version: 1\ntarget: zen4\nrecords:\n    - " + flow, {record(64)}).added, 1);
  // A last line without its newline.
  EXPECT_EQ(merge("version: 1\ntarget: zen4\nrecords:\n  - " + flow, {record(64)}).added, 1);
}

}  // namespace
}  // namespace mha
