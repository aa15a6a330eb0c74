// Several variants of the stages in one kernel: which of them a call gets, and what memory it
// needs.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "tests/runtime/toy_kernel.h"

namespace mha {
namespace {

// Up to 16 queries, and up to 64: the stages of each count their calls.
struct Variants : ToyKernel {
  static constexpr int64_t kShort = 16;
  Variants() {
    for (int v = 0; v < 2; ++v) {
      for (int s = 0; s < 2; ++s) each[v][s] = stages[s];
      variants[v] = {
          v == 0 ? kShort : kToyMaxLength, v == 0 ? "short" : "long", buffers, 1, each[v], 2};
    }
    inner[0] = each[0][kDouble].run;
    each[0][kDouble].run = [](void** argv) { return ++calls[0], inner[0](argv); };
    each[1][kDouble].run = [](void** argv) { return ++calls[1], inner[0](argv); };
    kernel.variant_count = 2;
    calls = {};
  }
  size_t workspace(int64_t queries, int32_t threads = 1) const {
    ToyCall call(*this, 2, queries, 20, threads);
    size_t bytes = 0;
    EXPECT_EQ(mha_workspace_size(&kernel, &call.args, threads, &bytes), MHA_OK);
    return bytes;
  }

  mha_stage each[2][2];
  static std::array<mha_stage_function, 1> inner;
  static std::array<int, 2> calls;
};
std::array<mha_stage_function, 1> Variants::inner;
std::array<int, 2> Variants::calls;

TEST(Variants, ACallGetsTheOneThatItsLengthFallsTo) {
  const TestContext context(1);
  for (int64_t queries : {int64_t{1}, Variants::kShort - 1, Variants::kShort, Variants::kShort + 1,
                          kToyMaxLength - 1, kToyMaxLength}) {
    Variants toy;
    ToyCall call(toy, 2, queries, 20, 1);
    ASSERT_EQ(call.run(context), MHA_OK) << mha_last_message();
    EXPECT_EQ(call.y, call.expected()) << queries;
    const int expected = queries <= Variants::kShort ? 0 : 1;
    EXPECT_GT(Variants::calls[expected], 0) << queries;
    EXPECT_EQ(Variants::calls[1 - expected], 0) << queries;
  }
}

TEST(Variants, TheKernelSaysWhichServesALength) {
  const Variants toy;
  mha_variant_info info;
  ASSERT_EQ(mha_kernel_variant(&toy.kernel, Variants::kShort, &info), MHA_OK);
  EXPECT_EQ(info.index, 0u);
  EXPECT_EQ(info.count, 2u);
  EXPECT_EQ(info.min_query_length, 1);
  EXPECT_EQ(info.max_query_length, Variants::kShort);
  EXPECT_STREQ(info.schedule, "short");
  ASSERT_EQ(mha_kernel_variant(&toy.kernel, Variants::kShort + 1, &info), MHA_OK);
  EXPECT_EQ(info.index, 1u);
  EXPECT_EQ(info.min_query_length, Variants::kShort + 1);
  EXPECT_EQ(info.max_query_length, kToyMaxLength);
  EXPECT_STREQ(info.schedule, "long");
  ASSERT_EQ(mha_kernel_variant(&toy.kernel, 0, &info), MHA_OK);
  EXPECT_EQ(info.index, 1u);
  EXPECT_EQ(mha_kernel_variant(&toy.kernel, kToyMaxLength + 1, &info), MHA_OUT_OF_RANGE);
  EXPECT_EQ(mha_kernel_variant(&toy.kernel, 1, nullptr), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(mha_kernel_variant(nullptr, 1, &info), MHA_INVALID_ARGUMENT);
}

TEST(Variants, EachTakesTheMemoryThatItNeeds) {
  Variants toy;
  toy.each[1][ToyKernel::kAdd].scratch_bytes += 4096;
  EXPECT_EQ(toy.workspace(Variants::kShort) % MHA_WORKSPACE_ALIGNMENT, 0u);
  // 16 and 17 queries round up to 16 and 32 rows of 16 bytes, of two sequences.
  EXPECT_EQ(toy.workspace(Variants::kShort + 1) - toy.workspace(Variants::kShort), 4096u + 512u);

  const TestContext context(1);
  ToyCall call(toy, 2, Variants::kShort + 1, 20, 1);
  call.args.call.workspace_size = toy.workspace(Variants::kShort);
  EXPECT_EQ(call.run(context), MHA_WORKSPACE_TOO_SMALL);
  EXPECT_TRUE(call.nothing_written());
}

TEST(Variants, AWorkspaceForLongCallsDoesForShorterOnes) {
  for (const int32_t threads : {1, 3}) {
    Variants toy;
    toy.each[0][ToyKernel::kAdd].scratch_bytes += 1 << 16;
    size_t before = 0;
    for (int64_t queries = 1; queries <= kToyMaxLength; ++queries) {
      const size_t bytes = toy.workspace(queries, threads);
      EXPECT_GE(bytes, before) << queries;
      before = bytes;
    }
    // What the size says is what the call asks for.
    const TestContext context(threads);
    ToyCall call(toy, 2, kToyMaxLength, 20, threads);
    --call.args.call.workspace_size;
    EXPECT_EQ(call.run(context), MHA_WORKSPACE_TOO_SMALL);
    ++call.args.call.workspace_size;
    EXPECT_EQ(call.run(context), MHA_OK) << mha_last_message();
  }
}

TEST(Variants, TablesThatMakeNoSenseAreRefused) {
  const TestContext context(1);
  Variants toy;
  ToyCall call(toy, 1, kToyMaxLength, 20, 1);
  size_t bytes;
  for (const uint64_t count : {uint64_t{0}, uint64_t{MHA_MAX_VARIANTS} + 1}) {
    toy.kernel.variant_count = count;
    EXPECT_EQ(call.run(context), MHA_INTERNAL);
    EXPECT_NE(std::string(mha_last_message()).find("variants"), std::string::npos);
    EXPECT_EQ(mha_workspace_size(&toy.kernel, &call.args, 1, &bytes), MHA_INTERNAL);
  }
  // The last one does not reach the largest length.
  toy.kernel.variant_count = 2;
  toy.variants[1].max_query_length = kToyMaxLength - 1;
  EXPECT_EQ(call.run(context), MHA_INTERNAL);
  EXPECT_NE(std::string(mha_last_message()).find("query_length 64"), std::string::npos);
  EXPECT_EQ(mha_workspace_size(&toy.kernel, &call.args, 1, &bytes), MHA_INTERNAL);
  mha_variant_info info;
  EXPECT_EQ(mha_kernel_variant(&toy.kernel, 0, &info), MHA_INTERNAL);
  toy.variants[1].buffer_count = MHA_MAX_BUFFERS + 1;
  EXPECT_EQ(mha_kernel_check(&toy.kernel), MHA_INTERNAL);
}

TEST(Variants, KernelsOfTheAbiBeforeAreRefused) {
  const TestContext context(1);
  Variants toy;
  ToyCall call(toy, 1, 4, 20, 1);
  toy.kernel.abi = MHA_KERNEL_ABI - 1;
  EXPECT_EQ(call.run(context), MHA_ABI_MISMATCH);
  EXPECT_NE(std::string(mha_last_message()).find("generate it again"), std::string::npos);
}

}  // namespace
}  // namespace mha
