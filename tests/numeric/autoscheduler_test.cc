// Halide's autoschedulers arrange the textbook's attention: what they make is right, and what they
// cannot make is said.
#include <gtest/gtest.h>

#include <cstdlib>

#include "generator/emit/autoschedule.h"
#include "generator/spec/error.h"
#include "tests/numeric/harness.h"

namespace mha {
namespace {

Generated generated(const std::string& yaml, const std::string& autoscheduler) {
  GenerateOptions options;
  options.targets = {"host"};
  options.autoscheduler = autoscheduler;
  return generate(spec_of(yaml), options);
}

class Autoscheduler : public testing::TestWithParam<std::string> {};

// Searches of adams2019 take several seconds each.
bool all_of_them(const std::string& autoscheduler) {
  return autoscheduler != "adams2019" || std::getenv("MHA_TEST_TUNER_LONG") != nullptr;
}

TEST_P(Autoscheduler, ComputesTheSame) {
  for (const char* more :
       {"query_length: 100, key_length: 77, mask: {causal: true}}", "query_length: 128}",
        "kv_heads: 1, d_value: 40, layout: bhsd, query_length: 64, mask: {key_lengths: true}}"}) {
    const std::string yaml =
        std::string("{version: 1, name: t, op: attention, heads: 2, d_head: 32, batch: 2, ") + more;
    SCOPED_TRACE(yaml);
    const TestKernel kernel(yaml, generated(yaml, GetParam()));
    EXPECT_EQ(kernel.library().info().schedule_origin, GetParam());
    const Spec& spec = kernel.spec();
    const CallLengths lengths{2, spec.query_length.max, spec.key_length.max};
    const HostTensors inputs = random_inputs(spec, lengths, 1);
    const Outputs outputs = run_kernel(kernel, lengths, inputs, {});
    Tally tally;
    EXPECT_EQ(check_against_reference(kernel, lengths, inputs, outputs, false, &tally), "");
    EXPECT_GT(tally.compared, 1000);
    EXPECT_TRUE(same_bits(outputs.at("output"),
                          run_kernel(kernel, lengths, inputs, {.threads = 2}).at("output")));
    if (!all_of_them(GetParam())) break;
  }
}

TEST_P(Autoscheduler, OnlyTheAttentionOfABlock) {
  if (!all_of_them(GetParam())) GTEST_SKIP() << "MHA_TEST_TUNER_LONG=1 runs it";
  const std::string yaml =
      "{version: 1, name: t, op: block, d_model: 64, heads: 2, query_length: 48}";
  const TestKernel kernel(yaml, generated(yaml, GetParam()));
  const CallLengths lengths{1, 48, 48};
  const HostTensors inputs = random_inputs(kernel.spec(), lengths, 1);
  Tally tally;
  EXPECT_EQ(check_against_reference(kernel, lengths, inputs,
                                    run_kernel(kernel, lengths, inputs, {}), false, &tally),
            "");
}

TEST_P(Autoscheduler, GivesTheSameBytes) {
  if (!all_of_them(GetParam())) GTEST_SKIP() << "MHA_TEST_TUNER_LONG=1 runs it";
  const std::string yaml =
      "{version: 1, name: t, op: attention, heads: 2, d_head: 32, query_length: 64}";
  EXPECT_EQ(generated(yaml, GetParam()).files.at("libt.a"),
            generated(yaml, GetParam()).files.at("libt.a"));
}

TEST_P(Autoscheduler, SaysWhatItCannotHave) {
  for (const char* more :
       {"query_length: {min: 1, max: 64}}", "query_length: 64, outputs: [output, lse]}",
        "query_length: 64, packed: true}"}) {
    EXPECT_THROW(
        generated(std::string("{version: 1, name: t, op: attention, heads: 2, d_head: 32, ") + more,
                  GetParam()),
        UserError)
        << more;
  }
}

INSTANTIATE_TEST_SUITE_P(Halide, Autoscheduler, testing::ValuesIn(halide_autoschedulers()),
                         [](const auto& info) { return info.param; });

TEST(Autoschedulers, UnknownNamesAreRefused) {
  EXPECT_THROW(generated("{version: 1, name: t, op: attention, heads: 2, d_head: 32,"
                         " query_length: 64}",
                         "anderson"),
               UserError);
}

}  // namespace
}  // namespace mha
