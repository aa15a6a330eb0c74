// Caches: what is refused and with which words, copies on write, layers, and many threads.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>

#include "tests/runtime/cached_toy.h"
#include "tests/runtime/toy_kernel.h"

namespace mha {
namespace {

std::vector<CachedRow> rows_of(int64_t count, float number) {
  const CachedRow row = {std::vector<float>(2 * kCachedHead, number),
                         std::vector<float>(2 * kCachedValue, -number)};
  return std::vector<CachedRow>(static_cast<size_t>(count), row);
}

class Cache : public testing::Test {
 protected:
  explicit Cache(const CachedToyOptions& options = {}) : toy(options) {}
  ~Cache() override { mha_cache_destroy(cache); }

  void make(int32_t sequences, int64_t pages, int32_t layers = 1) {
    mha_cache_destroy(cache);
    mha_cache_options options = {sizeof options, sequences, layers, pages};
    ASSERT_EQ(mha_cache_create(&toy.kernel, &options, &cache), MHA_OK) << mha_last_message();
  }
  int32_t sequence() {
    int32_t number = -1;
    EXPECT_EQ(mha_sequence_create(cache, &number), MHA_OK) << mha_last_message();
    return number;
  }
  int64_t free_pages() {
    int64_t count = -1;
    EXPECT_EQ(mha_cache_pages(cache, &count, nullptr, nullptr), MHA_OK);
    return count;
  }
  int64_t length(int32_t number) {
    int64_t keys = -1;
    EXPECT_EQ(mha_sequence_length(cache, number, &keys), MHA_OK) << mha_last_message();
    return keys;
  }
  mha_status append(std::vector<int32_t> numbers, int64_t count, float number, int32_t layer = 0) {
    const std::vector<std::vector<CachedRow>> rows(numbers.size(), rows_of(count, number));
    return toy.call(one, cache, layer, numbers, rows, CachedToy::kAppend, nullptr);
  }
  static void expect(mha_status status, mha_status wanted, const char* words) {
    EXPECT_EQ(status, wanted) << mha_last_message();
    EXPECT_NE(std::strstr(mha_last_message(), words), nullptr) << mha_last_message();
  }

  CachedToy toy;
  TestContext one{1};
  mha_cache* cache = nullptr;
};

TEST_F(Cache, OptionsAreChecked) {
  const auto create = [&](mha_cache_options options) {
    mha_cache* made = reinterpret_cast<mha_cache*>(8);
    const mha_status status = mha_cache_create(&toy.kernel, &options, &made);
    EXPECT_EQ(made, nullptr);
    return status;
  };
  const size_t size = sizeof(mha_cache_options);
  expect(create({size - 1, 1, 1, 1}), MHA_INVALID_ARGUMENT, "sizeof(mha_cache_options)");
  expect(create({size, 0, 1, 1}), MHA_OUT_OF_RANGE, "0 sequences");
  expect(create({size, 1, -1, 1}), MHA_OUT_OF_RANGE, "-1 layers");
  expect(create({size, 1, 1, -1}), MHA_OUT_OF_RANGE, "-1 pages");
  // 2 heads of 32 keys of 16 numbers in a page: 2^31 elements less one are 2097151 pages.
  expect(create({size, 1, 1, 2097152}), MHA_OUT_OF_RANGE, "takes up to 2097151 pages");
  expect(create({size, INT32_MAX, 1, 1}), MHA_OUT_OF_RANGE, "are too many");
  expect(create({size, INT32_MAX, 1, 0}), MHA_OUT_OF_RANGE, "2^31 elements or more");
  expect(mha_cache_create(&toy.kernel, nullptr, &cache), MHA_INVALID_ARGUMENT, "options is NULL");
  mha_cache_options options = {size, 1, 1, 1};
  expect(mha_cache_create(&toy.kernel, &options, nullptr), MHA_INVALID_ARGUMENT, "cache is NULL");
  expect(mha_cache_create(nullptr, &options, &cache), MHA_INVALID_ARGUMENT, "kernel is NULL");
  toy.info.page = 24;
  expect(create(options), MHA_INTERNAL, "makes no sense");
  toy.kernel.cache = nullptr;
  expect(create(options), MHA_INVALID_ARGUMENT, "has no kv_cache");
}

TEST_F(Cache, SizesAreTold) {
  make(3, 0, 2);
  int64_t all = 0, page = 0;
  ASSERT_EQ(mha_cache_pages(cache, nullptr, &all, &page), MHA_OK);
  EXPECT_EQ(all, 9);  // 80 keys in pages of 32, three times
  EXPECT_EQ(page, 32);
  const size_t pools = 2u * 9u * 2u * 32u * (3u + 16u) * 4u;
  EXPECT_GT(mha_cache_bytes(cache), pools);
  EXPECT_LT(mha_cache_bytes(cache), pools + 1024);
  EXPECT_EQ(mha_cache_bytes(nullptr), 0u);
}

TEST_F(Cache, SequencesAreChecked) {
  make(2, 0);
  const int32_t a = sequence();
  int32_t other = -1;
  int64_t keys = 0;
  for (int32_t wrong : {-1, 1, 2, INT32_MAX, INT32_MIN}) {
    SCOPED_TRACE(wrong);
    expect(mha_sequence_fork(cache, wrong, &other), MHA_OUT_OF_RANGE, "the cache has no sequence");
    expect(mha_sequence_rewind(cache, wrong, 0), MHA_OUT_OF_RANGE, "the cache has no sequence");
    expect(mha_sequence_length(cache, wrong, &keys), MHA_OUT_OF_RANGE, "has no sequence");
    expect(mha_sequence_destroy(cache, wrong), MHA_OUT_OF_RANGE, "the cache has no sequence");
    expect(append({wrong}, 1, 1), MHA_OUT_OF_RANGE, "args.sequences[0]: the cache has no sequence");
    std::vector<CachedRow> rows;
    expect(toy.read(cache, 0, wrong, 0, 0, &rows), MHA_OUT_OF_RANGE, "has no sequence");
  }
  EXPECT_EQ(other, -1);
  expect(append({a, a}, 1, 1), MHA_INVALID_ARGUMENT, "args.sequences[1] is 0, which stands in");
  // The marks of the refused call are gone.
  EXPECT_EQ(append({a}, 40, 1), MHA_OK) << mha_last_message();
  expect(append({a}, 41, 1), MHA_OUT_OF_RANGE, "has 40 keys and would get 41 more; its capacity");
  EXPECT_EQ(append({a}, 40, 1), MHA_OK) << mha_last_message();
  EXPECT_EQ(length(a), 80);
  expect(append({a}, 1, 1), MHA_OUT_OF_RANGE, "its capacity is 80");
  expect(mha_sequence_rewind(cache, a, 81), MHA_OUT_OF_RANGE, "length is 81; sequence 0 has 80");
  expect(mha_sequence_rewind(cache, a, -1), MHA_OUT_OF_RANGE, "length is -1");
  expect(append({a}, 1, 1, 1), MHA_OUT_OF_RANGE, "layer is 1; the cache has 1");
  sequence();
  expect(mha_sequence_create(cache, &other), MHA_CACHE_FULL, "has 2 sequences, and all are there");
  expect(mha_sequence_fork(cache, a, &other), MHA_CACHE_FULL, "and all are there");
}

TEST_F(Cache, CallsAreChecked) {
  make(2, 0);
  const int32_t a = sequence();
  CachedToy::Args args = {};
  args.call.size = sizeof args;
  float numbers[32] = {};
  alignas(64) static uint8_t workspace[8192];
  args.key.data = args.value.data = numbers;
  args.call.batch = args.call.query_length = 1;
  args.call.workspace = workspace;
  args.call.workspace_size = sizeof workspace;
  int32_t list[2] = {a, 0};
  args.call.sequences = list;
  expect(mha_run(&toy.kernel, one, &args), MHA_INVALID_ARGUMENT, "args.cache is NULL");
  args.call.cache = cache;
  args.call.sequences = nullptr;
  expect(mha_append(&toy.kernel, one, &args), MHA_INVALID_ARGUMENT, "args.sequences is NULL");
  args.call.sequences = reinterpret_cast<int32_t*>(reinterpret_cast<uint8_t*>(list) + 2);
  expect(mha_append(&toy.kernel, one, &args), MHA_MISALIGNED, "args.sequences");
  args.call.sequences = list;
  expect(mha_run(&toy.kernel, one, &args), MHA_INVALID_ARGUMENT, "output 'y' was not given");
  EXPECT_EQ(free_pages(), 6) << "a refused call took pages";
  EXPECT_EQ(mha_append(&toy.kernel, one, &args), MHA_OK) << mha_last_message();
  float y = 0;
  args.y.data = &y;
  args.call.key_length = 1;
  expect(mha_run(&toy.kernel, one, &args), MHA_OUT_OF_RANGE, "key_length is 1; a sequence of the");
  args.call.key_length = 2;
  EXPECT_EQ(mha_run(&toy.kernel, one, &args), MHA_OK) << mha_last_message();
  args.call.key_length = 0;
  // What the kernel was not generated for is refused, however it is said.
  toy.kernel.key_length.min = 5;
  expect(mha_run(&toy.kernel, one, &args), MHA_OUT_OF_RANGE, "key_length 0 stands for 3, the keys");
  toy.kernel.key_length.min = 1;
  args.y.data = list;
  expect(mha_run(&toy.kernel, one, &args), MHA_OVERLAP, "'y'");
  args.y.data = &y;
  EXPECT_EQ(length(a), 2);

  CachedToyOptions other;
  other.page = 16;
  CachedToy smaller(other);
  expect(mha_run(&smaller.kernel, one, &args), MHA_INVALID_ARGUMENT, "in pages of 32; kernel");
  ToyKernel plain;
  ToyCall call(plain, 1, 1, 1, 1);
  call.args.call.cache = cache;
  expect(call.run(one), MHA_INVALID_ARGUMENT, "leave args.cache NULL");
  call.args.call.cache = nullptr;
  expect(mha_append(&plain.kernel, one, &call.args), MHA_INVALID_ARGUMENT, "has no kv_cache");
  expect(mha_decode_shared(&plain.kernel, one, &call.args), MHA_INVALID_ARGUMENT, "no kv_cache");
}

// Tables that make no sense are found before a stage runs.
TEST_F(Cache, TablesAreChecked) {
  make(2, 0);
  const int32_t a = sequence();
  toy.operands[0][0].index = CachedToy::kY;  // which mha_append does not look at
  expect(append({a}, 1, 1), MHA_INTERNAL, "the table of stage 'append'");
  toy.operands[0][0].index = CachedToy::kKey;
  toy.stages[2].batch_axis = -1;
  std::vector<float> y;
  expect(toy.call(one, cache, 0, {a}, {rows_of(1, 1)}, CachedToy::kRun, &y), MHA_INTERNAL,
         "the table of stage 'sums'");
  ToyKernel plain;
  plain.operands[ToyKernel::kAdd][0] = {MHA_OPERAND_CACHE_KEYS, 0, 0, {}};
  ToyCall call(plain, 1, 1, 1, 1);
  expect(call.run(one), MHA_INTERNAL, "the table of stage 'add'");
}

// A fork takes no page; the first append to either copies the last page if it is partly filled.
TEST_F(Cache, ForksCopyOnWrite) {
  make(4, 0);
  const int64_t all = free_pages();
  const int32_t a = sequence();
  ASSERT_EQ(append({a}, 40, 1), MHA_OK);
  EXPECT_EQ(free_pages(), all - 2);
  int32_t b = -1, c = -1;
  ASSERT_EQ(mha_sequence_fork(cache, a, &b), MHA_OK);
  ASSERT_EQ(mha_sequence_fork(cache, a, &c), MHA_OK);
  EXPECT_EQ(free_pages(), all - 2);
  EXPECT_EQ(length(b), 40);
  // Of three that share a page and all write it, two need a copy.
  ASSERT_EQ(append({c, a, b}, 1, 2), MHA_OK);
  EXPECT_EQ(free_pages(), all - 4);
  for (int32_t number : {a, b, c}) {
    std::vector<CachedRow> rows, wanted = rows_of(40, 1);
    wanted.push_back(rows_of(1, 2)[0]);
    ASSERT_EQ(toy.read(cache, 0, number, 0, 41, &rows), MHA_OK);
    EXPECT_EQ(rows, wanted);
  }
  // Rewound into the first page, which all share, b gives up its second and copies the first.
  ASSERT_EQ(mha_sequence_rewind(cache, b, 20), MHA_OK);
  EXPECT_EQ(free_pages(), all - 3);
  ASSERT_EQ(append({b}, 1, -1), MHA_OK);
  EXPECT_EQ(free_pages(), all - 4);
  std::vector<CachedRow> rows;
  ASSERT_EQ(toy.read(cache, 0, b, 19, 2, &rows), MHA_OK);
  EXPECT_EQ(rows, (std::vector<CachedRow>{rows_of(1, 1)[0], rows_of(1, -1)[0]}));
  ASSERT_EQ(toy.read(cache, 0, a, 20, 1, &rows), MHA_OK);
  EXPECT_EQ(rows, rows_of(1, 1));
  // A fork of whole pages copies nothing.
  ASSERT_EQ(mha_sequence_rewind(cache, a, 32), MHA_OK);
  int32_t d = -1;
  ASSERT_EQ(mha_sequence_fork(cache, a, &d), MHA_OK);
  const int64_t before = free_pages();
  ASSERT_EQ(append({d}, 1, 1), MHA_OK);
  EXPECT_EQ(free_pages(), before - 1);
  for (int32_t number : {a, b, c, d}) ASSERT_EQ(mha_sequence_destroy(cache, number), MHA_OK);
  EXPECT_EQ(free_pages(), all);
}

// All pages of a call or none.
TEST_F(Cache, AnExhaustedPoolChangesNothing) {
  make(3, 4);
  const int32_t a = sequence(), b = sequence();
  ASSERT_EQ(append({a, b}, 30, 1), MHA_OK);
  ASSERT_EQ(append({a}, 10, 2), MHA_OK);
  EXPECT_EQ(free_pages(), 1);
  expect(append({a, b}, 30, 2), MHA_CACHE_FULL, "need 2 more pages of 32 keys");
  EXPECT_NE(std::strstr(mha_last_message(), "of the cache's 4 pages 1 are free"), nullptr);
  EXPECT_EQ(free_pages(), 1);
  EXPECT_EQ(length(a), 40);
  EXPECT_EQ(length(b), 30);
  std::vector<float> keys(600, 1.0f), values(1000, 1.0f);
  expect(mha_cache_append(cache, 0, b, 50, MHA_F32, keys.data(), values.data()), MHA_CACHE_FULL,
         "need 2 more");
  int32_t c = -1;
  ASSERT_EQ(mha_sequence_fork(cache, a, &c), MHA_OK);
  ASSERT_EQ(append({a, c}, 1, 2), MHA_OK) << mha_last_message();  // one copy
  EXPECT_EQ(free_pages(), 0);
  ASSERT_EQ(mha_sequence_destroy(cache, b), MHA_OK);
  EXPECT_EQ(free_pages(), 1);
  EXPECT_EQ(length(a), 41);
}

// mha_decode_shared reads the whole pages that all have in common once, and each sequence's own
// keys alone behind them.
TEST_F(Cache, SharedKeysAreReadOnce) {
  make(4, 0);
  const int32_t a = sequence();
  ASSERT_EQ(append({a}, 70, 1), MHA_OK);
  int32_t b = -1, c = -1;
  ASSERT_EQ(mha_sequence_fork(cache, a, &b), MHA_OK);
  ASSERT_EQ(mha_sequence_fork(cache, a, &c), MHA_OK);
  const auto decode = [&](std::vector<int32_t> numbers, int64_t count, CachedToy::Entry entry) {
    CachedToy::prefix_tasks = CachedToy::own_tasks = 0;
    const std::vector<std::vector<CachedRow>> rows(numbers.size(), rows_of(count, 2));
    std::vector<float> y;
    EXPECT_EQ(toy.call(one, cache, 0, numbers, rows, entry, &y), MHA_OK) << mha_last_message();
    for (size_t i = 0; i < numbers.size(); ++i) {
      std::vector<CachedRow> all;
      const int64_t keys = length(numbers[i]);
      EXPECT_EQ(toy.read(cache, 0, numbers[i], 0, keys, &all), MHA_OK);
      EXPECT_EQ(y[i], CachedToy::expected(all));
    }
  };
  // 64 keys in common, in tiles of 16, and one tile of its own for each.
  decode({c, a, b}, 1, CachedToy::kShared);
  EXPECT_EQ(CachedToy::prefix_tasks, 4);
  EXPECT_EQ(CachedToy::own_tasks, 3);
  decode({c, a, b}, 1, CachedToy::kRun);
  EXPECT_EQ(CachedToy::prefix_tasks, 0);
  EXPECT_EQ(CachedToy::own_tasks, 15);
  decode({b}, 1, CachedToy::kShared);
  EXPECT_EQ(CachedToy::prefix_tasks, 0) << "one sequence shares with nobody";
  // A page that is full only with the new keys is nobody's to share, though both still hold it.
  for (int32_t number : {a, b, c}) ASSERT_EQ(mha_sequence_destroy(cache, number), MHA_OK);
  const int32_t d = sequence();
  ASSERT_EQ(append({d}, 20, 1), MHA_OK);
  int32_t e = -1;
  ASSERT_EQ(mha_sequence_fork(cache, d, &e), MHA_OK);
  decode({d, e}, 12, CachedToy::kShared);
  EXPECT_EQ(CachedToy::prefix_tasks, 0);
  // The same rows in pages of their own are not shared either.
  decode({d, e}, 1, CachedToy::kShared);
  EXPECT_EQ(CachedToy::prefix_tasks, 0);
}

// What a failed call took is given back, and the sequence is as long as before.
TEST_F(Cache, AFailedCallChangesNoLength) {
  make(2, 0);
  const int32_t a = sequence();
  ASSERT_EQ(append({a}, 10, 1), MHA_OK);
  const int64_t before = free_pages();
  CachedToy::on_append = [] { return -1; };
  expect(append({a}, 60, 2), MHA_INTERNAL, "stage 'append'");
  CachedToy::on_append = nullptr;
  EXPECT_EQ(free_pages(), before);
  EXPECT_EQ(length(a), 10);
  std::vector<CachedRow> rows;
  ASSERT_EQ(toy.read(cache, 0, a, 0, 10, &rows), MHA_OK);
  EXPECT_EQ(rows, rows_of(10, 1));
}

// Layers keep their own rows of the same sequences, and are copied together.
TEST_F(Cache, Layers) {
  make(3, 0, 2);
  const int32_t a = sequence();
  ASSERT_EQ(append({a}, 20, 1, 0), MHA_OK);
  EXPECT_EQ(length(a), 0);
  const int64_t before = free_pages();
  ASSERT_EQ(append({a}, 20, 2, 1), MHA_OK);
  EXPECT_EQ(free_pages(), before) << "both layers lie in the same pages";
  EXPECT_EQ(length(a), 20);
  int32_t b = -1;
  ASSERT_EQ(mha_sequence_fork(cache, a, &b), MHA_OK);
  ASSERT_EQ(append({b}, 1, -1, 0), MHA_OK);
  ASSERT_EQ(append({b}, 1, -2, 1), MHA_OK);
  EXPECT_EQ(free_pages(), before - 1);
  std::vector<CachedRow> rows;
  for (int32_t layer = 0; layer < 2; ++layer) {
    ASSERT_EQ(toy.read(cache, layer, b, 19, 2, &rows), MHA_OK);
    const float number = static_cast<float>(layer + 1);
    EXPECT_EQ(rows, (std::vector<CachedRow>{rows_of(1, number)[0], rows_of(1, -number)[0]}));
  }
  EXPECT_EQ(length(a), 20);
}

// key_lengths counts cached keys too, and tiles behind it are left out.
TEST(CacheLengths, KeyLengths) {
  CachedToyOptions options;
  options.key_lengths = true;
  CachedToy toy(options);
  TestContext one(1);
  mha_cache* cache = nullptr;
  mha_cache_options wanted = {sizeof wanted, 2, 1, 0};
  ASSERT_EQ(mha_cache_create(&toy.kernel, &wanted, &cache), MHA_OK);
  int32_t a = -1, b = -1;
  ASSERT_EQ(mha_sequence_create(cache, &a), MHA_OK);
  ASSERT_EQ(mha_sequence_create(cache, &b), MHA_OK);
  const std::vector<CachedRow> rows = rows_of(40, 1);
  std::vector<float> y;
  // Nothing but the new rows is read when they are appended, key_lengths neither.
  ASSERT_EQ(toy.call(one, cache, 0, {a}, {rows}, CachedToy::kAppend, nullptr, {99}), MHA_OK);
  CachedToy::own_tasks = 0;
  ASSERT_EQ(
      toy.call(one, cache, 0, {a, b}, {rows_of(1, 1), rows_of(1, 1)}, CachedToy::kRun, &y, {17, 1}),
      MHA_OK)
      << mha_last_message();
  EXPECT_EQ(CachedToy::own_tasks, 2 + 1);
  EXPECT_EQ(y[0], CachedToy::expected(rows_of(17, 1)));
  EXPECT_EQ(y[1], CachedToy::expected(rows_of(1, 1)));
  EXPECT_EQ(
      toy.call(one, cache, 0, {a, b}, {rows_of(1, 1), rows_of(1, 1)}, CachedToy::kRun, &y, {17, 3}),
      MHA_OUT_OF_RANGE);
  EXPECT_NE(std::strstr(mha_last_message(), "key_lengths[1] is 3; it may be 0 to 2"), nullptr)
      << mha_last_message();
  mha_cache_destroy(cache);
}

// Rows in and out, in the cache's type and as F32.
TEST(CacheRows, Types) {
  for (mha_dtype dtype : {MHA_F32, MHA_BF16, MHA_F16}) {
    CachedToyOptions options;
    options.dtype = dtype;
    CachedToy toy(options);
    mha_cache* cache = nullptr;
    mha_cache_options wanted = {sizeof wanted, 1, 1, 0};
    ASSERT_EQ(mha_cache_create(&toy.kernel, &wanted, &cache), MHA_OK);
    int32_t a = -1;
    ASSERT_EQ(mha_sequence_create(cache, &a), MHA_OK);
    const float inf = std::numeric_limits<float>::infinity();
    // To nearest, halves to even, overflow, subnormal numbers.
    float keys[6] = {1.00390625f, 1.01171875f, 65520.0f, 0x1p-24f * 1.5f, -inf, 1e-41f};
    float values[10] = {1.00048828125f, 65519.9f, -3.0f, 0x1p-25f, 3e38f, 3.4e38f, -0.0f};
    values[9] = std::nanf("");
    ASSERT_EQ(mha_cache_append(cache, 0, a, 1, MHA_F32, keys, values), MHA_OK)
        << mha_last_message();
    float k[6], v[10];
    ASSERT_EQ(mha_cache_read(cache, 0, a, 0, 1, MHA_F32, k, v), MHA_OK);
    const float wanted_keys[3][6] = {
        {1.00390625f, 1.01171875f, 65520.0f, 0x1p-24f * 1.5f, -inf, 1e-41f},
        {1.0f, 1.015625f, 65536.0f, 0x1p-24f * 1.5f, -inf, 0x1p-133f * 0},
        {1.00390625f, 1.01171875f, inf, 0x1p-23f, -inf, 0.0f}};
    const int row = dtype == MHA_F32 ? 0 : dtype == MHA_BF16 ? 1 : 2;
    for (int i = 0; i < 5; ++i) EXPECT_EQ(k[i], wanted_keys[row][i]) << row << " " << i;
    if (dtype == MHA_BF16) {
      EXPECT_NEAR(k[5], 1e-41f, 0x1p-134f);
      EXPECT_EQ(v[5], inf);
    }
    if (dtype == MHA_F16) {
      EXPECT_EQ(v[0], 1.0f);
      EXPECT_EQ(v[1], 65504.0f);
      EXPECT_EQ(v[3], 0.0f);
      EXPECT_EQ(v[4], inf);
    }
    EXPECT_EQ(v[2], -3.0f);
    EXPECT_TRUE(std::signbit(v[6]));
    EXPECT_TRUE(std::isnan(v[9]));
    // In the cache's own type nothing is rounded.
    uint8_t own_keys[24], own_values[40];
    ASSERT_EQ(mha_cache_read(cache, 0, a, 0, 1, dtype, own_keys, own_values), MHA_OK);
    ASSERT_EQ(mha_cache_append(cache, 0, a, 1, dtype, own_keys, own_values), MHA_OK);
    float again[6];
    ASSERT_EQ(mha_cache_read(cache, 0, a, 1, 1, MHA_F32, again, nullptr), MHA_OK);
    EXPECT_EQ(std::memcmp(again, k, sizeof k), 0);

    EXPECT_EQ(mha_cache_read(cache, 0, a, 0, 1, MHA_I32, k, v), MHA_INVALID_ARGUMENT);
    EXPECT_EQ(mha_cache_read(cache, 0, a, 1, 2, MHA_F32, k, v), MHA_OUT_OF_RANGE);
    EXPECT_EQ(mha_cache_read(cache, 0, a, INT64_MAX, 1, MHA_F32, k, v), MHA_OUT_OF_RANGE);
    EXPECT_EQ(mha_cache_read(cache, 0, a, -1, 1, MHA_F32, k, v), MHA_OUT_OF_RANGE);
    EXPECT_EQ(mha_cache_read(cache, 0, a, 0, -1, MHA_F32, k, v), MHA_OUT_OF_RANGE);
    EXPECT_EQ(mha_cache_read(cache, 1, a, 0, 1, MHA_F32, k, v), MHA_OUT_OF_RANGE);
    EXPECT_EQ(mha_cache_read(cache, 0, a, 0, 1, MHA_F32, own_keys + 1, nullptr), MHA_MISALIGNED);
    EXPECT_EQ(mha_cache_append(cache, 0, a, 1, MHA_F32, keys, nullptr), MHA_INVALID_ARGUMENT);
    EXPECT_EQ(mha_cache_append(cache, 0, a, INT64_MAX, MHA_F32, keys, values), MHA_OUT_OF_RANGE);
    EXPECT_EQ(mha_cache_append(cache, 0, a, 79, MHA_F32, keys, values), MHA_OUT_OF_RANGE);
    mha_cache_destroy(cache);
  }
}

class OwnKeys : public Cache {
 protected:
  static CachedToyOptions own() {
    CachedToyOptions options;
    options.page = 16;
    options.own_keys = mha_length_range{2, 70};
    return options;
  }
  OwnKeys() : Cache(own()) {}
  mha_status decode(std::vector<int32_t> numbers, int64_t count, std::vector<float>* y) {
    const std::vector<std::vector<CachedRow>> rows(numbers.size(), rows_of(count, 1));
    return toy.call(one, cache, 0, numbers, rows, CachedToy::kRun, y);
  }
};

// Keys that are no queries: those of an encoder are appended once, and then read by every query.
TEST_F(OwnKeys, CallsBringNoneOrTheirOwnNumber) {
  make(2, 6);
  const int32_t a = sequence(), b = sequence();
  std::vector<float> y;
  // Of nothing at all there is nothing to read, and the tensors of new keys are not asked for.
  ASSERT_EQ(decode({a, b}, 0, &y), MHA_OK) << mha_last_message();
  EXPECT_EQ(y, (std::vector<float>{0, 0}));
  ASSERT_EQ(append({a}, 40, 1), MHA_OK) << mha_last_message();
  const int64_t pages = free_pages();
  ASSERT_EQ(decode({a, b}, 0, &y), MHA_OK) << mha_last_message();
  EXPECT_EQ(y, (std::vector<float>{CachedToy::expected(rows_of(40, 1)), 0}));
  EXPECT_EQ(length(a), 40);
  EXPECT_EQ(length(b), 0);
  EXPECT_EQ(free_pages(), pages);
  ASSERT_EQ(decode({a, b}, 3, &y), MHA_OK) << mha_last_message();
  EXPECT_EQ(y, (std::vector<float>{CachedToy::expected(rows_of(43, 1)),
                                   CachedToy::expected(rows_of(3, 1))}));
  EXPECT_EQ(length(b), 3);
}

TEST_F(OwnKeys, AreChecked) {
  make(2, 3);
  const int32_t a = sequence(), b = sequence();
  expect(append({a}, 1, 1), MHA_OUT_OF_RANGE, "new_keys is 1; kernel 'cached_toy' was generated");
  expect(append({a}, 71, 1), MHA_OUT_OF_RANGE, "generated for 2 to 70");
  // All or nothing: the second sequence has no room left.
  expect(append({a, b}, 32, 1), MHA_CACHE_FULL, "pages");
  EXPECT_EQ(length(a), 0);
  EXPECT_EQ(free_pages(), 3);
  EXPECT_EQ(append({a}, 48, 1), MHA_OK) << mha_last_message();
  std::vector<float> y;
  expect(decode({b}, 2, &y), MHA_CACHE_FULL, "need 1 more pages");
  EXPECT_EQ(decode({a, b}, 0, &y), MHA_OK) << mha_last_message();
  // 0 stands for the maximum in mha_append, and there is no room for that.
  expect(append({a}, 0, 1), MHA_OUT_OF_RANGE, "has 48 keys and would get 70 more");
}

TEST_F(OwnKeys, ForksCopyWhatTheyGoOnFrom) {
  make(2, 0);
  const int32_t a = sequence();
  ASSERT_EQ(append({a}, 20, 1), MHA_OK);
  int32_t b = -1;
  ASSERT_EQ(mha_sequence_fork(cache, a, &b), MHA_OK);
  const int64_t before = free_pages();
  std::vector<float> y;
  ASSERT_EQ(toy.call(one, cache, 0, {a, b}, {{}, {}}, CachedToy::kShared, &y), MHA_OK);
  EXPECT_EQ(y[0], CachedToy::expected(rows_of(20, 1)));
  EXPECT_EQ(y[1], y[0]);
  EXPECT_EQ(free_pages(), before) << "nothing was written, so nothing is copied";
  ASSERT_EQ(append({b}, 2, 2), MHA_OK);
  EXPECT_EQ(free_pages(), before - 1);
  ASSERT_EQ(decode({a}, 0, &y), MHA_OK);
  EXPECT_EQ(y[0], CachedToy::expected(rows_of(20, 1)));
}

// Where each query brings its key, new_keys says nothing else.
TEST_F(Cache, NewKeysAreThoseOfTheQueries) {
  make(1, 0);
  const int32_t a = sequence();
  CachedToy::Args args = {};
  args.call.size = sizeof args;
  args.call.batch = 1;
  args.call.query_length = 3;
  args.call.cache = cache;
  args.call.sequences = &a;
  args.call.new_keys = 2;
  expect(mha_run(&toy.kernel, one, &args), MHA_OUT_OF_RANGE, "one key for each query: leave");
  args.call.new_keys = 3;
  expect(mha_run(&toy.kernel, one, &args), MHA_INVALID_ARGUMENT, "'key' was not given");
  // A query may bring its key, or all may bring none.
  toy.kernel.new_keys_kind = MHA_NEW_KEYS_OF_QUERIES_OR_NONE;
  args.call.new_keys = 2;
  expect(mha_run(&toy.kernel, one, &args), MHA_OUT_OF_RANGE, "one key for each query, or none: 0");
}

// While a call runs, everything else with that cache is refused and has no effect.
TEST_F(Cache, BusyWhileACallRuns) {
  make(3, 0);
  const int32_t a = sequence(), b = sequence();
  CachedToy::on_append = [&] {
    int32_t number = -1;
    int64_t keys = -1;
    expect(mha_sequence_create(cache, &number), MHA_BUSY, "in use by another call");
    expect(mha_sequence_fork(cache, a, &number), MHA_BUSY, "in use");
    expect(mha_sequence_rewind(cache, a, 0), MHA_BUSY, "in use");
    expect(mha_sequence_destroy(cache, a), MHA_BUSY, "in use");
    expect(mha_sequence_length(cache, a, &keys), MHA_BUSY, "in use");
    expect(mha_cache_pages(cache, &keys, nullptr, nullptr), MHA_BUSY, "in use");
    float rows[32];
    expect(mha_cache_read(cache, 0, a, 0, 0, MHA_F32, rows, rows), MHA_BUSY, "in use");
    expect(mha_cache_append(cache, 0, a, 1, MHA_F32, rows, rows), MHA_BUSY, "in use");
    return 0;
  };
  EXPECT_EQ(append({a, b}, 3, 1), MHA_OK) << mha_last_message();
  CachedToy::on_append = nullptr;
  EXPECT_EQ(length(a), 3);
}

// Many threads want one cache; each is served or told that it is busy, and no row is lost.
TEST_F(Cache, ThreadsAreServedOneAtATime) {
  make(8, 0);
  TestContext two(2);
  std::atomic<int> served{0}, busy{0};
  int32_t numbers[4];
  for (int32_t& number : numbers) number = sequence();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 40;) {
        std::vector<float> y;
        const std::vector<std::vector<CachedRow>> rows = {rows_of(1, static_cast<float>(t) - 1)};
        const mha_status status = toy.call(two, cache, 0, {numbers[t]}, rows, CachedToy::kRun, &y);
        if (status == MHA_BUSY) {
          ++busy;
          std::this_thread::yield();
          continue;
        }
        ASSERT_EQ(status, MHA_OK) << mha_last_message();
        ++served;
        ++round;
        ASSERT_EQ(y[0], CachedToy::expected(rows_of(round, static_cast<float>(t) - 1)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(served, 160);
  for (int32_t number : numbers) EXPECT_EQ(length(number), 40);
}

}  // namespace
}  // namespace mha
