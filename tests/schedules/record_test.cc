// Records: written and read back, found by key and threads, refused with the place of what is
// wrong.
#include "schedules/record.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <random>

#include "generator/spec/error.h"
#include "schedules/space.h"
#include "tests/schedules/plans.h"
#include "tests/schedules/record_files.h"

namespace mha {
namespace {

namespace fs = std::filesystem;

const char kConfig[] =
    "version: 1\nname: t\nop: attention\nheads: 8\nd_head: 64\nquery_length: 512\n";
// As it was written before there were split_keys and exp.
const char kStage[] =
    "      attention: {query_block: 32, key_block: 256, key_tile: 4, query_vectors: 2, value_rows: "
    "4, value_vectors: 4, width_unroll: 2, key_unroll: 1, pack_keys: 0, pack_values: 0, "
    "task_order: 1, score_order: 0, value_order: 0, prefetch: 0, softmax_level: 0}\n";

class Records : public RecordFiles {
 protected:
  std::optional<Schedule> find(const Plan& plan, int threads = 1) const {
    return find_record(folder_, plan, zen5_, threads);
  }
  // The message, without the folder's name.
  std::string error(const Plan& plan) const {
    try {
      find(plan);
    } catch (const UserError& problem) {
      std::string text = problem.what();
      for (size_t at; (at = text.find(folder_ + "/")) != std::string::npos;) {
        text.erase(at, folder_.size() + 1);
      }
      return text;
    }
    return "no error";
  }
  // The same, its first line alone.
  std::string first_line(const Plan& plan) const {
    const std::string text = error(plan);
    return text.substr(0, text.find('\n'));
  }

  const Plan plan_ = plan_of(kConfig);
  const std::string entry_ =
      "  - key: \"" + plan_key(plan_) + "\"\n    threads: 1\n    stages:\n" + kStage;
};

TEST_F(Records, AbsentIsNoError) {
  EXPECT_EQ(find(plan_), std::nullopt);
  EXPECT_EQ(find_record(folder_ + "/none", plan_, zen5_, 1), std::nullopt);
  write(records_head("zen5") + "  []\n");
  EXPECT_EQ(find(plan_), std::nullopt);
}

TEST_F(Records, FoundByKeyAndThreads) {
  write(records_head("zen5") + entry_);
  const std::optional<Schedule> found = find(plan_);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->origin, "record");
  EXPECT_EQ(found->text(),
            "attention: query_block=32 key_block=256 key_tile=4 query_vectors=2 value_rows=4 "
            "value_vectors=4 width_unroll=2 key_unroll=1 pack_keys=0 pack_values=0 task_order=1 "
            "score_order=0 value_order=0 prefetch=0 softmax_level=0 split_keys=0 exp=0\n");
  EXPECT_EQ(find(plan_, 2), std::nullopt);
  Plan other = plan_;
  other.attention.right = 0;
  EXPECT_EQ(find(other), std::nullopt);
  Plan renamed = plan_;
  renamed.name = "another";
  EXPECT_TRUE(find(renamed).has_value());
  EXPECT_EQ(find_record(folder_, plan_, machine_named("zen4"), 1), std::nullopt);
}

TEST_F(Records, AnyOrderInTheFile) {
  const Plan block =
      plan_of("version: 1\nname: t\nop: block\nd_model: 512\nheads: 8\nquery_length: 512\n");
  const std::string projection =
      "{depth_unroll: 2, task_panels: 1, task_rows: 256, panel_vectors: 4, row_tile: 4, "
      "task_order: 0, loop_order: 0, prefetch: 2}\n";
  write(records_head("zen5") + "  - threads: 1\n    stages:\n      project_out: " + projection +
        kStage + "      project_qkv: " + projection + "    key: \"" + plan_key(block) + "\"\n");
  const std::optional<Schedule> found = find(block);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->text(),
            "project_qkv: row_tile=4 panel_vectors=4 depth_unroll=2 task_panels=1 task_rows=256 "
            "task_order=0 loop_order=0 prefetch=2\n"
            "attention: query_block=32 key_block=256 key_tile=4 query_vectors=2 value_rows=4 "
            "value_vectors=4 width_unroll=2 key_unroll=1 pack_keys=0 pack_values=0 task_order=1 "
            "score_order=0 value_order=0 prefetch=0 softmax_level=0 split_keys=0 exp=0\n"
            "project_out: row_tile=4 panel_vectors=4 depth_unroll=2 task_panels=1 task_rows=256 "
            "task_order=0 loop_order=0 prefetch=2\n");
}

// What is written is what is read, for every plan in one file.
TEST_F(Records, RoundTrip) {
  std::mt19937_64 random(test_seed());
  std::map<std::string, Plan> plans;
  for (const auto& [path, plan] : shipped_plans()) plans.emplace(plan_key(plan), plan);
  while (plans.size() < 60) {
    const std::optional<std::string> config = random_config(random);
    if (!config) continue;
    const Plan plan = plan_of(*config);
    plans.emplace(plan_key(plan), plan);
  }
  std::string text = records_head("zen5");
  for (const auto& [key, plan] : plans) {
    for (int threads : {1, 2}) {
      text += record_text(plan, default_schedule(plan, zen5_, threads), threads);
    }
  }
  write(text);
  for (const auto& [key, plan] : plans) {
    SCOPED_TRACE(key);
    for (int threads : {1, 2}) {
      const std::optional<Schedule> found = find(plan, threads);
      ASSERT_TRUE(found.has_value());
      EXPECT_EQ(found->stages, default_schedule(plan, zen5_, threads).stages);
    }
    EXPECT_EQ(find(plan, 3), std::nullopt);
  }
}

TEST_F(Records, Text) {
  Schedule schedule;
  schedule.stages = {{"attention", {{"query_block", 32}, {"key_block", 256}}}};
  EXPECT_EQ(record_text(plan_, schedule, 3), "  - key: \"" + plan_key(plan_) +
                                                 "\"\n    threads: 3\n    stages:\n      "
                                                 "attention: {query_block: 32, key_block: 256}\n");
}

RecordCertificate certificate_of_tests() {
  RecordCertificate c;
  c.gain = 1.0523;
  c.low = 1.03;
  c.high = 1.1 / 3 + 0.7;
  c.margin = 1.005;
  c.error = 0.005;
  c.pair_gains = {1.05, 1.0523, 1.06};
  c.seconds = {1e-3, 1.25e-7};
  c.default_seconds = {2e-3, 1.0 / 3};
  c.disturbed = 3;
  c.lengths = "B=1 Lq=512 Lk=512";
  c.machine = "A 1/2/3 features=0xf l1d=1 l2=2 l3=3 threads=4";
  c.generator = "mha-gen 0.1.0";
  c.space = "01234567";
  c.time = "2026-01-31T12:00:00Z";
  return c;
}

TEST_F(Records, ACertificateReadsBack) {
  Schedule schedule = default_schedule(plan_, zen5_, 1);
  write(records_head("zen5") + record_text(plan_, schedule, 1));
  EXPECT_EQ(find(plan_)->certificate, std::nullopt);
  schedule.certificate = certificate_of_tests();
  schedule.certificate->high = 1.1 / 3 + 0.9;
  write(records_head("zen5") + record_text(plan_, schedule, 1));
  const std::optional<Schedule> found = find(plan_);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->certificate, schedule.certificate);
  EXPECT_EQ(found->file, path());
  EXPECT_EQ(found->stages, schedule.stages);
}

TEST_F(Records, BadCertificates) {
  Schedule schedule = default_schedule(plan_, zen5_, 1);
  schedule.certificate = certificate_of_tests();
  schedule.certificate->high = 1.25;
  const std::string good = records_head("zen5") + record_text(plan_, schedule, 1);
  const auto edited = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    write(text);
    return first_line(plan_);
  };
  EXPECT_EQ(edited("x", "x"), "no error");
  EXPECT_EQ(edited("      gain: 1.0523\n", ""),
            "zen5.yaml:9:7: error: a certificate needs the key gain");
  EXPECT_EQ(edited("gain: 1.0523", "gain: fast"),
            "zen5.yaml:9:13: error: gain must be a number above 0");
  EXPECT_EQ(edited("gain: 1.0523", "gain: inf"),
            "zen5.yaml:9:13: error: gain must be a number above 0");
  EXPECT_EQ(edited("gain: 1.0523", "gain: 1.02"),
            "zen5.yaml:9:13: error: gain must lie between low and high");
  EXPECT_EQ(edited("low: 1.03", "low: 1.004"),
            "zen5.yaml:10:12: error: low must be above margin: this would certify nothing");
  EXPECT_EQ(edited("error: 0.005", "error: 1"), "zen5.yaml:13:14: error: error must be below 1");
  EXPECT_EQ(edited("pair_gains: [1.05,", "pair_gains: [-1,"),
            "zen5.yaml:14:20: error: each of pair_gains must be a number above 0");
  EXPECT_EQ(edited("seconds: [0.001, 1.25e-07]", "seconds: 1"),
            "zen5.yaml:15:16: error: seconds must be a list of numbers");
  EXPECT_EQ(edited("disturbed: 3", "disturbed: -3"),
            "zen5.yaml:17:18: error: disturbed must be a count");
  EXPECT_EQ(edited("\"mha-gen 0.1.0\"", "\"a\\nb\""),
            "zen5.yaml:20:18: error: generator must be one line of plain text");
  EXPECT_EQ(edited("      time:", "      noise: 1\n      time:"),
            "zen5.yaml:22:7: error: unknown key noise in a certificate");
}

// A record that a later version refuses says what to do.
TEST_F(Records, OfAnotherSpace) {
  Schedule schedule = default_schedule(plan_, zen5_, 1);
  schedule.certificate = certificate_of_tests();
  schedule.certificate->high = 1.25;
  const std::string good = records_head("zen5") + record_text(plan_, schedule, 1);
  write(good);
  EXPECT_TRUE(find(plan_).has_value()) << "legal is legal, whoever wrote it";
  std::string text = good;
  text.replace(text.find("key_tile: "), 10, "tile_key: ");
  write(text);
  EXPECT_NE(
      error(plan_).find("(space " + space_signature() + "): tune again, or delete the record"),
      std::string::npos)
      << error(plan_);
}

TEST_F(Records, FilesThatAreNone) {
  EXPECT_THROW(find_record("/dev/null", plan_, zen5_, 1), UserError);
  fs::create_directory(path());
  EXPECT_EQ(error(plan_), "zen5.yaml: error: cannot be read: not a regular file");
  fs::remove(path());
  // A pipe that nobody writes to must not be waited for.
  ASSERT_EQ(mkfifo(path().c_str(), 0600), 0);
  EXPECT_EQ(error(plan_), "zen5.yaml: error: cannot be read: not a regular file");
}

TEST_F(Records, NotYaml) {
  write("version: [1\n");
  EXPECT_EQ(first_line(plan_).substr(0, 36), "zen5.yaml:2:1: error: not valid YAML");
  write("");
  EXPECT_EQ(first_line(plan_), "zen5.yaml:1:1: error: the file is empty");
  write("- 1\n");
  EXPECT_EQ(first_line(plan_),
            "zen5.yaml:1:1: error: a file of records must be a map of keys to values");
  write(records_head("zen5") + "  []\n---\na: 1\n");
  EXPECT_EQ(first_line(plan_), "zen5.yaml:6:1: error: a second YAML document");
  // Deeper than any stack.
  write(std::string(200000, '['));
  EXPECT_EQ(first_line(plan_).substr(0, 10), "zen5.yaml:");
}

TEST_F(Records, Head) {
  write("target: zen5\nrecords: []\n");
  EXPECT_EQ(first_line(plan_), "zen5.yaml:1:1: error: a file of records needs the key version");
  write("version: 2\ntarget: zen5\nrecords: []\n");
  EXPECT_EQ(first_line(plan_),
            "zen5.yaml:1:10: error: version is 2: this generator reads version 1");
  write("version: 1\ntarget: zen4\nrecords: []\n");
  EXPECT_EQ(first_line(plan_),
            "zen5.yaml:2:9: error: the target is zen4: zen5.yaml must hold records of zen5");
  write("version: 1\ntarget: zen5\nrecords: {}\n");
  EXPECT_EQ(first_line(plan_), "zen5.yaml:3:10: error: records must be a list");
  write("version: 1\ntarget: zen5\nmachine: x\nrecords: []\n");
  EXPECT_EQ(error(plan_),
            "zen5.yaml:3:1: error: unknown key machine in a file of records\n"
            "  machine: x\n"
            "  ^");
  write("version: 1\nversion: 1\ntarget: zen5\nrecords: []\n");
  EXPECT_EQ(first_line(plan_), "zen5.yaml:2:1: error: key version is given twice");
}

TEST_F(Records, Entries) {
  const auto first = [&](const std::string& records) {
    write(records_head("zen5") + records);
    return first_line(plan_);
  };
  EXPECT_EQ(first("  - 1\n"), "zen5.yaml:4:5: error: a record must be a map of keys to values");
  EXPECT_EQ(first("  - {key: a, threads: 1}\n"),
            "zen5.yaml:4:5: error: a record needs the key stages");
  EXPECT_EQ(first("  - {key: a, threads: 1, stages: {}, seconds: 1}\n"),
            "zen5.yaml:4:38: error: unknown key seconds in a record");
  EXPECT_EQ(first("  - {key: a, threads: 0, stages: {}}\n"),
            "zen5.yaml:4:23: error: threads must be at least 1");
  EXPECT_EQ(first("  - {key: a, threads: two, stages: {}}\n"),
            "zen5.yaml:4:23: error: threads must be an integer");
  EXPECT_EQ(first("  - {key: [a], threads: 1, stages: {}}\n"),
            "zen5.yaml:4:11: error: key must be a single value");
  EXPECT_EQ(first("  - {key: a, threads: 1, stages: []}\n"),
            "zen5.yaml:4:34: error: stages must be a map of keys to values");
  EXPECT_EQ(first("  - {key: a, threads: 1, stages: {attention: 4}}\n"),
            "zen5.yaml:4:46: error: stage attention must be a map of keys to values");
  EXPECT_EQ(first("  - {key: a, threads: 1, stages: {attention: {key_tile: 4.5}}}\n"),
            "zen5.yaml:4:57: error: attention.key_tile must be an integer");
  EXPECT_EQ(first("  - {key: a, threads: 1, stages: {attention: {key_tile: 4, key_tile: 8}}}\n"),
            "zen5.yaml:4:60: error: key key_tile is given twice");
  EXPECT_EQ(first("  - {key: a, threads: 1, stages: {}}\n  - {key: a, threads: 1, stages: {}}\n"),
            "zen5.yaml:5:5: error: a second record of this key for 1 thread");
  EXPECT_EQ(first("  - {key: a, threads: 1, stages: {}}\n  - {key: a, threads: 2, stages: {}}\n"),
            "no error");
}

// A record for this very plan must be legal; the message stands at the parameter.
TEST_F(Records, IllegalForThePlan) {
  const auto edited = [&](const std::string& from, const std::string& to) {
    std::string text = records_head("zen5") + entry_;
    text.replace(text.find(from), from.size(), to);
    write(text);
    return first_line(plan_);
  };
  EXPECT_EQ(edited("key_tile: 4", "key_tile: 6"),
            "zen5.yaml:7:47: error: attention.key_block = 256: must be a multiple of key_tile");
  EXPECT_EQ(
      edited("key_tile: 4", "key_tile: 7"),
      "zen5.yaml:7:62: error: attention.key_tile = 7: must be one of 1, 2, 3, 4, 5, 6, 8, 10, "
      "12, 14");
  EXPECT_EQ(edited(" key_tile: 4,", ""), "zen5.yaml:7:7: error: attention.key_tile is missing");
  EXPECT_EQ(edited("key_tile: 4", "key_tile: 4, tile: 1"),
            "zen5.yaml:7:71: error: attention.tile is not a parameter of this stage");
  EXPECT_EQ(edited("attention: {", "pay_attention: {"),
            "zen5.yaml:7:7: error: pay_attention is not a stage of this plan");
  // Both problems of this file are told.
  EXPECT_NE(error(plan_).find("zen5.yaml:4:5: error: stage attention is missing"),
            std::string::npos);
}

// A record that is illegal for the plan that it was made for is no business of another plan.
TEST_F(Records, OthersMayBeIllegal) {
  write(records_head("zen5") +
        "  - {key: other, threads: 1, stages: {attention: {key_tile: 7}}}\n" + entry_);
  EXPECT_TRUE(find(plan_).has_value());
}

TEST(PlanKey, OneLineThatYamlQuotes) {
  EXPECT_EQ(plan_key(plan_of("version: 1\nname: t\nop: attention\nlayout: bhsd\nheads: 6\n"
                             "kv_heads: 2\nd_head: 16\nd_value: 24\nbatch: {min: 1, max: 4}\n"
                             "query_length: {min: 1, max: 33}\nkey_length: 128\n"
                             "query_offset: end\nmask: {causal: true, key_lengths: true}\n"
                             "outputs: [output, lse]\n")),
            "attention layout=bhsd B=1..4 Lq=1..33 Lk=128 H=6 G=2 D=16 Dv=24 scale=0.25 causal "
            "key_lengths offset=end outputs=output,lse");
  EXPECT_EQ(plan_key(plan_of("version: 1\nname: t\nd_model: 64\nheads: 4\nkv_heads: 2\n"
                             "query_length: 7\nprojection_bias: {q: true, out: true}\n")),
            "block B=1 Lq=7 Lk=Lq M=64 H=4 G=2 D=16 Dv=16 scale=1 offset=start "
            "project(x->w_q:4x16*0.25+b_q,w_k:2x16*1,w_v:2x16*1) out=w_o+b_o outputs=output");
}

// Each field that the generated code depends on changes the key; the name does not.
TEST(PlanKey, TellsPlansApart) {
  const Plan attention = plan_of(
      "version: 1\nname: t\nop: attention\nheads: 8\nd_head: 64\nquery_length: 512\n"
      "key_length: 512\n");
  const Plan block = plan_of(
      "version: 1\nname: t\nop: block\nd_model: 512\nheads: 8\nquery_length: 512\n"
      "projection_bias: {q: true}\n");
  const std::vector<std::function<void(Plan&)>> common = {
      [](Plan& p) { p.batch.max = 3; },
      [](Plan& p) { p.batch = {2, 2}; },
      [](Plan& p) { p.query_length.min = 1; },
      [](Plan& p) { p.query_length = {511, 511}; },
      [](Plan& p) { p.attention.heads = 16; },
      [](Plan& p) { p.attention.kv_heads = 4; },
      [](Plan& p) { p.attention.d_head = 32; },
      [](Plan& p) { p.attention.d_value = 32; },
      [](Plan& p) { p.attention.score_scale = 0.3; },
      [](Plan& p) { p.attention.right = 0; },
      [](Plan& p) { p.attention.right = 7; },
      [](Plan& p) { p.attention.left = 7; },
      [](Plan& p) { p.attention.key_starts = true; },
      [](Plan& p) { p.attention.mask = MaskTensor::kBool; },
      [](Plan& p) { p.attention.mask = MaskTensor::kAdditive; },
      [](Plan& p) { p.packed = true; },
      [](Plan& p) { p.top_k = 3; },
      [](Plan& p) { p.attention.key_lengths = true; },
      [](Plan& p) { p.attention.query_offset = QueryOffset::kEnd; },
      [](Plan& p) { p.attention.query_offset = QueryOffset::kInput; },
      [](Plan& p) { p.outputs.push_back("lse"); },
      [](Plan& p) { p.attention.norm = QkNorm(); },
      [](Plan& p) { p.attention.norm = QkNorm{1e-5, 0, false, true}; },
      [](Plan& p) { p.attention.norm = QkNorm{1e-6, 1, false, true}; },
      [](Plan& p) { p.attention.norm = QkNorm{1e-6, 0, true, true}; },
      [](Plan& p) { p.attention.norm = QkNorm{1e-6, 0, false, false}; },
      [](Plan& p) { p.attention.rotation = Rotation{false, {1, 0.5}, 1}; },
      [](Plan& p) { p.attention.rotation = Rotation{true, {1, 0.5}, 1}; },
      [](Plan& p) { p.attention.rotation = Rotation{false, {1, 0.25}, 1}; },
      [](Plan& p) { p.attention.rotation = Rotation{false, {1, 0.5}, 2}; },
      [](Plan& p) { p.attention.rotation = Rotation{false, {1}, 1}; },
      [](Plan& p) { p.attention.kept_heads = p.attention.kept_kv_heads = {0, 1}; },
      [](Plan& p) { p.attention.kept_heads = {0, 2}, p.attention.kept_kv_heads = {0, 1}; },
      [](Plan& p) { p.attention.kept_heads = {0, 1}, p.attention.kept_kv_heads = {0, 2}; },
  };
  const std::vector<std::function<void(Plan&)>> of_attention = {
      [](Plan& p) { p.layout = Layout::kBhsd; },
      [](Plan& p) { p.key_length = {513, 513}; },
      [](Plan& p) { p.key_length.min = 1; },
      [](Plan& p) { p.self_length = true; },
      [](Plan& p) { p.new_keys = Plan::NewKeys::kOfQueriesOrNone; },
      [](Plan& p) { p.new_keys = Plan::NewKeys::kOwn, p.new_key_length = {1, 4}; },
      [](Plan& p) { p.new_keys = Plan::NewKeys::kOwn, p.new_key_length = {1, 5}; },
  };
  const std::vector<std::function<void(Plan&)>> of_block = {
      [](Plan& p) { p.d_model = 511; },
      [](Plan& p) { p.out_weight = "w_p"; },
      [](Plan& p) { p.out_bias = "b_o"; },
      [](Plan& p) { p.projections[0].input = "memory"; },
      [](Plan& p) { p.projections[0].parts[0].bias = ""; },
      [](Plan& p) { p.projections[0].parts[0].heads = 7; },
      [](Plan& p) { p.projections[0].parts[0].width = 32; },
      [](Plan& p) { p.projections[0].parts[0].weight_scale = 0.5; },
      [](Plan& p) { p.projections[0].parts.pop_back(); },
      [](Plan& p) {
        p.projections.push_back({"x", {p.projections[0].parts.back()}});
        p.projections[0].parts.pop_back();
      },
  };
  const auto check = [](const Plan& plan, const std::vector<std::function<void(Plan&)>>& edits,
                        std::map<std::string, int>* keys) {
    for (const auto& edit : edits) {
      Plan changed = plan;
      edit(changed);
      ++(*keys)[plan_key(changed)];
    }
  };
  std::map<std::string, int> keys = {{plan_key(attention), 1}, {plan_key(block), 1}};
  check(attention, common, &keys);
  check(attention, of_attention, &keys);
  check(block, common, &keys);
  check(block, of_block, &keys);
  for (const auto& [key, count] : keys) EXPECT_EQ(count, 1) << key;
  EXPECT_EQ(keys.size(), 2 + 2 * common.size() + of_attention.size() + of_block.size());
  Plan renamed = block;
  renamed.name = "another";
  EXPECT_EQ(plan_key(renamed), plan_key(block));
}

}  // namespace
}  // namespace mha
