// Spills in tile loops, in text by hand and in what is really generated.
#include "schedules/tuner/spills.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "generator/emit/generate.h"
#include "generator/spec/parse.h"

namespace mha {
namespace {

// A loop of so many lines of each kind.
std::string loop_of(int products, int spills, int others) {
  std::string text =
      ".LBB0_1:                                # =>This Inner Loop Header: Depth=1\n";
  for (int i = 0; i < products; ++i)
    text += "\tvfmadd231ps\t%zmm1, %zmm2, %zmm3 # zmm3 = (zmm2 * zmm1) + zmm3\n";
  for (int i = 0; i < spills; ++i)
    text += "\tvmovups\t64(%rsp), %zmm4                # 64-byte Reload\n";
  for (int i = 0; i < others; ++i) text += "\taddq\t$64, %rax\n";
  return text + "\tjne\t.LBB0_1\n";
}

TEST(Spills, ATileLoopThatSpillsIsFound) {
  const auto loops = spilling_loops("\txorl\t%eax, %eax\n" + loop_of(16, 4, 4) + "\tretq\n");
  ASSERT_EQ(loops.size(), 1u);
  EXPECT_EQ(spill_text(loops[0]),
            "its loop at lines 2-27 spills 4 vector registers for 16 multiply-adds");
}

TEST(Spills, OthersAreNot) {
  EXPECT_TRUE(spilling_loops("").empty());
  EXPECT_TRUE(spilling_loops(loop_of(16, 0, 4)).empty());
  EXPECT_TRUE(spilling_loops(loop_of(16, 1, 4)).empty());   // a stray one
  EXPECT_TRUE(spilling_loops(loop_of(16, 4, 40)).empty());  // no tile loop
  EXPECT_TRUE(spilling_loops(loop_of(0, 4, 4)).empty());
  // Of an outer loop only what is inside counts.
  EXPECT_TRUE(spilling_loops(".LBB0_0:\n\tvmovups\t%zmm1, (%rsp) # 64-byte Spill\n" +
                             loop_of(16, 0, 4) +
                             "\tvmovups\t(%rsp), %zmm1 # 64-byte Reload\n\tjne\t.LBB0_0\n")
                  .empty());
  // General registers, and jumps forward.
  EXPECT_TRUE(spilling_loops(".LBB0_1:\n\tvfmadd231ps\t%zmm1, %zmm2, %zmm3\n"
                             "\tmovq\t8(%rsp), %rax # 8-byte Reload\n\tjne\t.LBB0_1\n")
                  .empty());
  EXPECT_TRUE(spilling_loops("\tjne\t.LBB0_2\n\tvfmadd231ps\t%zmm1, %zmm2, %zmm3\n"
                             "\tvmovups\t(%rsp), %zmm1 # 64-byte Reload\n.LBB0_2:\n\tretq\n")
                  .empty());
}

TEST(Spills, DefaultsDoNot) {
  const bool all = std::getenv("MHA_TEST_TUNER_LONG") != nullptr;
  const std::vector<std::string> configs = all ? std::vector<std::string>{"transformer_base",
                                                                          "llama3_8b",
                                                                          "bhsd_attention",
                                                                          "odd_sizes",
                                                                          "gpt2",
                                                                          "minilm_l6",
                                                                          "bert_base",
                                                                          "runtime_lengths",
                                                                          "tiny_gqa",
                                                                          "causal_end"}
                                               : std::vector<std::string>{"transformer_base"};
  const std::vector<std::string> targets =
      all ? std::vector<std::string>{"x86-64-v3", "x86-64-v4", "zen4", "zen5", "sapphirerapids"}
          : std::vector<std::string>{"x86-64-v3", "zen4"};
  for (const std::string& config : configs) {
    const ParseResult parsed =
        parse_spec_file(std::string(MHA_SOURCE_DIR) + "/configs/" + config + ".yaml");
    ASSERT_TRUE(parsed.spec) << config;
    for (const std::string& target : targets) {
      GenerateOptions options;
      options.targets = {target};
      options.emit = {"asm"};
      int texts = 0;
      for (const auto& [name, text] : generate(*parsed.spec, options).files) {
        if (!name.ends_with(".s")) continue;
        ++texts;
        EXPECT_NE(text.find("fmadd"), std::string::npos) << name;
        EXPECT_NE(text.find("Spill"), std::string::npos) << name << ": the comments are missing";
        for (const SpillingLoop& loop : spilling_loops(text)) {
          ADD_FAILURE() << config << " for " << target << ", " << name << ": " << spill_text(loop);
        }
      }
      EXPECT_GT(texts, 0);
    }
  }
}

}  // namespace
}  // namespace mha
