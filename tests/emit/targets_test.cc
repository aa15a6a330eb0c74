// A library for several targets: what is in it, in which order, and what it says of itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "generator/emit/generate.h"
#include "generator/emit/object.h"
#include "generator/spec/parse.h"
#include "schedules/machine.h"

namespace mha {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Spec spec_of(const std::string& targets) {
  return parse_spec_text(
             "{version: 1, name: several, op: attention, heads: 2, d_head: 16, query_length: 32, "
             "targets: " +
                 targets + "}",
             "several.yaml")
      .spec.value();
}

GenerateOptions explained() {
  GenerateOptions options;
  options.explain_only = true;
  return options;
}

std::vector<std::string> targets_of(const Spec& spec, const GenerateOptions& options) {
  return nlohmann::json::parse(generate(spec, options).manifest).at("targets");
}

TEST(TargetOrder, TheBestFirstAndNoneTwice) {
  EXPECT_THAT(targets_of(spec_of("[x86-64-v3, sapphirerapids, x86-64-v2, zen5, x86-64-v4, zen4]"),
                         explained()),
              ElementsAre("zen5", "sapphirerapids", "zen4", "x86-64-v4", "x86-64-v3", "x86-64-v2"));
  EXPECT_THAT(targets_of(spec_of("[zen4]"), explained()), ElementsAre("zen4"));
  // The options win over the spec; a name that comes twice counts once.
  GenerateOptions options = explained();
  options.targets = {"x86-64-v2", "zen4", "x86-64-v2"};
  EXPECT_THAT(targets_of(spec_of("[zen5]"), options), ElementsAre("zen4", "x86-64-v2"));
}

// The host under its own name and as `host`: one target, with this machine's caches.
TEST(TargetOrder, HostIsItsNamedTarget) {
  const Machine host = host_machine();
  for (const std::string& targets :
       {"[host, " + host.target + "]", "[" + host.target + ", host]"}) {
    const auto manifest = nlohmann::json::parse(generate(spec_of(targets), explained()).manifest);
    EXPECT_EQ(manifest.at("targets"), nlohmann::json({host.target}));
    EXPECT_EQ(manifest.at("machine").at("l2_bytes"), host.l2_bytes);
    EXPECT_EQ(manifest.at("machine").at("l3_bytes"), host.l3_bytes);
    EXPECT_EQ(manifest.count("kernels"), 0u);
  }
}

TEST(SeveralTargets, SayWhatEachGets) {
  const Generated made = generate(spec_of("[x86-64-v2, zen4]"), explained());
  EXPECT_EQ(made.target, "zen4, x86-64-v2");
  const auto manifest = nlohmann::json::parse(made.manifest);
  ASSERT_EQ(manifest.at("kernels").size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    const nlohmann::json& kernel = manifest["kernels"][i];
    EXPECT_EQ(kernel.at("target"), i == 0 ? "zen4" : "x86-64-v2");
    EXPECT_EQ(kernel.at("machine").at("vector_registers"), i == 0 ? 32 : 16);
    EXPECT_EQ(kernel.at("schedule").at("origin"), "default");
    EXPECT_GT(kernel.at("stages").size(), 0u);
    EXPECT_EQ(kernel.at("bound").at("flops_per_cycle"), i == 0 ? 32 : 8);
    EXPECT_GT(kernel.at("footprint").at("workspace_bytes"), 0);
    EXPECT_EQ(kernel.count("tensors"), 0u);
  }
  EXPECT_EQ(manifest.at("schedule"), manifest["kernels"][0]["schedule"]);
  EXPECT_NE(manifest["kernels"][0]["schedule"], manifest["kernels"][1]["schedule"]);
  EXPECT_THAT(made.explanation, HasSubstr("one library for 2 targets"));
  EXPECT_THAT(made.explanation, HasSubstr("op attention for zen4 (16 f32 lanes, 32 vector"));
  EXPECT_THAT(made.explanation, HasSubstr("op attention for x86-64-v2 (4 f32 lanes, 16 vector"));
  EXPECT_THAT(made.explanation, HasSubstr("FLOPs a cycle)"));
}

TEST(SeveralTargets, MakeOneArchiveWithTheSameBytes) {
  GenerateOptions options;
  options.emit = {"asm"};
  const Spec spec = spec_of("[x86-64-v2, x86-64-v3, zen4]");
  const Generated made = generate(spec, options), again = generate(spec, options);
  EXPECT_TRUE(made.files == again.files);
  for (const char* name : {"libseveral.a", "several.h", "several-config.cmake", "several.pc",
                           "manifest.json", "several_attention_x86_64_v2.s",
                           "several_attention_x86_64_v3.s", "several_attention_zen4.s"}) {
    EXPECT_EQ(made.files.count(name), 1u) << name;
  }
  EXPECT_EQ(nlohmann::json::parse(made.manifest).at("footprint").at("archive_bytes"),
            made.files.at("libseveral.a").size());
  // Each keeps to its registers.
  EXPECT_EQ(made.files.at("several_attention_x86_64_v2.s").find("ymm"), std::string::npos);
  EXPECT_EQ(made.files.at("several_attention_x86_64_v3.s").find("zmm"), std::string::npos);
  EXPECT_THAT(made.files.at("several_attention_zen4.s"), HasSubstr("zmm"));
  EXPECT_THAT(made.files.at("several.h"), HasSubstr("for zen4, x86-64-v3, x86-64-v2."));
}

TEST(SeveralTargets, OneThatCannotBeIsAnErrorForAll) {
  GenerateOptions options = explained();
  options.targets = {"zen4", "zen9"};
  EXPECT_THROW(generate(spec_of("[zen4]"), options), UserError);
}

TEST(SeveralTargets, TheTunerGetsTheBestThatRunsHere) {
  const Machine host = host_machine();
  EXPECT_EQ(resolve(spec_of("[x86-64-v2, host]"), {}).target, "host");
  EXPECT_EQ(resolve(spec_of("[x86-64-v2, host]"), {}).machine.target, host.target);
  GenerateOptions options;
  options.targets = {"x86-64-v2", "sapphirerapids", "zen5"};
  const std::string best = resolve(spec_of("[host]"), options).target;
  const bool only_v2 = host.target != "zen5" && host.target != "sapphirerapids";
  EXPECT_EQ(best, only_v2 ? "x86-64-v2" : host.target);
}

}  // namespace
}  // namespace mha
