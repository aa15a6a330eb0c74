// Calls: what they compute, and every status with nothing written.
#include <HalideRuntime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "tests/runtime/toy_kernel.h"

namespace mha {
namespace {

// The call fails with this status and a message that has these words; nothing was written.
void expect_refused(ToyCall& call, mha_context* context, mha_status status,
                    const std::vector<const char*>& words) {
  EXPECT_EQ(call.run(context), status) << mha_last_message();
  for (const char* word : words)
    EXPECT_NE(strstr(mha_last_message(), word), nullptr) << mha_last_message();
  EXPECT_TRUE(call.nothing_written());
}

class Call : public testing::Test {
 protected:
  ToyKernel toy;
  TestContext one{1};
};

TEST_F(Call, ComputesAtManyLengths) {
  for (const int64_t batch : {1, 2, 3}) {
    for (const int64_t queries : {1, 2, 7, 17, 64}) {
      ToyCall call(toy, batch, queries, 33, 1);
      ASSERT_EQ(call.run(one), MHA_OK) << mha_last_message();
      EXPECT_EQ(call.y, call.expected()) << "batch " << batch << ", queries " << queries;
    }
  }
}

TEST_F(Call, LengthZeroIsTheMaximum) {
  ToyCall call(toy, kToyMaxBatch, kToyMaxLength, kToyMaxLength, 1);
  call.args.call.batch = call.args.call.query_length = call.args.call.key_length = 0;
  ASSERT_EQ(call.run(one), MHA_OK) << mha_last_message();
  EXPECT_EQ(call.y, call.expected());
}

TEST_F(Call, OffsetsFollowTheKind) {
  for (const uint32_t kind : {MHA_OFFSET_START, MHA_OFFSET_END, MHA_OFFSET_INPUT}) {
    for (const int32_t lengths : {-1, static_cast<int32_t>(ToyKernel::kKeyLengths)}) {
      toy.kernel.offset_kind = kind;
      toy.kernel.key_lengths_tensor = lengths;
      ToyCall call(toy, 3, 9, 20, 1);
      ASSERT_EQ(call.run(one), MHA_OK) << mha_last_message();
      EXPECT_EQ(call.y, call.expected()) << "kind " << kind << ", key lengths " << lengths;
    }
  }
}

TEST_F(Call, StridedTensors) {
  ToyCall call(toy, 2, 5, 8, 1);
  const int64_t strides[2] = {100, 7};
  std::vector<float> x(300, 1e9f), y(300, -7.0f);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t i = 0; i < 5; ++i) {
      memcpy(&x[b * 100 + i * 7], &call.x[(b * 5 + i) * kToyWidth], kToyWidth * sizeof(float));
    }
  }
  call.args.x = {x.data(), {strides[0], strides[1]}, MHA_STRIDED, 0};
  call.args.y = {y.data(), {strides[0], strides[1]}, MHA_STRIDED, 0};
  ASSERT_EQ(call.run(one), MHA_OK) << mha_last_message();
  const std::vector<float> expected = call.expected();
  std::vector<float> all(300, -7.0f);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t i = 0; i < 5; ++i) {
      memcpy(&all[b * 100 + i * 7], &expected[(b * 5 + i) * kToyWidth], kToyWidth * sizeof(float));
    }
  }
  EXPECT_EQ(y, all) << "values, or something between the rows was written";
}

TEST_F(Call, StridesWithoutTheFlagAreNotRead) {
  ToyCall call(toy, 2, 5, 8, 1);
  call.args.x.strides[0] = call.args.y.strides[0] = -12345;
  ASSERT_EQ(call.run(one), MHA_OK) << mha_last_message();
  EXPECT_EQ(call.y, call.expected());
}

TEST_F(Call, InputMayRepeatByStrideZero) {
  ToyCall call(toy, 3, 4, 8, 1);
  call.args.x.flags = MHA_STRIDED;
  call.args.x.strides[0] = 0;
  call.args.x.strides[1] = kToyWidth;
  ASSERT_EQ(call.run(one), MHA_OK) << mha_last_message();
  for (size_t b = 1; b < 3; ++b) std::copy_n(call.x.begin(), 16, call.x.begin() + 16 * b);
  EXPECT_EQ(call.y, call.expected());
}

// As a mask does that is one for all heads: its indices may be many, its elements are few.
TEST_F(Call, WhatRepeatsMayHaveAnyNumberOfIndices) {
  toy.tensors[ToyKernel::kX].axes[0].scale = int64_t{1} << 27;
  ToyCall call(toy, 3, 5, 8, 1);
  EXPECT_EQ(call.run(one), MHA_OUT_OF_RANGE);
  call.args.x.flags = MHA_STRIDED;
  call.args.x.strides[0] = 0;
  call.args.x.strides[1] = kToyWidth;
  ASSERT_EQ(call.run(one), MHA_OK) << mha_last_message();
  for (size_t b = 1; b < 3; ++b) std::copy_n(call.x.begin(), 20, call.x.begin() + 20 * b);
  EXPECT_EQ(call.y, call.expected());
}

TEST_F(Call, AnyStrideIsRightOnAnAxisOfOne) {
  ToyCall call(toy, 1, 4, 8, 1);
  call.args.y.flags = MHA_STRIDED;
  call.args.y.strides[0] = -99;
  call.args.y.strides[1] = kToyWidth;
  ASSERT_EQ(call.run(one), MHA_OK) << mha_last_message();
  EXPECT_EQ(call.y, call.expected());
}

TEST_F(Call, TouchesNothingBeyondItsTensorsAndWorkspace) {
  for (const bool at_end : {false, true}) {
    for (const int32_t threads : {1, 3}) {
      ToyCall call(toy, 3, 17, 8, threads);
      const size_t bytes = call.x.size() * sizeof(float);
      GuardedMemory x(bytes, at_end), y(bytes, at_end), workspace(call.workspace_bytes, at_end);
      memcpy(x.data(), call.x.data(), bytes);
      call.args.x.data = x.data();
      call.args.y.data = y.data();
      // Workspace sizes are multiples of the alignment, so that both ends can lie against a page.
      ASSERT_EQ(call.workspace_bytes % MHA_WORKSPACE_ALIGNMENT, 0u);
      call.args.call.workspace = workspace.data();
      TestContext context(threads);
      ASSERT_EQ(call.run(context), MHA_OK) << mha_last_message();
      memcpy(call.y.data(), y.data(), bytes);
      EXPECT_EQ(call.y, call.expected());
    }
  }
}

TEST_F(Call, NullArguments) {
  ToyCall call(toy, 2, 5, 8, 1);
  EXPECT_EQ(mha_run(nullptr, one, &call.args), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(mha_run(&toy.kernel, nullptr, &call.args), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(mha_run(&toy.kernel, one, nullptr), MHA_INVALID_ARGUMENT);
  size_t bytes;
  EXPECT_EQ(mha_workspace_size(&toy.kernel, nullptr, 1, &bytes), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(mha_workspace_size(&toy.kernel, &call.args, 1, nullptr), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(mha_workspace_size(nullptr, &call.args, 1, &bytes), MHA_INVALID_ARGUMENT);
  EXPECT_TRUE(call.nothing_written());
}

TEST_F(Call, SizeOfArgs) {
  ToyCall call(toy, 2, 5, 8, 1);
  call.args.call.size = 0;
  expect_refused(call, one, MHA_INVALID_ARGUMENT, {"sizeof(toy_args)"});
  call.args.call.size = sizeof call.args + 8;
  expect_refused(call, one, MHA_INVALID_ARGUMENT, {"sizeof(toy_args)"});
}

TEST_F(Call, Lengths) {
  struct {
    int64_t mha_call::* field;
    int64_t value;
    const char* word;
  } const cases[] = {
      {&mha_call::batch, 4, "batch is 4"},
      {&mha_call::batch, -1, "batch is -1"},
      {&mha_call::query_length, 65, "1 to 64"},
      {&mha_call::query_length, std::numeric_limits<int64_t>::min(), "query_length"},
      {&mha_call::key_length, std::numeric_limits<int64_t>::max(), "key_length"},
  };
  for (const auto& c : cases) {
    ToyCall call(toy, 2, 5, 8, 1);
    call.args.call.*c.field = c.value;
    expect_refused(call, one, MHA_OUT_OF_RANGE, {c.word, "toy"});
    size_t bytes = 1;
    EXPECT_EQ(mha_workspace_size(&toy.kernel, &call.args, 1, &bytes), MHA_OUT_OF_RANGE);
    EXPECT_EQ(bytes, 0u);
  }
}

TEST_F(Call, SelfLengthHasOneLength) {
  toy.kernel.self_length = 1;
  ToyCall good(toy, 2, 5, 5, 1);
  good.args.call.key_length = 0;
  EXPECT_EQ(good.run(one), MHA_OK) << mha_last_message();
  EXPECT_EQ(good.y, good.expected());
  ToyCall bad(toy, 2, 5, 8, 1);
  expect_refused(bad, one, MHA_OUT_OF_RANGE, {"key_length is 8", "query_length 5"});
}

TEST_F(Call, MissingTensors) {
  for (mha_tensor ToyArgs::* field :
       {&ToyArgs::x, &ToyArgs::key_lengths, &ToyArgs::query_offset, &ToyArgs::y}) {
    ToyCall call(toy, 2, 5, 8, 1);
    (call.args.*field).data = nullptr;
    expect_refused(call, one, MHA_INVALID_ARGUMENT, {"not given"});
  }
}

TEST_F(Call, UnknownFlagsAndMemory) {
  ToyCall call(toy, 2, 5, 8, 1);
  call.args.x.flags = 0x80;
  expect_refused(call, one, MHA_INVALID_ARGUMENT, {"'x'", "0x80"});
  call.args.x.flags = 0;
  call.args.y.memory = 3;
  expect_refused(call, one, MHA_INVALID_ARGUMENT, {"'y'", "memory 3"});
}

TEST_F(Call, Alignment) {
  ToyCall call(toy, 2, 5, 8, 1);
  call.args.x.data = reinterpret_cast<uint8_t*>(call.x.data()) + 2;
  expect_refused(call, one, MHA_MISALIGNED, {"'x'"});
  // One element on is fine: no vector alignment is asked for.
  std::vector<float> more(call.x.size() + 1);
  std::copy(call.x.begin(), call.x.end(), more.begin() + 1);
  call.args.x.data = more.data() + 1;
  EXPECT_EQ(call.run(one), MHA_OK) << mha_last_message();
}

TEST_F(Call, Workspace) {
  ToyCall call(toy, 2, 5, 8, 1);
  call.args.call.workspace = nullptr;
  expect_refused(call, one, MHA_INVALID_ARGUMENT, {"workspace is NULL"});
  call.args.call.workspace = call.workspace + 32;
  expect_refused(call, one, MHA_MISALIGNED, {"workspace"});
  call.args.call.workspace = call.workspace;
  call.args.call.workspace_size = call.workspace_bytes - 1;
  expect_refused(call, one, MHA_WORKSPACE_TOO_SMALL,
                 {"toy", std::to_string(call.workspace_bytes).c_str()});
  // What is enough for one thread is too little for two.
  call.args.call.workspace_size = call.workspace_bytes;
  TestContext two(2);
  expect_refused(call, two, MHA_WORKSPACE_TOO_SMALL, {"2 threads"});
}

TEST_F(Call, WorkspaceSizeOfThreads) {
  ToyCall call(toy, 2, 5, 8, 1);
  size_t one_thread, two_threads;
  ASSERT_EQ(mha_workspace_size(&toy.kernel, &call.args, 1, &one_thread), MHA_OK);
  ASSERT_EQ(mha_workspace_size(&toy.kernel, &call.args, 2, &two_threads), MHA_OK);
  EXPECT_GE(two_threads - one_thread, toy.stages[ToyKernel::kAdd].scratch_bytes);
  size_t bytes;
  for (const int32_t threads : {0, -1, 1025, std::numeric_limits<int32_t>::max()}) {
    EXPECT_EQ(mha_workspace_size(&toy.kernel, &call.args, threads, &bytes), MHA_OUT_OF_RANGE)
        << threads;
  }
}

TEST_F(Call, WorkspaceSizeDoesNotOverflow) {
  ToyCall call(toy, 2, 5, 8, 1);
  size_t bytes;
  toy.buffers[0].extents[0].scale = std::numeric_limits<int64_t>::max() / 2;
  EXPECT_EQ(mha_workspace_size(&toy.kernel, &call.args, 1, &bytes), MHA_OUT_OF_RANGE);
  toy.buffers[0].extents[0].scale = int64_t{1} << 31;
  EXPECT_EQ(mha_workspace_size(&toy.kernel, &call.args, 1, &bytes), MHA_OUT_OF_RANGE);
  EXPECT_NE(strstr(mha_last_message(), "2^31"), nullptr);
  toy.buffers[0].extents[0].scale = 4;
  toy.stages[0].scratch_bytes = std::numeric_limits<uint64_t>::max() - 10;
  EXPECT_EQ(mha_workspace_size(&toy.kernel, &call.args, 1, &bytes), MHA_OUT_OF_RANGE);
  toy.stages[0].scratch_bytes = uint64_t{1} << 60;
  EXPECT_EQ(mha_workspace_size(&toy.kernel, &call.args, 1000, &bytes), MHA_OUT_OF_RANGE);
}

TEST_F(Call, Strides) {
  ToyCall call(toy, 3, 5, 8, 1);
  call.args.x.flags = MHA_STRIDED;
  call.args.x.strides[0] = -20;
  call.args.x.strides[1] = 4;
  expect_refused(call, one, MHA_INVALID_ARGUMENT, {"'x'", "axis 0", "batch", "-20"});
  call.args.x.strides[0] = int64_t{1} << 30;
  expect_refused(call, one, MHA_OUT_OF_RANGE, {"'x'", "2^31"});
  call.args.x.strides[0] = std::numeric_limits<int64_t>::max();
  expect_refused(call, one, MHA_OUT_OF_RANGE, {"'x'", "2^31"});
}

TEST_F(Call, OutputThatOverlapsItself) {
  ToyCall call(toy, 3, 5, 8, 1);
  call.args.y.flags = MHA_STRIDED;
  const int64_t bad[][2] = {{0, 4}, {20, 3}, {19, 4}, {4, 4}, {2, 20}};
  for (const auto& strides : bad) {
    call.args.y.strides[0] = strides[0];
    call.args.y.strides[1] = strides[1];
    expect_refused(call, one, MHA_OVERLAP, {"'y'"});
  }
  // Axes in another order are fine.
  call.args.y.strides[0] = 4;
  call.args.y.strides[1] = 12;
  EXPECT_EQ(call.run(one), MHA_OK) << mha_last_message();
}

TEST_F(Call, Overlaps) {
  ToyCall call(toy, 2, 5, 8, 1);
  call.args.y.data = call.x.data();
  EXPECT_EQ(call.run(one), MHA_OVERLAP);
  EXPECT_NE(strstr(mha_last_message(), "'y'"), nullptr) << mha_last_message();
  EXPECT_NE(strstr(mha_last_message(), "'x'"), nullptr) << mha_last_message();
  // The last element of x is the first of y.
  std::vector<float> both(call.x.size() * 2, -7.0f);
  call.args.x.data = both.data();
  call.args.y.data = both.data() + call.x.size() - 1;
  EXPECT_EQ(call.run(one), MHA_OVERLAP);
  EXPECT_EQ(both, std::vector<float>(both.size(), -7.0f));
  // Side by side is fine.
  std::copy(call.x.begin(), call.x.end(), both.begin());
  call.args.y.data = both.data() + call.x.size();
  EXPECT_EQ(call.run(one), MHA_OK) << mha_last_message();
}

TEST_F(Call, WorkspaceAndArgsMayNotOverlapEither) {
  ToyCall call(toy, 2, 5, 8, 1);
  call.args.x.data = call.workspace + call.workspace_bytes - 4;
  expect_refused(call, one, MHA_OVERLAP, {"'workspace'", "'x'"});
  call.args.x.data = call.x.data();
  call.args.y.data = call.workspace;
  expect_refused(call, one, MHA_OVERLAP, {"'workspace'", "'y'"});
  call.args.y.data = &call.args.call.batch;
  expect_refused(call, one, MHA_OVERLAP, {"'args'", "'y'"});
}

TEST_F(Call, IndexValues) {
  for (const int32_t value : {-1, 9, std::numeric_limits<int32_t>::min()}) {
    ToyCall call(toy, 3, 5, 8, 1);
    call.key_lengths[2] = value;
    expect_refused(call, one, MHA_OUT_OF_RANGE,
                   {"key_lengths[2]", std::to_string(value).c_str(), "0 to 8"});
  }
  for (const int32_t value : {(1 << 30) + 1, -(1 << 30) - 1, std::numeric_limits<int32_t>::min()}) {
    ToyCall call(toy, 3, 5, 8, 1);
    call.query_offset[1] = value;
    expect_refused(call, one, MHA_OUT_OF_RANGE, {"query_offset[1]", std::to_string(value).c_str()});
  }
  ToyCall edges(toy, 2, 5, 8, 1);
  edges.key_lengths = {0, 8};
  edges.query_offset = {1 << 30, -(1 << 30)};
  EXPECT_EQ(edges.run(one), MHA_OK) << mha_last_message();
}

TEST_F(Call, WeightsWhereThereAreNone) {
  ToyCall call(toy, 2, 5, 8, 1);
  call.args.call.weights = reinterpret_cast<const mha_weights*>(&call);
  expect_refused(call, one, MHA_INVALID_ARGUMENT, {"no weights"});
}

TEST_F(Call, AbiAndCpu) {
  ToyCall call(toy, 2, 5, 8, 1);
  toy.kernel.abi = MHA_KERNEL_ABI + 1;
  expect_refused(call, one, MHA_ABI_MISMATCH, {"ABI"});
  size_t bytes;
  EXPECT_EQ(mha_workspace_size(&toy.kernel, &call.args, 1, &bytes), MHA_ABI_MISMATCH);
  toy.kernel.abi = MHA_KERNEL_ABI;
  toy.kernel.struct_size -= 8;
  expect_refused(call, one, MHA_ABI_MISMATCH, {"ABI"});
  toy.kernel.struct_size += 8;
  toy.kernel.cpu_features = uint64_t{1} << 40;
  expect_refused(call, one, MHA_UNSUPPORTED_CPU, {"0x10000000000"});
  EXPECT_EQ(mha_kernel_check(&toy.kernel), MHA_UNSUPPORTED_CPU);
  // How much a call needs can be asked on any machine.
  EXPECT_EQ(mha_workspace_size(&toy.kernel, &call.args, 1, &bytes), MHA_OK);
  toy.kernel.cpu_features = mha_cpu_features();
  EXPECT_EQ(call.run(one), MHA_OK) << mha_last_message();
}

TEST_F(Call, BuffersAreDenseWithRoundedExtents) {
  ToyKernel::on_task = [](void** argv) {
    const halide_buffer_t* buffer = static_cast<halide_buffer_t*>(argv[1]);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->host) % 64, 0u);
    EXPECT_EQ(buffer->dimensions, 3);
    EXPECT_TRUE(buffer->type == halide_type_t(halide_type_float, 32));
    const int32_t extents[3] = {kToyWidth, 32, 2};
    int32_t stride = 1;
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(buffer->dim[i].min, 0);
      EXPECT_EQ(buffer->dim[i].extent, extents[i]);
      EXPECT_EQ(buffer->dim[i].stride, stride);
      stride *= extents[i];
    }
    return 0;
  };
  ToyCall call(toy, 2, 18, 8, 1);
  EXPECT_EQ(call.run(one), MHA_OK) << mha_last_message();
}

TEST_F(Call, FailingStage) {
  ToyKernel::on_task = [](void**) { return -22; };
  ToyCall call(toy, 2, 5, 8, 1);
  EXPECT_EQ(call.run(one), MHA_INTERNAL);
  for (const char* word : {"'add'", "'toy'", "-22", "report"}) {
    EXPECT_NE(strstr(mha_last_message(), word), nullptr) << mha_last_message();
  }
}

TEST_F(Call, ErrorsOfHalideReachTheMessage) {
  ToyKernel::on_task = [](void** argv) {
    mha_halide_error(*static_cast<void**>(argv[0]), "something is odd");
    return 0;
  };
  ToyCall call(toy, 2, 5, 8, 1);
  EXPECT_EQ(call.run(one), MHA_INTERNAL);
  EXPECT_NE(strstr(mha_last_message(), "something is odd"), nullptr) << mha_last_message();
}

TEST_F(Call, ScratchTooSmallIsAStatus) {
  toy.stages[ToyKernel::kAdd].scratch_bytes -= 64;
  ToyCall call(toy, 2, 5, 8, 1);
  EXPECT_EQ(call.run(one), MHA_INTERNAL);
  EXPECT_NE(strstr(mha_last_message(), "scratch"), nullptr) << mha_last_message();
}

TEST_F(Call, TablesThatMakeNoSense) {
  const auto expect_internal = [&](const char* what) {
    ToyCall call(toy, 3, 5, 8, 1);
    EXPECT_EQ(call.run(one), MHA_INTERNAL) << what;
    EXPECT_NE(strstr(mha_last_message(), "report"), nullptr) << what;
  };
  mha_operand& first = toy.operands[0][0];
  first.index = 4;
  expect_internal("a tensor that is not there");
  first = {MHA_OPERAND_PACK, 0, 0, {}};
  expect_internal("a pack that is not there");
  first = {MHA_OPERAND_BUFFER, 1, 0, {}};
  expect_internal("a buffer that is not there");
  first = {MHA_OPERAND_SCALAR, MHA_SYMBOL_COUNT, 0, {}};
  expect_internal("a symbol that is not there");
  first = {MHA_OPERAND_TENSOR, 0, 3, {3, 1, 0}};
  expect_internal("an axis that is not there");
  first = {MHA_OPERAND_TENSOR, 0, 3, {2, 1, 0}};
  toy.stages[0].batch_axis = 0;
  expect_internal("a batch axis that is none");
  toy.stages[0].batch_axis = 1;
  toy.kernel.key_lengths_tensor = 9;
  expect_internal("an index tensor that is not there");
  toy.kernel.key_lengths_tensor = ToyKernel::kX;
  expect_internal("an index tensor that is not checked");
}

// A caller that breaks the rule that inputs stay as they are gets numbers, not reads beyond
// tensors.
TEST_F(Call, IndexValuesThatChangeDuringTheCallStayInRange) {
  for (const int32_t value : {INT32_MAX, INT32_MIN}) {
    ToyCall call(toy, 2, 5, 8, 1);
    bool changed = false;
    ToyKernel::on_task = [&](void** argv) {
      const int32_t keys = *static_cast<int32_t*>(argv[4]),
                    offset = *static_cast<int32_t*>(argv[5]);
      if (changed) {
        EXPECT_EQ(keys, value > 0 ? 8 : 0);
        EXPECT_EQ(offset, value > 0 ? 1 << 30 : -(1 << 30));
      }
      std::fill(call.key_lengths.begin(), call.key_lengths.end(), value);
      std::fill(call.query_offset.begin(), call.query_offset.end(), value);
      changed = true;
      return 0;
    };
    EXPECT_EQ(call.run(one), MHA_OK) << mha_last_message();
    EXPECT_TRUE(changed);
  }
}

TEST_F(Call, Scratch) {
  toy.stages[ToyKernel::kAdd].scratch_bytes = 4096;
  bool ran = false;
  ToyKernel::on_task = [&](void** argv) {
    ran = true;
    void* context = *static_cast<void**>(argv[0]);
    const auto take = [&](size_t bytes) {
      return static_cast<uint8_t*>(mha_halide_malloc(context, bytes));
    };
    uint8_t* a = take(100);
    uint8_t* b = take(0);
    uint8_t* c = take(64);
    EXPECT_TRUE(a && b && c);
    for (const uint8_t* p : {a, b, c}) EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0u);
    EXPECT_GE(b - a, 128);
    memset(a - 8, 1, 8);  // Halide may read, and here nobody minds a write
    memset(a, 2, 128);
    memset(c, 3, 64);
    // Out of order: the space of b comes back with that of c.
    mha_halide_free(context, b);
    uint8_t* d = take(1);
    EXPECT_GT(d, c);
    mha_halide_free(context, d);
    mha_halide_free(context, c);
    EXPECT_EQ(take(0), b);
    mha_halide_free(context, b);
    mha_halide_free(context, nullptr);
    mha_halide_free(context, a);
    uint8_t* all = take(4096 - MHA_SCRATCH_HEADER);
    EXPECT_EQ(all, a);
    if (all != nullptr) memset(all, 4, 4096 - MHA_SCRATCH_HEADER);
    mha_halide_free(context, all);
    return 0;
  };
  ToyCall call(toy, 1, 1, 8, 1);
  EXPECT_EQ(call.run(one), MHA_OK) << mha_last_message();
  EXPECT_TRUE(ran);
  ToyKernel::on_task = [](void** argv) {
    void* context = *static_cast<void**>(argv[0]);
    EXPECT_EQ(mha_halide_malloc(context, 4096), nullptr);
    EXPECT_EQ(mha_halide_malloc(context, SIZE_MAX), nullptr);
    EXPECT_EQ(mha_halide_malloc(context, SIZE_MAX - 100), nullptr);
    return 0;
  };
  EXPECT_EQ(call.run(one), MHA_INTERNAL);
}

TEST(Info, DescribesAKernel) {
  ToyKernel toy;
  mha_kernel_info info;
  ASSERT_EQ(mha_kernel_get_info(&toy.kernel, &info), MHA_OK);
  EXPECT_STREQ(info.name, "toy");
  EXPECT_STREQ(info.schedule_origin, "default");
  EXPECT_EQ(mha_kernel_get_info(&toy.kernel, nullptr), MHA_INVALID_ARGUMENT);
  EXPECT_EQ(mha_kernel_get_info(nullptr, &info), MHA_INVALID_ARGUMENT);
  toy.kernel.cpu_features = ~uint64_t{0};
  EXPECT_EQ(mha_kernel_get_info(&toy.kernel, &info), MHA_OK);
  toy.kernel.abi = 77;
  EXPECT_EQ(mha_kernel_get_info(&toy.kernel, &info), MHA_ABI_MISMATCH);
}

TEST(Status, HasNamesAndAVersion) {
  for (int status = MHA_OK; status <= MHA_INTERNAL; ++status) {
    EXPECT_EQ(std::string(mha_status_name(static_cast<mha_status>(status))).rfind("MHA_", 0), 0u);
  }
  EXPECT_STREQ(mha_status_name(static_cast<mha_status>(99)), "unknown mha_status");
  EXPECT_EQ(mha_version(), std::to_string(MHA_VERSION_MAJOR) + "." +
                               std::to_string(MHA_VERSION_MINOR) + "." +
                               std::to_string(MHA_VERSION_PATCH));
}

TEST(Cpu, AgreesWithTheCompilerAboutThisMachine) {
  const uint64_t features = mha_cpu_features();
#if defined(__x86_64__)
  EXPECT_EQ((features & MHA_CPU_SSE42) != 0, __builtin_cpu_supports("x86-64-v2") != 0);
  EXPECT_EQ((features & MHA_CPU_AVX2) != 0, __builtin_cpu_supports("x86-64-v3") != 0);
  EXPECT_EQ((features & MHA_CPU_AVX512) != 0, __builtin_cpu_supports("x86-64-v4") != 0);
  if (features & MHA_CPU_AVX512_BF16) {
    EXPECT_TRUE(__builtin_cpu_supports("avx512bf16"));
  }
  if (features & MHA_CPU_AVX512_VP2) {
    EXPECT_TRUE(__builtin_cpu_supports("avx512vp2intersect"));
  }
#else
  EXPECT_EQ(features, 0u);
#endif
}

}  // namespace
}  // namespace mha
