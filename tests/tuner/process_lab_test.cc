// Candidates as processes: that good ones are measured, on every kind of call.
#include "schedules/tuner/process_lab.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <string>

#include "schedules/tuner/fingerprint.h"
#include "tests/tuner/lab_case.h"
#include "tools/mha-run/inputs.h"
#include "tools/reference/reference.h"

namespace mha {
namespace {

void expect_slice(const Slice& slice, size_t parts) {
  ASSERT_EQ(slice.seconds.size(), parts);
  for (const double seconds : slice.seconds) {
    EXPECT_GT(seconds, 0);
    EXPECT_LT(seconds, 0.1);
  }
  EXPECT_GE(slice.calls, 1);
  EXPECT_GT(slice.peak_flops, 1e8);
  EXPECT_GE(slice.switches, 0);
}

void expect_measured(const LabCase& c) {
  const Built built = c.build();
  ASSERT_EQ(built.outcome, Outcome::kMeasured) << built.detail;
  const std::unique_ptr<Runner> runner = c.lab->start(built, 1);
  expect_slice(runner->stages(0.002), c.lab->stages().size());
  expect_slice(runner->whole(0.002), 1);
}

TEST(ProcessLab, MeasuresAttention) {
  LabCase c("{version: 1, name: a, op: attention, heads: 2, d_head: 64, query_length: 33}");
  EXPECT_EQ(c.lab->machine(), fingerprint().text());
  EXPECT_EQ(c.lab->stages(), std::vector<std::string>{"attention"});
  expect_measured(c);
}

TEST(ProcessLab, MeasuresABlockOnTwoThreads) {
  LabCase c("{version: 1, name: b, op: block, d_model: 64, heads: 2, query_length: 33}", 2);
  EXPECT_EQ(c.lab->stages().size(), 3u);
  expect_measured(c);
}

class EveryKind : public testing::TestWithParam<const char*> {};

TEST_P(EveryKind, IsMeasured) {
  LabCase c(GetParam());
  expect_measured(c);
}

INSTANTIATE_TEST_SUITE_P(
    ProcessLab, EveryKind,
    testing::Values(
        "{version: 1, name: c, op: attention, heads: 4, kv_heads: 2, d_head: 24, batch: 2, "
        "query_length: 19, key_length: 70, query_offset: end, layout: bhsd, "
        "mask: {causal: true, key_lengths: true}, outputs: [output, lse]}",
        "{version: 1, name: r, op: attention, heads: 2, d_head: 64, "
        "query_length: {min: 1, max: 40}, mask: {tensor: additive}, "
        "outputs: [output, weights]}",
        "{version: 1, name: p, op: attention, heads: 2, d_head: 64, packed: true, "
        "batch: {min: 1, max: 3}, query_length: {min: 1, max: 20}, mask: {causal: true}}",
        "{version: 1, name: x, op: block, d_model: 64, heads: 2, cross: true, query_length: 9, "
        "key_length: 21, mask: {tensor: bool}, projection_bias: {q: true, out: true}}",
        "{version: 1, name: t, op: attention, heads: 2, d_head: 64, query_length: 24, "
        "outputs: [output, mean_weights], top_k: 3}"));

TEST(ProcessLab, PacksBelongToTheAttentionStage) {
  LabCase c("{version: 1, name: a, op: attention, heads: 2, d_head: 64, query_length: 64}");
  Candidate candidate = c.candidate();
  for (auto& [name, value] : candidate.schedule.stages[0].params) {
    if (name == "pack_keys" || name == "pack_values") value = 1;
  }
  const Built built = c.lab->build({candidate}).front();
  ASSERT_EQ(built.outcome, Outcome::kMeasured) << built.detail;
  expect_slice(c.lab->start(built, 1)->stages(0.001), 1);
}

TEST(ProcessLab, AWrongReferenceIsNoticed) {
  LabCase c("{version: 1, name: a, op: attention, heads: 2, d_head: 64, query_length: 8}");
  c.workload.inputs[0].bytes[3] ^= 0x40;  // an exponent
  c.start(1, {});
  const Built built = c.build();
  try {
    c.lab->start(built, 1);
    FAIL() << "passes";
  } catch (const RunnerFailure& failure) {
    EXPECT_EQ(failure.outcome(), Outcome::kWrong);
    EXPECT_NE(std::string(failure.what()).find("values are beyond the bound, the worst at ["),
              std::string::npos)
        << failure.what();
  }
}

TEST(ProcessLab, AScheduleThatBreaksItsRulesIsNotBuilt) {
  LabCase c("{version: 1, name: a, op: attention, heads: 2, d_head: 64, query_length: 8}");
  Candidate bad = c.candidate();
  bad.schedule.stages[0].params[0].second = 1000000;
  const std::vector<Built> built = c.lab->build({bad, c.candidate(), bad});
  EXPECT_EQ(built[0].outcome, Outcome::kBuild);
  EXPECT_NE(built[0].detail.find("breaks its rules"), std::string::npos) << built[0].detail;
  EXPECT_EQ(built[1].outcome, Outcome::kMeasured) << built[1].detail;
  EXPECT_EQ(built[2].outcome, Outcome::kBuild);
}

TEST(ProcessLab, MeasuresThroughACommand) {
  const std::string script = testing::TempDir() + "mha_elsewhere.sh";
  {
    std::ofstream file(script);
    file << "#!/bin/sh\necho \"$1\" > " << script << ".log\nshift\nexec \"$@\"\n";
  }
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  LabOptions options;
  options.remote = script + " host";
  LabCase c("{version: 1, name: a, op: attention, heads: 2, d_head: 64, query_length: 16}", 1,
            options);
  EXPECT_EQ(c.lab->machine(), fingerprint().text());
  expect_measured(c);
  std::ifstream log(script + ".log");
  std::string word;
  log >> word;
  EXPECT_EQ(word, "host");
}

TEST(ProcessLab, ACommandThatFailsIsTheSystemsFault) {
  LabOptions options;
  options.remote = "sh -c exit";
  EXPECT_THROW(LabCase("{version: 1, name: a, op: attention, heads: 2, d_head: 64, "
                       "query_length: 16}",
                       1, options),
               SystemError);
  options.remote = "there_is_no_such_program";
  EXPECT_THROW(LabCase("{version: 1, name: a, op: attention, heads: 2, d_head: 64, "
                       "query_length: 16}",
                       1, options),
               SystemError);
}

TEST(ProcessLab, ClearsAwayWhatDeadProcessesLeft) {
  namespace fs = std::filesystem;
  const std::string folder = testing::TempDir() + "mha_leftovers";
  fs::remove_all(folder);
  fs::create_directories(folder + "/mha-tune-999999999-abcdef");
  fs::create_directories(folder + "/mha-tune-1-abcdef");
  fs::create_directories(folder + "/other");
  LabOptions options;
  options.folder = folder;
  {
    LabCase c("{version: 1, name: a, op: attention, heads: 2, d_head: 64, query_length: 8}", 1,
              options);
    EXPECT_FALSE(fs::exists(folder + "/mha-tune-999999999-abcdef"));
    EXPECT_TRUE(fs::exists(folder + "/mha-tune-1-abcdef"));
  }
  EXPECT_TRUE(fs::exists(folder + "/other"));
  fs::remove_all(folder + "/other");
  fs::remove_all(folder + "/mha-tune-1-abcdef");
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST(Builder, WhatFailsSaysWhy) {
  BuildLimits limits;
  limits.seconds = 1;
  limits.memory_bytes = uint64_t{1} << 30;
  const std::vector<Built> built = build_in_parallel(6, limits, [](size_t i) -> Built {
    if (i == 0) throw InternalError("no such thing");
    if (i == 1) {
      for (;;) pause();
    }
    if (i == 2) {
      std::vector<std::unique_ptr<char[]>> all;
      for (;;) all.emplace_back(new char[size_t{1} << 24]);
    }
    if (i == 3) std::abort();
    if (i == 4) _exit(0);
    return {Outcome::kMeasured, "two\nlines", "program"};
  });
  EXPECT_EQ(built[0].outcome, Outcome::kBuild);
  EXPECT_EQ(built[0].detail, "no such thing");
  EXPECT_EQ(built[1].outcome, Outcome::kHang);
  EXPECT_EQ(built[2].outcome, Outcome::kMemory);
  EXPECT_EQ(built[3].outcome, Outcome::kBuild);
  EXPECT_EQ(built[3].detail, "building it: ended by signal 6 (Aborted)");
  EXPECT_EQ(built[4].outcome, Outcome::kBuild);
  EXPECT_EQ(built[5].outcome, Outcome::kMeasured);
  EXPECT_EQ(built[5].detail, "two\nlines");
  EXPECT_EQ(built[5].program, "program");
}

TEST(Workload, OfASampleEveryRowIsStillLookedAt) {
  const ParseResult parsed = parse_spec_text(
      "{version: 1, name: a, op: attention, heads: 2, d_head: 8, query_length: 200}", "test.yaml");
  const Spec& spec = *parsed.spec;
  const CallLengths lengths = max_lengths(spec);
  const Workload workload = make_workload(spec, lengths, 1, 1, 0);
  Arrays inputs;
  for (auto& [name, tensor] : random_input_tensors(spec, lengths, 1)) {
    inputs[name] = tensor.array();
  }
  const Arrays plain = plain_f32(spec, lengths, inputs);
  std::vector<float> values(plain.at("output").values.begin(), plain.at("output").values.end());
  const auto wrong = [&] {
    return workload.wrong({{"output", std::string(reinterpret_cast<const char*>(values.data()),
                                                  values.size() * sizeof(float))}});
  };
  EXPECT_FALSE(wrong());
  const size_t row = 16;
  int noticed = 0;
  for (size_t i = 0; i < 200; ++i) {
    float& value = values[i * row + i % row];
    const float right = value;
    value += 0.5F;
    noticed += wrong().has_value();
    value = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(wrong()) << i;
    value = right;
  }
  EXPECT_GE(noticed, 32 + 40);
  EXPECT_LE(noticed, 32 + 100);
}

}  // namespace
}  // namespace mha
