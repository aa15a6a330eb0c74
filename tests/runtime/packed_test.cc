// Packed batches and repeated axes: what mha_run() takes and what it refuses, on a toy kernel whose
// tensors are made into those of a packed one.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/runtime/toy_kernel.h"

namespace mha {
namespace {

class Packed : public testing::Test {
 protected:
  Packed() {
    toy.tensors[ToyKernel::kQueryOffset].check = MHA_CHECK_STARTS;
    toy.tensors[ToyKernel::kQueryOffset].axes[0] = {1, MHA_SYMBOL_STARTS, 1, 1, 0};
    for (int tensor : {ToyKernel::kX, ToyKernel::kY}) {
      toy.tensors[tensor].axes[0] = {1, MHA_SYMBOL_ONE, 1, 1, 0};
      toy.tensors[tensor].axes[1] = {1, MHA_SYMBOL_ROWS, 1, 1, 0};
    }
    toy.kernel.offset_kind = MHA_OFFSET_END;
    toy.kernel.query_offset_tensor = -1;
    toy.kernel.sequence_starts_tensor = ToyKernel::kQueryOffset;
    toy.kernel.self_length = 1;
    // What a task of the stage "add" learns of its sequence.
    toy.operands[ToyKernel::kAdd] = {scalar(MHA_SYMBOL_TASK0),
                                     scalar(MHA_SYMBOL_TASK1),
                                     scalar(MHA_SYMBOL_SEQUENCE_FIRST_ROW),
                                     scalar(MHA_SYMBOL_SEQUENCE_QUERIES),
                                     scalar(MHA_SYMBOL_SEQUENCE_KEYS),
                                     scalar(MHA_SYMBOL_SEQUENCE_OFFSET),
                                     scalar(MHA_SYMBOL_SEQUENCE_FIRST_KEY),
                                     scalar(MHA_SYMBOL_ROWS)};
    toy.stages[ToyKernel::kAdd].operands = toy.operands[ToyKernel::kAdd].data();
    toy.stages[ToyKernel::kAdd].operand_count = toy.operands[ToyKernel::kAdd].size();
    toy.stages[ToyKernel::kAdd].run = record;
    toy.variants[0].stages = &toy.stages[ToyKernel::kAdd];
    toy.variants[0].stage_count = 1;
    seen.clear();
  }

  static mha_operand scalar(uint32_t symbol) { return {MHA_OPERAND_SCALAR, symbol, 0, {}}; }
  static int record(void** argv) {
    std::vector<int32_t> task;
    for (int i = 1; i <= 8; ++i) task.push_back(*static_cast<int32_t*>(argv[i]));
    seen.push_back(task);
    return 0;
  }

  mha_status run(std::vector<int32_t> starts, std::vector<int32_t> key_lengths, int64_t longest) {
    ToyCall call(toy, static_cast<int64_t>(starts.size()) - 1, longest, longest, 1);
    call.query_offset = std::move(starts);
    call.key_lengths = std::move(key_lengths);
    call.args.query_offset.data = call.query_offset.data();
    call.args.key_lengths.data = call.key_lengths.data();
    return call.run(one);
  }

  void expect_refused(const std::vector<int32_t>& starts, const std::vector<int32_t>& key_lengths,
                      mha_status status, const char* words) {
    EXPECT_EQ(run(starts, key_lengths, 4), status) << words;
    EXPECT_NE(std::strstr(mha_last_message(), words), nullptr) << mha_last_message();
    EXPECT_TRUE(seen.empty());
  }

  ToyKernel toy;
  TestContext one{1};
  static std::vector<std::vector<int32_t>> seen;
};
std::vector<std::vector<int32_t>> Packed::seen;

// Tasks of two rows, the last block of a sequence first. Blocks that a sequence does not have are
// left out; a sequence without rows has none.
TEST_F(Packed, TasksOfEachSequence) {
  ASSERT_EQ(run({0, 3, 3, 4}, {2, 0, 1}, 4), MHA_OK) << mha_last_message();
  const std::vector<std::vector<int32_t>> want = {
      {1, 0, 0, 3, 2, -1, 0, 4}, {0, 0, 0, 3, 2, -1, 0, 4}, {0, 2, 3, 1, 1, 0, 0, 4}};
  EXPECT_EQ(seen, want);
}

TEST_F(Packed, StartsAreChecked) {
  expect_refused({1, 3}, {1}, MHA_OUT_OF_RANGE, "sequence_starts[0] is 1; it must be 0");
  expect_refused({0, 3, 2}, {1, 1}, MHA_OUT_OF_RANGE, "sequence 1 has -1 rows");
  expect_refused({0, 5}, {1}, MHA_OUT_OF_RANGE, "sequence 0 has 5 rows");
  expect_refused({0, 0}, {0}, MHA_OUT_OF_RANGE, "at least one row");
  expect_refused({0, INT32_MAX, INT32_MIN}, {0, 0}, MHA_OUT_OF_RANGE, "sequence 0 has 2147483647");
}

TEST_F(Packed, KeyLengthsEndWithTheirSequence) {
  expect_refused({0, 3, 4}, {3, 2}, MHA_OUT_OF_RANGE, "key_lengths[1] is 2; it may be 0 to 1");
}

TEST_F(Packed, StartsMustBeThere) {
  ToyCall call(toy, 2, 4, 4, 1);
  call.args.query_offset.data = nullptr;
  EXPECT_EQ(call.run(one), MHA_INVALID_ARGUMENT);
  EXPECT_NE(std::strstr(mha_last_message(), "sequence_starts"), nullptr) << mha_last_message();
  call.args.query_offset.data = reinterpret_cast<char*>(call.query_offset.data()) + 1;
  EXPECT_EQ(call.run(one), MHA_MISALIGNED);
  // What another machine's pointer points to is not read.
  call.args.query_offset.data = reinterpret_cast<void*>(uintptr_t{64});
  call.args.query_offset.memory = 1;
  EXPECT_EQ(call.run(one), MHA_INVALID_ARGUMENT);
  EXPECT_NE(std::strstr(mha_last_message(), "MHA_MEMORY_HOST"), nullptr) << mha_last_message();
}

// Without the starts a workspace is sized for sequences of the full length.
TEST_F(Packed, WorkspaceFollowsTheRows) {
  toy.buffers[0].extents[1] = {1, MHA_SYMBOL_ROWS, 1, 1, 0};
  toy.buffers[0].extents[2] = {1, MHA_SYMBOL_ONE, 1, 1, 0};
  std::vector<int32_t> starts = {0, 64, 65, 65};
  ToyArgs args = {};
  args.call.size = sizeof args;
  args.call.batch = 3;
  args.call.query_length = 64;
  size_t without = 0, with = 0;
  ASSERT_EQ(mha_workspace_size(&toy.kernel, &args, 1, &without), MHA_OK) << mha_last_message();
  args.query_offset.data = starts.data();
  ASSERT_EQ(mha_workspace_size(&toy.kernel, &args, 1, &with), MHA_OK) << mha_last_message();
  EXPECT_EQ(without - with, (3 * 64 - 65) * kToyWidth * sizeof(float) / 64 * 64);
}

// An axis of x that is one element: allowed where the kernel says so, with strides, and x is then
// read no further.
TEST(Repeated, WhereTheKernelAllowsIt) {
  ToyKernel toy;
  const TestContext one{1};
  ToyCall call(toy, 2, 5, 8, 1);
  call.args.x.flags = MHA_STRIDED | MHA_REPEATED;
  call.args.x.strides[0] = 5;
  call.args.x.strides[1] = 1;
  EXPECT_EQ(call.run(one), MHA_INVALID_ARGUMENT);
  EXPECT_NE(std::strstr(mha_last_message(), "flags 0x3"), nullptr) << mha_last_message();

  toy.tensors[ToyKernel::kX].flags = MHA_TENSOR_MAY_REPEAT;
  call.args.x.flags = MHA_REPEATED;
  EXPECT_EQ(call.run(one), MHA_INVALID_ARGUMENT);
  EXPECT_NE(std::strstr(mha_last_message(), "MHA_REPEATED needs MHA_STRIDED"), nullptr);

  // Ten elements are all there is: y may begin right behind them.
  call.args.x.flags = MHA_STRIDED | MHA_REPEATED;
  std::vector<float> shared(10 + call.y.size());
  call.args.x.data = shared.data();
  call.args.y.data = shared.data() + 10;
  EXPECT_EQ(call.run(one), MHA_OK) << mha_last_message();
  call.args.y.data = shared.data() + 9;
  EXPECT_EQ(call.run(one), MHA_OVERLAP);
}

}  // namespace
}  // namespace mha
