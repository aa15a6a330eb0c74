#include "tests/runtime/cached_toy.h"

#include <HalideRuntime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace mha {
namespace {

constexpr int64_t kTile = 16, kMaxBatch = 8;

halide_buffer_t* buffer_of(void* argument) { return static_cast<halide_buffer_t*>(argument); }
int32_t scalar_of(void* argument) { return *static_cast<int32_t*>(argument); }

// The address of an element by its coordinates, which must be in range.
void* address(const halide_buffer_t* buffer, const std::vector<int64_t>& at) {
  int64_t offset = 0;
  EXPECT_EQ(at.size(), static_cast<size_t>(buffer->dimensions));
  for (size_t i = 0; i < at.size(); ++i) {
    EXPECT_GE(at[i], 0);
    EXPECT_LT(at[i], buffer->dim[i].extent) << "dimension " << i;
    offset += at[i] * buffer->dim[i].stride;
  }
  return buffer->host + offset * (buffer->type.bits / 8);
}

bool is_pairs(const halide_buffer_t* pool) { return pool->type.code == halide_type_bfloat; }

void* key_address(const halide_buffer_t* keys, int64_t page, int64_t g, int64_t j, int64_t d) {
  if (is_pairs(keys)) return address(keys, {j % 16 * 2 + d % 2, d / 2, j / 16, g, page});
  return address(keys, {j % 16, d, j / 16, g, page});
}
void* value_address(const halide_buffer_t* values, int64_t page, int64_t g, int64_t j, int64_t d) {
  if (is_pairs(values)) return address(values, {2 * d + j % 2, j / 2, g, page});
  return address(values, {d, j, g, page});
}

// Of the small integers that the tests use, exactly.
uint16_t bits16(float value, bool bfloat) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if (bfloat || value == 0) return static_cast<uint16_t>(bits >> 16);
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | ((bits & 0x7FFFFFFF) - 0x38000000) >> 13);
}
float number(const void* at, bool bfloat) {
  uint16_t half;
  std::memcpy(&half, at, 2);
  uint32_t bits = static_cast<uint32_t>(half) << 16;
  if (!bfloat && (half & 0x7FFF) != 0)
    bits = static_cast<uint32_t>(half & 0x8000) << 16 | (((half & 0x7FFFu) << 13) + 0x38000000);
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
float number(const halide_buffer_t* buffer, const void* at) {
  if (buffer->type.bits == 16) return number(at, buffer->type.code == halide_type_bfloat);
  float value;
  std::memcpy(&value, at, 4);
  return value;
}

int32_t page_of(const halide_buffer_t* table, int64_t slot, int64_t key, int64_t page) {
  return *static_cast<int32_t*>(address(table, {key / page, slot}));
}

// argv: context, key, value, TASK0 (g), TASK1 (b), SLOT, CACHED, NEW_KEYS, FIRST_ROW, table, K, V
int append_stage(void** argv) {
  const halide_buffer_t *key = buffer_of(argv[1]), *value = buffer_of(argv[2]);
  const halide_buffer_t *table = buffer_of(argv[9]), *k = buffer_of(argv[10]),
                        *v = buffer_of(argv[11]);
  const int64_t g = scalar_of(argv[3]);
  const bool packed = key->dim[3].extent == 1;
  const int64_t b = packed ? 0 : scalar_of(argv[4]);
  const int64_t page = k->dim[2].extent * 16, slot = scalar_of(argv[5]),
                cached = scalar_of(argv[6]);
  const size_t element = key->type.bits / 8u;
  for (int64_t i = 0; i < scalar_of(argv[7]); ++i) {
    const int64_t row = scalar_of(argv[8]) + i, j = cached + i;
    const int64_t p = page_of(table, slot, j, page);
    for (int64_t d = 0; d < key->dim[0].extent; ++d)
      std::memcpy(key_address(k, p, g, j % page, d), address(key, {d, g, row, b}), element);
    for (int64_t d = 0; d < value->dim[0].extent; ++d)
      std::memcpy(value_address(v, p, g, j % page, d), address(value, {d, g, row, b}), element);
  }
  return CachedToy::on_append ? CachedToy::on_append() : 0;
}

float row_sum(const halide_buffer_t* table, const halide_buffer_t* k, const halide_buffer_t* v,
              int64_t slot, int64_t j) {
  const int64_t page = k->dim[2].extent * 16, p = page_of(table, slot, j, page);
  float sum = 0;
  for (int64_t g = 0; g < k->dim[3].extent; ++g) {
    for (int64_t d = 0; d < kCachedHead; ++d)
      sum += static_cast<float>(d + 1) * number(k, key_address(k, p, g, j % page, d));
    for (int64_t d = 0; d < kCachedValue; ++d)
      sum += 10.0f * static_cast<float>(d + 1) * number(v, value_address(v, p, g, j % page, d));
  }
  return static_cast<float>(j + 1) * sum;
}

// argv: context, SHARED, TASK0, table, K, V, SEQUENCES, partial
int prefix_stage(void** argv) {
  const halide_buffer_t *table = buffer_of(argv[3]), *k = buffer_of(argv[4]),
                        *v = buffer_of(argv[5]), *partial = buffer_of(argv[7]);
  const int64_t tile = scalar_of(argv[2]);
  // Of the first sequence of the call, as all share it.
  const int32_t slot = *static_cast<int32_t*>(address(buffer_of(argv[6]), {MHA_SEQUENCE_SLOT, 0}));
  float sum = 0;
  EXPECT_LE((tile + 1) * kTile, scalar_of(argv[1]));
  for (int64_t j = tile * kTile; j < (tile + 1) * kTile; ++j) sum += row_sum(table, k, v, slot, j);
  *static_cast<float*>(address(partial, {tile, kMaxBatch})) = sum;
  __atomic_fetch_add(&CachedToy::prefix_tasks, 1, __ATOMIC_RELAXED);
  return 0;
}

// argv: context, TASK0 (tile), TASK1 (b), SLOT, KEYS, table, K, V, partial
int sums_stage(void** argv) {
  const halide_buffer_t *table = buffer_of(argv[5]), *k = buffer_of(argv[6]),
                        *v = buffer_of(argv[7]), *partial = buffer_of(argv[8]);
  const int64_t tile = scalar_of(argv[1]), b = scalar_of(argv[2]);
  const int64_t end = std::min<int64_t>(scalar_of(argv[4]), (tile + 1) * kTile);
  EXPECT_LT(tile * kTile, end) << "a tile behind the end was run";
  float sum = 0;
  for (int64_t j = tile * kTile; j < end; ++j) sum += row_sum(table, k, v, scalar_of(argv[3]), j);
  *static_cast<float*>(address(partial, {tile, b})) = sum;
  __atomic_fetch_add(&CachedToy::own_tasks, 1, __ATOMIC_RELAXED);
  return 0;
}

// argv: context, TASK0 (b), SHARED, KEYS, partial, y
int merge_stage(void** argv) {
  const halide_buffer_t *partial = buffer_of(argv[4]), *y = buffer_of(argv[5]);
  const int64_t b = scalar_of(argv[1]), shared = scalar_of(argv[2]) / kTile;
  float sum = 0;
  for (int64_t tile = 0; tile * kTile < scalar_of(argv[3]); ++tile) {
    sum += *static_cast<float*>(address(partial, {tile, tile < shared ? kMaxBatch : b}));
  }
  *static_cast<float*>(address(y, {b})) = sum;
  return 0;
}

mha_extent constant(int64_t value) { return {value, MHA_SYMBOL_ONE, 1, 1, 0}; }
mha_extent length(int32_t symbol) { return {1, symbol, 1, 1, 0}; }
mha_operand scalar(uint32_t symbol) { return {MHA_OPERAND_SCALAR, symbol, 0, {}}; }
mha_operand of_kind(uint32_t kind) { return {kind, 0, 0, {}}; }

}  // namespace

std::function<int()> CachedToy::on_append;
int64_t CachedToy::prefix_tasks, CachedToy::own_tasks;

CachedToy::CachedToy(const CachedToyOptions& from) : options(from) {
  on_append = nullptr;
  const bool pairs = options.dtype == MHA_BF16;
  info.dtype = options.dtype;
  info.key_form = pairs ? MHA_FORM_KEY_PAIR_PANELS : MHA_FORM_KEY_PANELS;
  info.value_form = pairs ? MHA_FORM_VALUE_PAIRS : MHA_FORM_VALUE_ROWS;
  info.kv_heads = options.kv_heads;
  info.d_head = kCachedHead;
  info.d_value = kCachedValue;
  info.d_head_padded = pairs ? (kCachedHead + 1) / 2 * 2 : kCachedHead;
  info.d_value_padded = (kCachedValue + 15) / 16 * 16;
  info.capacity = options.capacity;
  info.page = options.page > 0 ? options.page : (options.capacity + 15) / 16 * 16;

  const auto tensor = [&](Tensor which, const char* name, size_t offset,
                          std::vector<mha_extent> axes) {
    tensors[which].name = name;
    tensors[which].role = which == kY ? MHA_ROLE_OUTPUT : MHA_ROLE_INPUT;
    tensors[which].dtype = which == kY ? MHA_F32 : which == kIndex ? MHA_I32 : options.dtype;
    tensors[which].rank = static_cast<uint32_t>(axes.size());
    tensors[which].offset = static_cast<uint32_t>(offset);
    tensors[which].flags = which == kY || which == kIndex ? 0 : MHA_TENSOR_APPENDED;
    std::copy(axes.begin(), axes.end(), tensors[which].axes);
  };
  const mha_extent batch = options.packed ? constant(1) : length(MHA_SYMBOL_BATCH);
  const mha_extent rows = length(options.packed     ? MHA_SYMBOL_ROWS
                                 : options.own_keys ? MHA_SYMBOL_NEW_KEYS
                                                    : MHA_SYMBOL_QUERY);
  tensor(kKey, "key", offsetof(Args, key),
         {batch, rows, constant(options.kv_heads), constant(kCachedHead)});
  tensor(kValue, "value", offsetof(Args, value),
         {batch, rows, constant(options.kv_heads), constant(kCachedValue)});
  tensor(kY, "y", offsetof(Args, y), {length(MHA_SYMBOL_BATCH)});
  tensor(kIndex, options.packed ? "sequence_starts" : "key_lengths", offsetof(Args, index),
         {length(options.packed ? MHA_SYMBOL_STARTS : MHA_SYMBOL_BATCH)});
  tensors[kIndex].check = options.packed ? MHA_CHECK_STARTS : MHA_CHECK_KEYS;
  if (options.packed) tensors[kIndex].flags = MHA_TENSOR_APPENDED;
  for (Tensor which : {kKey, kValue}) {
    if (options.own_keys) tensors[which].flags |= MHA_TENSOR_NEW_KEYS;
  }

  buffers[0] = {"partial", MHA_F32, 2, {{1, MHA_SYMBOL_KEY, kTile, kTile, 0}, constant(9)}};

  const auto rows_operand = [](uint32_t index) {
    return mha_operand{MHA_OPERAND_TENSOR, index, 4, {3, 2, 1, 0}};
  };
  const mha_operand table = of_kind(MHA_OPERAND_PAGE_TABLE), k = of_kind(MHA_OPERAND_CACHE_KEYS),
                    v = of_kind(MHA_OPERAND_CACHE_VALUES), partial = of_kind(MHA_OPERAND_BUFFER);
  operands[0] = {rows_operand(kKey),
                 rows_operand(kValue),
                 scalar(MHA_SYMBOL_TASK0),
                 scalar(MHA_SYMBOL_TASK1),
                 scalar(MHA_SYMBOL_SEQUENCE_SLOT),
                 scalar(MHA_SYMBOL_SEQUENCE_CACHED),
                 scalar(MHA_SYMBOL_SEQUENCE_NEW_KEYS),
                 scalar(MHA_SYMBOL_SEQUENCE_FIRST_ROW),
                 table,
                 k,
                 v};
  operands[1] = {scalar(MHA_SYMBOL_SHARED),
                 scalar(MHA_SYMBOL_TASK0),
                 table,
                 k,
                 v,
                 of_kind(MHA_OPERAND_SEQUENCES),
                 partial};
  operands[2] = {scalar(MHA_SYMBOL_TASK0),
                 scalar(MHA_SYMBOL_TASK1),
                 scalar(MHA_SYMBOL_SEQUENCE_SLOT),
                 scalar(MHA_SYMBOL_SEQUENCE_KEYS),
                 table,
                 k,
                 v,
                 partial};
  operands[3] = {scalar(MHA_SYMBOL_TASK0), scalar(MHA_SYMBOL_SHARED),
                 scalar(MHA_SYMBOL_SEQUENCE_KEYS), partial,
                 mha_operand{MHA_OPERAND_TENSOR, kY, 1, {0}}};
  const char* names[] = {"append", "prefix", "sums", "merge"};
  const mha_stage_function functions[] = {append_stage, prefix_stage, sums_stage, merge_stage};
  for (int i = 0; i < 4; ++i) {
    stages[i].name = names[i];
    stages[i].run = functions[i];
    stages[i].operands = operands[i].data();
    stages[i].operand_count = operands[i].size();
    stages[i].batch_axis = stages[i].query_axis = stages[i].key_axis = -1;
  }
  stages[0].flags = MHA_STAGE_APPENDS;
  stages[0].grid_rank = 2;
  stages[0].grid[0] = {options.kv_heads, MHA_SYMBOL_ONE, 1};
  stages[0].grid[1] = {1, MHA_SYMBOL_BATCH, 1};
  stages[0].batch_axis = 1;
  stages[1].grid_rank = 1;
  stages[1].grid[0] = {1, MHA_SYMBOL_SHARED, kTile};
  stages[2].grid_rank = 2;
  stages[2].grid[0] = {1, MHA_SYMBOL_KEY, kTile};
  stages[2].grid[1] = {1, MHA_SYMBOL_BATCH, 1};
  stages[2].key_axis = 0;
  stages[2].batch_axis = 1;
  stages[3].grid_rank = 1;
  stages[3].grid[0] = {1, MHA_SYMBOL_BATCH, 1};
  stages[3].batch_axis = 0;

  variant = {options.capacity, "toy", buffers, 1, stages, 4};
  kernel.abi = MHA_KERNEL_ABI;
  kernel.struct_size = sizeof kernel;
  kernel.info = {"cached_toy", "{}", "any", "", "default", "tests"};
  kernel.args_size = sizeof(Args);
  kernel.offset_kind = MHA_OFFSET_END;
  kernel.key_lengths_tensor = options.key_lengths ? int{kIndex} : -1;
  kernel.sequence_starts_tensor = options.packed ? int{kIndex} : -1;
  kernel.key_starts_tensor = kernel.query_offset_tensor = -1;
  kernel.batch = {1, kMaxBatch};
  kernel.query_length = {1, options.capacity};
  kernel.key_length = {1, options.capacity};
  kernel.tensors = tensors;
  kernel.tensor_count = options.packed || options.key_lengths ? 4 : 3;
  kernel.variants = &variant;
  kernel.variant_count = 1;
  kernel.cache = &info;
  if (!options.own_keys) return;
  kernel.new_keys_kind = MHA_NEW_KEYS_OWN;
  kernel.new_keys = *options.own_keys;
}

mha_status CachedToy::call(mha_context* context, mha_cache* cache, int32_t layer,
                           const std::vector<int32_t>& sequences,
                           const std::vector<std::vector<CachedRow>>& rows, Entry entry,
                           std::vector<float>* y, const std::vector<int32_t>& key_lengths) const {
  // Exactly as large as they need be, so that a sanitizer sees what reads or writes behind them.
  std::vector<uint8_t> keys, values;
  std::vector<int32_t> starts = {0};
  int64_t longest = 0;
  const auto add = [&](std::vector<uint8_t>* to, float number) {
    const size_t element = options.dtype == MHA_F32 ? 4 : 2, end = to->size();
    to->resize(end + element);
    const uint16_t bits = bits16(number, options.dtype == MHA_BF16);
    std::memcpy(to->data() + end, element == 4 ? static_cast<const void*>(&number) : &bits,
                element);
  };
  for (const std::vector<CachedRow>& sequence : rows) {
    for (const CachedRow& row : sequence) {
      for (float number : row.key) add(&keys, number);
      for (float number : row.value) add(&values, number);
    }
    starts.push_back(starts.back() + static_cast<int32_t>(sequence.size()));
    longest = std::max(longest, static_cast<int64_t>(sequence.size()));
  }
  std::vector<float> result(sequences.size(), -7.0f);
  Args args = {};
  args.call.size = sizeof args;
  args.call.batch = static_cast<int64_t>(sequences.size());
  args.call.query_length = options.own_keys ? 1 : longest;
  if (options.own_keys) args.call.new_keys = static_cast<int32_t>(longest);
  const bool brings = longest > 0;
  args.key.data = brings ? keys.data() : nullptr;
  args.value.data = brings ? values.data() : nullptr;
  args.y.data = entry == kAppend ? nullptr : result.data();
  args.index.data = options.packed ? starts.data() : const_cast<int32_t*>(key_lengths.data());
  size_t bytes = 0;
  mha_status status = mha_workspace_size(&kernel, &args, mha_context_threads(context), &bytes);
  if (status != MHA_OK) return status;
  void* workspace = std::aligned_alloc(MHA_WORKSPACE_ALIGNMENT, bytes);
  args.call.workspace = workspace;
  args.call.workspace_size = bytes;
  args.call.cache = cache;
  args.call.sequences = sequences.data();
  args.call.layer = layer;
  status = entry == kAppend   ? mha_append(&kernel, context, &args)
           : entry == kShared ? mha_decode_shared(&kernel, context, &args)
                              : mha_run(&kernel, context, &args);
  std::free(workspace);
  if (y != nullptr) *y = result;
  return status;
}

float CachedToy::expected(const std::vector<CachedRow>& rows) {
  float sum = 0;
  for (size_t j = 0; j < rows.size(); ++j) {
    float row = 0;
    for (size_t i = 0; i < rows[j].key.size(); ++i)
      row += static_cast<float>(i % 3 + 1) * rows[j].key[i];
    for (size_t i = 0; i < rows[j].value.size(); ++i)
      row += 10.0f * static_cast<float>(i % 5 + 1) * rows[j].value[i];
    sum += static_cast<float>(j + 1) * row;
  }
  return sum;
}

mha_status CachedToy::read(mha_cache* cache, int32_t layer, int32_t sequence, int64_t first,
                           int64_t count, std::vector<CachedRow>* rows) const {
  const size_t n = static_cast<size_t>(count);
  const size_t k = static_cast<size_t>(options.kv_heads * kCachedHead),
               v = static_cast<size_t>(options.kv_heads * kCachedValue);
  std::vector<float> keys(n * k), values(n * v);
  const mha_status status =
      mha_cache_read(cache, layer, sequence, first, count, MHA_F32, keys.data(), values.data());
  rows->clear();
  for (size_t i = 0; i < n && status == MHA_OK; ++i) {
    rows->push_back({{keys.begin() + static_cast<std::ptrdiff_t>(i * k),
                      keys.begin() + static_cast<std::ptrdiff_t>((i + 1) * k)},
                     {values.begin() + static_cast<std::ptrdiff_t>(i * v),
                      values.begin() + static_cast<std::ptrdiff_t>((i + 1) * v)}});
  }
  return status;
}

}  // namespace mha
