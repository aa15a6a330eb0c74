#include "tests/runtime/toy_kernel.h"

#include <HalideRuntime.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

namespace mha {
namespace {

// Element (i0, i1, i2) of a buffer, dimension 0 innermost.
float& at(const halide_buffer_t* buffer, int64_t i0, int64_t i1, int64_t i2) {
  const halide_dimension_t* dim = buffer->dim;
  return reinterpret_cast<float*>(
      buffer->host)[i0 * dim[0].stride + i1 * dim[1].stride + i2 * dim[2].stride];
}

halide_buffer_t* buffer_of(void* argument) { return static_cast<halide_buffer_t*>(argument); }
int32_t scalar_of(void* argument) { return *static_cast<int32_t*>(argument); }

// argv: context, x, TASK0, TASK1, buffer
int double_stage(void** argv) {
  const halide_buffer_t* x = buffer_of(argv[1]);
  const halide_buffer_t* buffer = buffer_of(argv[4]);
  const int64_t first = scalar_of(argv[2]) * 3, b = scalar_of(argv[3]);
  for (int64_t i = first; i < std::min<int64_t>(first + 3, x->dim[1].extent); ++i) {
    for (int64_t c = 0; c < kToyWidth; ++c) at(buffer, c, i, b) = 2 * at(x, c, i, b);
  }
  return 0;
}

// argv: context, buffer, TASK0, TASK1, SEQUENCE_KEYS, SEQUENCE_OFFSET, QUERY, y
int add_stage(void** argv) {
  const halide_buffer_t* buffer = buffer_of(argv[1]);
  const halide_buffer_t* y = buffer_of(argv[7]);
  const int64_t first = scalar_of(argv[2]) * 2, b = scalar_of(argv[3]);
  void* context = *static_cast<void**>(argv[0]);
  // A copy through scratch, freed in the order in which Halide frees.
  float* copy = static_cast<float*>(mha_halide_malloc(context, 2 * kToyWidth * sizeof(float)));
  if (copy == nullptr) return -11;
  float* sum = static_cast<float*>(mha_halide_malloc(context, 3));
  if (sum == nullptr) return -11;
  for (int64_t i = first; i < std::min<int64_t>(first + 2, scalar_of(argv[6])); ++i) {
    for (int64_t c = 0; c < kToyWidth; ++c) copy[(i - first) * kToyWidth + c] = at(buffer, c, i, b);
    for (int64_t c = 0; c < kToyWidth; ++c) {
      at(y, c, i, b) =
          copy[(i - first) * kToyWidth + c] + 1000.0f * scalar_of(argv[4]) + scalar_of(argv[5]);
    }
  }
  mha_halide_free(context, sum);
  mha_halide_free(context, copy);
  return ToyKernel::on_task ? ToyKernel::on_task(argv) : 0;
}

mha_extent constant(int64_t value) { return {value, MHA_SYMBOL_ONE, 1, 1, 0}; }
mha_extent length(int32_t symbol) { return {1, symbol, 1, 1, 0}; }
mha_operand operand(uint32_t kind, uint32_t index) { return {kind, index, 0, {}}; }
mha_operand tensor_operand(uint32_t index) { return {MHA_OPERAND_TENSOR, index, 3, {2, 1, 0}}; }

mha_tensor_info tensor(const char* name, uint32_t role, uint32_t dtype, size_t offset,
                       uint32_t check, std::vector<mha_extent> axes) {
  mha_tensor_info info = {};
  info.name = name;
  info.role = role;
  info.dtype = dtype;
  info.rank = static_cast<uint32_t>(axes.size());
  info.offset = static_cast<uint32_t>(offset);
  info.check = check;
  std::copy(axes.begin(), axes.end(), info.axes);
  return info;
}

}  // namespace

std::function<int(void**)> ToyKernel::on_task;

ToyKernel::ToyKernel() : tensors{}, buffers{}, stages{}, variants{}, kernel{} {
  on_task = nullptr;
  const std::vector<mha_extent> rows = {length(MHA_SYMBOL_BATCH), length(MHA_SYMBOL_QUERY),
                                        constant(kToyWidth)};
  const std::vector<mha_extent> each = {length(MHA_SYMBOL_BATCH)};
  tensors[kX] = tensor("x", MHA_ROLE_INPUT, MHA_F32, offsetof(ToyArgs, x), MHA_CHECK_NONE, rows);
  tensors[kKeyLengths] = tensor("key_lengths", MHA_ROLE_INPUT, MHA_I32,
                                offsetof(ToyArgs, key_lengths), MHA_CHECK_KEYS, each);
  tensors[kQueryOffset] = tensor("query_offset", MHA_ROLE_INPUT, MHA_I32,
                                 offsetof(ToyArgs, query_offset), MHA_CHECK_INT32_OFFSET, each);
  tensors[kY] = tensor("y", MHA_ROLE_OUTPUT, MHA_F32, offsetof(ToyArgs, y), MHA_CHECK_NONE, rows);

  buffers[0].name = "doubled";
  buffers[0].dtype = MHA_F32;
  buffers[0].rank = 3;
  buffers[0].extents[0] = constant(kToyWidth);
  buffers[0].extents[1] = {1, MHA_SYMBOL_QUERY, 16, 1, 0};
  buffers[0].extents[2] = length(MHA_SYMBOL_BATCH);

  operands[kDouble] = {tensor_operand(kX), operand(MHA_OPERAND_SCALAR, MHA_SYMBOL_TASK0),
                       operand(MHA_OPERAND_SCALAR, MHA_SYMBOL_TASK1),
                       operand(MHA_OPERAND_BUFFER, 0)};
  stages[kDouble].name = "double";
  stages[kDouble].run = double_stage;
  stages[kDouble].grid_rank = 2;
  stages[kDouble].batch_axis = 1;
  stages[kDouble].grid[0] = {1, MHA_SYMBOL_QUERY, 3};
  stages[kDouble].grid[1] = {1, MHA_SYMBOL_BATCH, 1};

  operands[kAdd] = {operand(MHA_OPERAND_BUFFER, 0),
                    operand(MHA_OPERAND_SCALAR, MHA_SYMBOL_TASK0),
                    operand(MHA_OPERAND_SCALAR, MHA_SYMBOL_TASK1),
                    operand(MHA_OPERAND_SCALAR, MHA_SYMBOL_SEQUENCE_KEYS),
                    operand(MHA_OPERAND_SCALAR, MHA_SYMBOL_SEQUENCE_OFFSET),
                    operand(MHA_OPERAND_SCALAR, MHA_SYMBOL_QUERY),
                    tensor_operand(kY)};
  stages[kAdd].name = "add";
  stages[kAdd].run = add_stage;
  stages[kAdd].grid_rank = 2;
  stages[kAdd].reverse = 1;
  stages[kAdd].batch_axis = 1;
  stages[kAdd].grid[0] = {1, MHA_SYMBOL_QUERY, 2};
  stages[kAdd].grid[1] = {1, MHA_SYMBOL_BATCH, 1};
  stages[kAdd].scratch_bytes = 64 + MHA_SCRATCH_HEADER + 64 + MHA_SCRATCH_HEADER;
  for (int i = 0; i < 2; ++i) {
    stages[i].operands = operands[i].data();
    stages[i].operand_count = operands[i].size();
    stages[i].key_axis = -1;
  }

  kernel.abi = MHA_KERNEL_ABI;
  kernel.struct_size = sizeof kernel;
  kernel.info = {"toy", "{}", "any", "", "default", "tests"};
  kernel.args_size = sizeof(ToyArgs);
  kernel.offset_kind = MHA_OFFSET_INPUT;
  kernel.key_lengths_tensor = kKeyLengths;
  kernel.query_offset_tensor = kQueryOffset;
  kernel.key_starts_tensor = kernel.sequence_starts_tensor = -1;
  kernel.batch = {1, kToyMaxBatch};
  kernel.query_length = {1, kToyMaxLength};
  kernel.key_length = {1, kToyMaxLength};
  kernel.tensors = tensors;
  kernel.tensor_count = 4;
  variants[0] = {kToyMaxLength, "toy", buffers, 1, stages, 2};
  kernel.variants = variants;
  kernel.variant_count = 1;
}

ToyCall::ToyCall(const ToyKernel& kernel, int64_t b, int64_t lq, int64_t lk, int32_t threads)
    : batch(b), queries(lq), keys(lk), kernel_(kernel) {
  args.call.size = sizeof args;
  args.call.batch = batch;
  args.call.query_length = queries;
  args.call.key_length = keys;
  x.resize(static_cast<size_t>(batch * queries * kToyWidth));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 97) + 0.25f;
  y.assign(x.size(), -7.0f);
  for (int64_t i = 0; i < batch; ++i) {
    key_lengths.push_back(static_cast<int32_t>((keys * (i + 1)) / (batch + 1)));
    query_offset.push_back(static_cast<int32_t>(i) * 7 - 5);
  }
  args.x.data = x.data();
  args.key_lengths.data = key_lengths.data();
  args.query_offset.data = query_offset.data();
  args.y.data = y.data();
  // Some tests make calls that have no workspace size; their workspace is never looked at.
  if (mha_workspace_size(&kernel.kernel, &args, threads, &workspace_bytes) != MHA_OK)
    workspace_bytes = 4096;
  workspace_memory.assign(workspace_bytes + MHA_WORKSPACE_ALIGNMENT, 0xA5);
  const uintptr_t address = reinterpret_cast<uintptr_t>(workspace_memory.data());
  workspace =
      workspace_memory.data() +
      (MHA_WORKSPACE_ALIGNMENT - address % MHA_WORKSPACE_ALIGNMENT) % MHA_WORKSPACE_ALIGNMENT;
  args.call.workspace = workspace;
  args.call.workspace_size = workspace_bytes;
}

std::vector<float> ToyCall::expected() const {
  std::vector<float> result(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t b = i / static_cast<size_t>(queries * kToyWidth);
    int64_t length = kernel_.kernel.key_lengths_tensor >= 0 ? key_lengths[b] : keys;
    int64_t offset = 0;
    if (kernel_.kernel.offset_kind == MHA_OFFSET_END) offset = length - queries;
    if (kernel_.kernel.offset_kind == MHA_OFFSET_INPUT) offset = query_offset[b];
    result[i] = 2 * x[i] + 1000.0f * static_cast<float>(length) + static_cast<float>(offset);
  }
  return result;
}

bool ToyCall::nothing_written() const {
  return std::all_of(y.begin(), y.end(), [](float value) { return value == -7.0f; }) &&
         std::all_of(workspace_memory.begin(), workspace_memory.end(),
                     [](uint8_t b) { return b == 0xA5; });
}

GuardedMemory::GuardedMemory(size_t bytes, bool at_end) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t inner = (bytes + page - 1) / page * page;
  mapped_ = inner + 2 * page;
  mapping_ = static_cast<uint8_t*>(
      mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  EXPECT_NE(mapping_, MAP_FAILED);
  EXPECT_EQ(mprotect(mapping_, page, PROT_NONE), 0);
  EXPECT_EQ(mprotect(mapping_ + page + inner, page, PROT_NONE), 0);
  data_ = at_end ? mapping_ + page + inner - bytes : mapping_ + page;
}

GuardedMemory::~GuardedMemory() { munmap(mapping_, mapped_); }

TestContext::TestContext(int32_t threads, mha_parallel_for hook, void* user) {
  mha_context_options options = {};
  options.size = sizeof options;
  options.threads = threads;
  options.parallel_for = hook;
  options.parallel_for_user = user;
  EXPECT_EQ(mha_context_create(&options, &context_), MHA_OK) << mha_last_message();
}

}  // namespace mha
