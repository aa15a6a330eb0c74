// Kernels with a cache through all their entry points: sequences that are appended to, decoded in
// pieces of any length, forked, rewound and decoded together, each row held against the reference
// of one call that has all tokens at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>

#include "tests/numeric/decode_tasks.h"
#include "tests/numeric/harness.h"
#include "tools/mha-run/call_cache.h"

namespace mha {
namespace {

constexpr int64_t kBatch = 4;
constexpr int64_t kTokens = 430;  // of each sequence
// The first ones, which all sequences have in common: more than tasks read at a time.
constexpr int64_t kCommon = 330, kSplit = 64;

// Rows of `inner` numbers of a tensor [B, L, ...].
struct RowsOf {
  int64_t length, inner;
  explicit RowsOf(const TensorDecl& decl)
      : length(decl.shape[1]), inner(decl.elements() / decl.shape[0] / decl.shape[1]) {}
  std::ptrdiff_t at(int64_t b, int64_t row) const { return (b * length + row) * inner; }
};

class Sequences {
 public:
  Sequences(const std::string& yaml, uint64_t seed)
      : kernel_(yaml, generate_with_split(yaml, kSplit)),
        shared_tasks_(kernel_, "decode_shared"),
        spec_(kernel_.spec()),
        random_(seed) {
    CallLengths all;
    all.batch = kBatch;
    all.query = all.key = kTokens;
    inputs_ = random_inputs(spec_, all, seed);
    for (auto& [name, tensor] : inputs_) {
      if (!has_rows(name)) continue;
      const RowsOf rows(tensor.decl);
      for (int64_t b = 1; b < kBatch; ++b) {
        std::copy_n(tensor.floats.begin(), kCommon * rows.inner,
                    tensor.floats.begin() + rows.at(b, 0));
      }
    }
    want_ = reference(spec_, all, arrays_of(inputs_));
    mha_cache_options options = {};
    options.size = sizeof options;
    options.sequences = kBatch + 1;
    check_status(api(), api().cache_create(&kernel_.library().kernel(), &options, &cache_));
    for (int64_t b = 0; b < kBatch; ++b) {
      int32_t number = 0;
      check_status(api(), api().sequence_create(cache_, &number));
      numbers_.push_back(number);
      lengths_.push_back(0);
    }
  }
  ~Sequences() { api().cache_destroy(cache_); }

  // All sequences begin as forks of one that has most of the common tokens, whole splits of them.
  void begin() {
    constexpr int64_t kShared = kCommon / kSplit * kSplit;
    while (lengths_[0] < kShared) {
      const int64_t count = std::min(spec_.query_length.max, kShared - lengths_[0]);
      run(Call::kAppend, {0}, count, 1);
      lengths_[0] += count;
    }
    for (int64_t b = 1; b < kBatch; ++b) fork(0, index(b));
    // In pages of which a split has a whole number, the keys that all share end right before the
    // queries.
    go_on(Call::kDecodeShared, {0, 1, 2, 3}, 1);
  }

  void step() {
    switch (pick(6)) {
      case 0:
        return rewind();
      case 1:
        return fork(index(pick(kBatch)), index(pick(kBatch)));
      case 2:
        return call(Call::kAppend);
      case 3:
        return call(Call::kDecodeShared);
      default:
        return call(Call::kRun);
    }
  }

  int64_t shared_tasks() const { return shared_tasks_.count(); }
  bool paged() const { return spec_.kv_cache->paged; }

  int64_t rows_compared = 0;
  std::string problem;

 private:
  const RuntimeApi& api() const { return kernel_.library().api(); }
  int64_t pick(int64_t below) {
    return std::uniform_int_distribution<int64_t>(0, below - 1)(random_);
  }
  static bool has_rows(const std::string& name) {
    return name == "query" || name == "key" || name == "value" || name == "x";
  }
  size_t index(int64_t b) const { return static_cast<size_t>(b); }

  void rewind() {
    const size_t b = index(pick(kBatch));
    leave_nan(b);
    const int64_t to = std::max<int64_t>(lengths_[b] - pick(pick(6) == 0 ? 200 : 30), 0);
    check_status(api(), api().sequence_rewind(cache_, numbers_[b], to));
    lengths_[b] = to;
  }

  // Rows behind the end of a sequence, to be rewound over: nobody may read what is left of them.
  void leave_nan(size_t b) {
    const int64_t count = std::min<int64_t>(24, spec_.kv_cache->capacity - lengths_[b]);
    if (count <= 0) return;
    const mha_cache_info& info = *kernel_.library().kernel().cache;
    const std::vector<float> rows(
        index(count * info.kv_heads * std::max(info.d_head, info.d_value)),
        std::numeric_limits<float>::quiet_NaN());
    check_status(api(), api().cache_append(cache_, 0, numbers_[b], count, MHA_F32, rows.data(),
                                           rows.data()));
  }

  // One sequence becomes a fork of another, as far as both have the same tokens.
  void fork(size_t from, size_t to) {
    if (from == to) return;
    check_status(api(), api().sequence_destroy(cache_, numbers_[to]));
    check_status(api(), api().sequence_fork(cache_, numbers_[from], &numbers_[to]));
    lengths_[to] = std::min(lengths_[from], kCommon);
    check_status(api(), api().sequence_rewind(cache_, numbers_[to], lengths_[to]));
  }

  void call(Call::Entry entry) {
    const int64_t count = pick(2) == 0 ? 1 : 1 + pick(spec_.query_length.max);
    std::vector<int64_t> chosen;
    for (int64_t b = 0; b < kBatch; ++b) {
      if (pick(4) > 0 && lengths_[index(b)] + count <= kTokens) chosen.push_back(b);
    }
    std::shuffle(chosen.begin(), chosen.end(), random_);
    if (!chosen.empty()) go_on(entry, chosen, count);
  }

  void go_on(Call::Entry entry, const std::vector<int64_t>& chosen, int64_t count) {
    const Outputs got = run(entry, chosen, count, 1 + static_cast<int>(pick(2)));
    for (size_t c = 0; c < chosen.size(); ++c) {
      if (entry != Call::kAppend) compare_rows(got, static_cast<int64_t>(c), chosen[c], count);
      lengths_[index(chosen[c])] += count;
    }
  }

  Outputs run(Call::Entry entry, const std::vector<int64_t>& chosen, int64_t count, int threads) {
    CallLengths lengths;
    lengths.batch = static_cast<int64_t>(chosen.size());
    lengths.query = lengths.key = count;
    for (int64_t b : chosen) lengths.past = std::max(lengths.past, lengths_[index(b)]);
    Call call(kernel_.library(), lengths, threads);
    HostTensors inputs;
    for (const TensorDecl& decl : input_tensors(spec_, lengths)) {
      if (CallCache::holds(decl.name)) continue;
      HostTensor& tensor = inputs.emplace(decl.name, HostTensor(decl)).first->second;
      if (!has_rows(decl.name)) {
        tensor = inputs_.at(decl.name);
        call.bind(decl.name, tensor.view());
        continue;
      }
      const HostTensor& all = inputs_.at(decl.name);
      const RowsOf from(all.decl), to(decl);
      for (size_t c = 0; c < chosen.size(); ++c) {
        std::copy_n(all.floats.begin() + from.at(chosen[c], lengths_[index(chosen[c])]),
                    count * to.inner, tensor.floats.begin() + to.at(static_cast<int64_t>(c), 0));
      }
      call.bind(decl.name, tensor.view());
    }
    std::vector<HostTensor> outputs;
    for (const TensorDecl& decl : output_tensors(spec_, lengths)) {
      if (decl.name.starts_with("present_")) continue;
      outputs.emplace_back(decl);
    }
    if (entry != Call::kAppend) {
      for (HostTensor& output : outputs) call.bind(output.decl.name, output.data());
    }
    std::vector<mha_weight_array> arrays;
    for (const TensorDecl& decl : weight_tensors(spec_)) {
      mha_weight_array array = {};
      array.name = inputs_.find(decl.name)->first.c_str();
      array.data = inputs_.at(decl.name).data();
      array.dtype = runtime_dtype(decl.dtype);
      array.rank = static_cast<int32_t>(decl.shape.size());
      std::copy(decl.shape.begin(), decl.shape.end(), array.shape);
      arrays.push_back(array);
    }
    if (spec_.op == Op::kBlock) call.create_weights(arrays);
    std::vector<int32_t> numbers;
    for (int64_t b : chosen) numbers.push_back(numbers_[index(b)]);
    call.arguments().cache = cache_;
    call.arguments().sequences = numbers.data();
    call.set_entry(entry);
    call.run();
    Outputs got;
    for (HostTensor& output : outputs) {
      output.read_back();
      got[output.decl.name] = output.floats;
    }
    return got;
  }

  // Row c of `got`, of `count` queries each, against those of sequence b from where it stands on.
  void compare_rows(const Outputs& got, int64_t c, int64_t b, int64_t count) {
    const std::vector<float>& values = got.at("output");
    const Array &want = want_.outputs.at("output"), &bound = want_.bounds.at("output");
    const int64_t inner = static_cast<int64_t>(want.values.size()) / (kBatch * kTokens);
    for (int64_t i = 0; i < count; ++i, ++rows_compared) {
      for (int64_t n = 0; n < inner; ++n) {
        const double value = values[index((c * count + i) * inner + n)];
        const size_t at = index((b * kTokens + lengths_[index(b)] + i) * inner + n);
        if (std::abs(value - want.values[at]) <= bound.values[at]) continue;
        if (!problem.empty()) return;
        problem = "sequence " + std::to_string(b) + ", token " +
                  std::to_string(lengths_[index(b)] + i) + ", number " + std::to_string(n) + ": " +
                  std::to_string(value) + ", wanted " + std::to_string(want.values[at]) +
                  " within " + std::to_string(bound.values[at]);
      }
    }
  }

  TestKernel kernel_;
  TaskCounter shared_tasks_;
  const Spec& spec_;
  std::mt19937_64 random_;
  HostTensors inputs_;
  Reference want_;
  mha_cache* cache_ = nullptr;
  std::vector<int32_t> numbers_;
  std::vector<int64_t> lengths_;
};

void expect_right(const std::string& yaml) {
  const uint64_t seed = test_seed(1);
  SCOPED_TRACE("repeat with MHA_TEST_SEED=" + std::to_string(seed) + " for\n" + yaml);
  Sequences sequences(yaml, seed);
  sequences.begin();
  // Of each of the KV heads, in the one call so far.
  if (sequences.paged()) EXPECT_GE(sequences.shared_tasks(), kCommon / kSplit - 1);
  for (int step = 0; step < 100 && sequences.problem.empty(); ++step) sequences.step();
  EXPECT_EQ(sequences.problem, "");
  EXPECT_GT(sequences.rows_compared, 300);
}

std::string config(const std::string& more) {
  return "version: 1\nname: cached\nbatch: {min: 1, max: 4}\nquery_length: {min: 1, max: 40}\n"
         "mask: {causal: true}\n" +
         more;
}

TEST(EntryPoints, PagedInGroups) {
  expect_right(
      config("op: attention\nheads: 6\nkv_heads: 2\nd_head: 40\nd_value: 24\n"
             "kv_cache: {capacity: 432, layout: paged, page: 16}\n"));
}

TEST(EntryPoints, ContiguousAndOdd) {
  expect_right(
      config("op: attention\nheads: 3\nd_head: 33\nd_value: 17\nkv_cache: {capacity: 431}\n"));
}

TEST(EntryPoints, OneKvHeadOfABlock) {
  expect_right(
      config("op: block\nd_model: 64\nheads: 4\nkv_heads: 1\n"
             "kv_cache: {capacity: 430, layout: paged, page: 48}\n"));
}

// Positions go on where the cache stands, and keys are turned and normed once.
TEST(EntryPoints, RotatedAndNormed) {
  expect_right(
      config("op: attention\nheads: 4\nkv_heads: 2\nd_head: 16\nrope: {style: half}\n"
             "qk_norm: {}\nkv_cache: {capacity: 430, layout: paged, page: 32}\n"));
}

// Pairs of keys whose halves are hidden: sequences end, and windows begin, at any key.
TEST(EntryPoints, BF16) {
  expect_right(
      "version: 1\nname: cached\ndtype: bf16\nbatch: {min: 1, max: 4}\nquery_length: {min: 1, max: "
      "40}\nmask: {window: {left: 90, right: 0}}\nop: attention\nheads: 4\nkv_heads: 2\n"
      "d_head: 23\nd_value: 40\nkv_cache: {capacity: 430, layout: paged, page: 32}\n");
}

TEST(EntryPoints, BF16OfABlock) {
  expect_right(
      "version: 1\nname: cached\ndtype: bf16\nbatch: {min: 1, max: 4}\nquery_length: {min: 1, max: "
      "4}\nmask: {causal: true}\nop: block\nd_model: 64\nheads: 4\nkv_heads: 1\nweights: f32\n"
      "rope: {style: half}\nqk_norm: {}\nkv_cache: {capacity: 430}\n");
}

TEST(EntryPoints, F16) {
  expect_right(
      "version: 1\nname: cached\ndtype: f16\nbatch: {min: 1, max: 4}\nquery_length: {min: 1, max: "
      "4}\nmask: {causal: true}\nop: attention\nheads: 6\nkv_heads: 2\nd_head: 40\nd_value: 24\n"
      "kv_cache: {capacity: 432, layout: paged, page: 16}\n");
}

// Groups of heads of all sizes, and a KV head that nobody reads.
TEST(EntryPoints, PrunedHeads) {
  expect_right(
      config("op: attention\nheads: 9\nkv_heads: 3\nd_head: 16\npruned_heads: [0, 1, 6, 7, 8]\n"
             "kv_cache: {capacity: 430, layout: paged, page: 32}\n"));
}

TEST(EntryPoints, AWindow) {
  expect_right(
      "version: 1\nname: cached\nbatch: {min: 1, max: 4}\nquery_length: {min: 1, max: 40}\n"
      "mask: {window: {left: 90, right: 0}}\nop: attention\nlayout: bshd\nheads: 4\n"
      "kv_heads: 4\nd_head: 20\nkv_cache: {capacity: 430, layout: paged, page: 64}\n");
}

// Limits that hide keys which lie right before the queries, those that all sequences share too.
TEST(EntryPoints, KeysFarBehind) {
  expect_right(
      "version: 1\nname: cached\nbatch: {min: 1, max: 4}\nquery_length: {min: 1, max: 16}\n"
      "mask: {rule: \"q - k > 5 and (k % 7 != 2 or h == 1)\"}\nop: attention\nheads: 4\n"
      "kv_heads: 2\nd_head: 8\nsink: true\nalibi: true\n"
      "kv_cache: {capacity: 432, layout: paged, page: 16}\n");
}

}  // namespace
}  // namespace mha
