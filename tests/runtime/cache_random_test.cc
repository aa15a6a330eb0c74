// Random lives of sequences in a cache, against a model that has a plain list of rows for each
// sequence and knows which pages ought to be shared.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "tests/runtime/cached_toy.h"
#include "tests/runtime/toy_kernel.h"

namespace mha {
namespace {

constexpr int32_t kLayers = 2;

struct ModelSequence {
  std::vector<CachedRow> rows[kLayers];
  std::vector<std::shared_ptr<int>> pages;  // their identity is all there is to them

  int64_t longest() const { return static_cast<int64_t>(std::max(rows[0].size(), rows[1].size())); }
  int64_t shortest() const {
    return static_cast<int64_t>(std::min(rows[0].size(), rows[1].size()));
  }
};

struct Case {
  CachedToyOptions options;
  int32_t sequences;
  int64_t pages;
};

class Life {
 public:
  Life(const Case& c, uint64_t seed, int32_t threads)
      : case_(c), toy_(c.options), context_(threads), random_(seed) {
    mha_cache_options options = {sizeof options, c.sequences, kLayers, c.pages};
    EXPECT_EQ(mha_cache_create(&toy_.kernel, &options, &cache_), MHA_OK) << mha_last_message();
    page_ = toy_.info.page;
  }
  ~Life() { mha_cache_destroy(cache_); }

  void step() {
    switch (pick(10)) {
      case 0:
        return create();
      case 1:
        return fork();
      case 2:
        return rewind();
      case 3:
        return pick(3) == 0 ? destroy() : create();
      case 4:
        return append_rows();
      case 5:
        return call(CachedToy::kAppend);
      case 6:
        return call(CachedToy::kShared);
      case 7:
        return fork();
      default:
        return call(CachedToy::kRun);
    }
  }

  // What the cache says of everything, against the model.
  void check() {
    std::set<int*> held;
    for (const auto& [number, sequence] : model_) {
      for (const auto& page : sequence.pages) held.insert(page.get());
      int64_t length = -1;
      EXPECT_EQ(mha_sequence_length(cache_, number, &length), MHA_OK);
      EXPECT_EQ(length, sequence.shortest());
      for (int32_t layer = 0; layer < kLayers; ++layer) {
        std::vector<CachedRow> rows;
        const int64_t count = static_cast<int64_t>(sequence.rows[layer].size());
        EXPECT_EQ(toy_.read(cache_, layer, number, 0, count, &rows), MHA_OK);
        EXPECT_EQ(rows, sequence.rows[layer]) << "sequence " << number << ", layer " << layer;
      }
    }
    int64_t free_pages = -1, pages = -1;
    EXPECT_EQ(mha_cache_pages(cache_, &free_pages, &pages, nullptr), MHA_OK);
    EXPECT_EQ(pages, case_.pages);
    EXPECT_EQ(pages - free_pages, static_cast<int64_t>(held.size()));
  }

  void destroy_all() {
    while (!model_.empty()) {
      EXPECT_EQ(mha_sequence_destroy(cache_, model_.begin()->first), MHA_OK);
      model_.erase(model_.begin());
    }
    check();
  }

  int64_t full = 0, over = 0, shared = 0, copies = 0;  // how often each was met

 private:
  int64_t pick(int64_t below) {
    return std::uniform_int_distribution<int64_t>(0, below - 1)(random_);
  }
  int32_t any() {
    auto it = model_.begin();
    std::advance(it, pick(static_cast<int64_t>(model_.size())));
    return it->first;
  }
  std::vector<CachedRow> some_rows(int64_t count) {
    std::vector<CachedRow> rows(static_cast<size_t>(count));
    const auto fill = [&](std::vector<float>* numbers, int64_t width) {
      for (int64_t i = 0; i < case_.options.kv_heads * width; ++i)
        numbers->push_back(static_cast<float>(pick(5) - 2));
    };
    for (CachedRow& row : rows) {
      fill(&row.key, kCachedHead);
      fill(&row.value, kCachedValue);
    }
    return rows;
  }

  bool room() const { return static_cast<int32_t>(model_.size()) < case_.sequences; }

  void create() {
    int32_t number = -1;
    ASSERT_EQ(mha_sequence_create(cache_, &number), room() ? MHA_OK : MHA_CACHE_FULL);
    if (!room()) return;
    EXPECT_EQ(model_.count(number), 0u);
    model_[number] = {};
  }

  void fork() {
    if (model_.empty()) return;
    const int32_t from = any();
    int32_t number = -1;
    ASSERT_EQ(mha_sequence_fork(cache_, from, &number), room() ? MHA_OK : MHA_CACHE_FULL);
    if (!room()) return;
    EXPECT_EQ(model_.count(number), 0u);
    const ModelSequence copy = model_[from];
    model_[number] = copy;
  }

  void trim(ModelSequence* sequence) const {
    sequence->pages.resize(static_cast<size_t>((sequence->longest() + page_ - 1) / page_));
  }

  void rewind() {
    if (model_.empty()) return;
    const int32_t number = any();
    ModelSequence& sequence = model_[number];
    const int64_t length = pick(sequence.longest() + 1);
    ASSERT_EQ(mha_sequence_rewind(cache_, number, length), MHA_OK) << mha_last_message();
    for (auto& rows : sequence.rows)
      rows.resize(std::min(rows.size(), static_cast<size_t>(length)));
    trim(&sequence);
  }

  void destroy() {
    if (model_.empty()) return;
    const int32_t number = any();
    ASSERT_EQ(mha_sequence_destroy(cache_, number), MHA_OK);
    model_.erase(number);
    int64_t length;
    EXPECT_EQ(mha_sequence_length(cache_, number, &length), MHA_OUT_OF_RANGE);
  }

  // What becomes of the model when these sequences get these rows; the status that this must have.
  mha_status extend(int32_t layer, const std::vector<int32_t>& numbers,
                    const std::vector<std::vector<CachedRow>>& rows) {
    std::map<int32_t, ModelSequence> after = model_;
    for (size_t b = 0; b < numbers.size(); ++b) {
      ModelSequence& sequence = after[numbers[b]];
      auto& all = sequence.rows[layer];
      const size_t first = all.size(), page = static_cast<size_t>(page_);
      all.insert(all.end(), rows[b].begin(), rows[b].end());
      if (static_cast<int64_t>(all.size()) > case_.options.capacity) {
        ++over;
        return MHA_OUT_OF_RANGE;
      }
      for (size_t p = first / page; p * page < all.size() && !rows[b].empty(); ++p) {
        if (p >= sequence.pages.size()) {
          sequence.pages.push_back(std::make_shared<int>());
        } else if (users(after, sequence.pages[p]) > 1) {
          ++copies;
          sequence.pages[p] = std::make_shared<int>();
        }
      }
    }
    std::set<int*> held;
    for (const auto& [number, sequence] : after) {
      for (const auto& one : sequence.pages) held.insert(one.get());
    }
    if (static_cast<int64_t>(held.size()) > case_.pages) {
      ++full;
      return MHA_CACHE_FULL;
    }
    model_ = after;
    return MHA_OK;
  }
  static int users(const std::map<int32_t, ModelSequence>& model,
                   const std::shared_ptr<int>& page) {
    int count = 0;
    for (const auto& [number, sequence] : model) {
      for (const auto& one : sequence.pages) count += one == page;
    }
    return count;
  }

  void append_rows() {
    if (model_.empty()) return;
    const int32_t number = any(), layer = static_cast<int32_t>(pick(kLayers));
    const std::vector<CachedRow> rows = some_rows(pick(20));
    std::vector<float> keys, values;
    for (const CachedRow& row : rows) {
      keys.insert(keys.end(), row.key.begin(), row.key.end());
      values.insert(values.end(), row.value.begin(), row.value.end());
    }
    const mha_status status =
        mha_cache_append(cache_, layer, number, static_cast<int64_t>(rows.size()), MHA_F32,
                         keys.data(), values.data());
    EXPECT_EQ(status, extend(layer, {number}, {rows})) << mha_last_message();
  }

  void call(CachedToy::Entry entry) {
    std::vector<int32_t> numbers;
    const int32_t relative = model_.empty() ? 0 : any();
    for (const auto& [number, sequence] : model_) {
      const auto& pages = model_[relative].pages;
      const bool related =
          !pages.empty() && !sequence.pages.empty() && sequence.pages[0] == pages[0];
      if (entry == CachedToy::kShared && !related) continue;
      if (numbers.size() < 6 && pick(3) > 0) numbers.push_back(number);
    }
    std::shuffle(numbers.begin(), numbers.end(), random_);
    if (numbers.empty()) return;
    const int32_t layer = static_cast<int32_t>(pick(kLayers));
    const int64_t count = pick(4) == 0 ? 1 + pick(40) : 1 + pick(3);
    std::vector<std::vector<CachedRow>> rows;
    for (size_t b = 0; b < numbers.size(); ++b)
      rows.push_back(some_rows(case_.options.packed && b > 0 ? pick(count + 1) : count));
    const int64_t prefix = common_prefix(numbers, layer);
    CachedToy::prefix_tasks = 0;
    std::vector<float> y;
    const mha_status status = toy_.call(context_, cache_, layer, numbers, rows, entry, &y);
    ASSERT_EQ(status, extend(layer, numbers, rows)) << mha_last_message();
    for (size_t b = 0; b < numbers.size(); ++b) {
      const bool written = status == MHA_OK && entry != CachedToy::kAppend;
      EXPECT_EQ(y[b], written ? CachedToy::expected(model_[numbers[b]].rows[layer]) : -7.0f)
          << "sequence " << numbers[b];
    }
    const bool uses = status == MHA_OK && entry == CachedToy::kShared;
    EXPECT_EQ(CachedToy::prefix_tasks, uses ? prefix / 16 : 0);
    shared += uses && prefix > 0;
  }

  // Keys in the leading pages that are whole and the same in all, in the model.
  int64_t common_prefix(const std::vector<int32_t>& numbers, int32_t layer) {
    if (numbers.size() < 2) return 0;
    int64_t pages = 0;
    for (;; ++pages) {
      for (int32_t number : numbers) {
        const ModelSequence& sequence = model_[number];
        if (static_cast<int64_t>(sequence.rows[layer].size()) < (pages + 1) * page_ ||
            sequence.pages[static_cast<size_t>(pages)] !=
                model_[numbers[0]].pages[static_cast<size_t>(pages)]) {
          return pages * page_;
        }
      }
    }
  }

  const Case case_;
  CachedToy toy_;
  TestContext context_;
  std::mt19937_64 random_;
  mha_cache* cache_ = nullptr;
  int64_t page_ = 0;
  std::map<int32_t, ModelSequence> model_;
};

// MHA_TEST_SEED repeats one life, MHA_TEST_ROUNDS makes more of them.
TEST(CacheRandom, LivesOfSequences) {
  const char* given = std::getenv("MHA_TEST_SEED");
  const char* rounds = std::getenv("MHA_TEST_ROUNDS");
  const uint64_t first = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  const int64_t count = given ? 1 : rounds ? std::strtoll(rounds, nullptr, 10) : 40;
  int64_t full = 0, over = 0, shared = 0, copies = 0;
  for (uint64_t seed = first; seed < first + static_cast<uint64_t>(count); ++seed) {
    SCOPED_TRACE("repeat with MHA_TEST_SEED=" + std::to_string(seed));
    std::mt19937_64 random(seed);
    const mha_dtype dtypes[] = {MHA_F32, MHA_BF16, MHA_F16};
    Case c;
    c.options.dtype = dtypes[random() % 3];
    c.options.page = random() % 4 == 0 ? 0 : random() % 2 == 0 ? 16 : 32;
    c.options.packed = random() % 2 == 0;
    c.sequences = static_cast<int32_t>(2 + random() % 6);
    c.pages = static_cast<int64_t>(3 + random() % 20);
    Life life(c, random(), 1 + static_cast<int32_t>(random() % 3));
    for (int step = 0; step < 150 && !testing::Test::HasFailure(); ++step) {
      life.step();
      life.check();
    }
    if (!testing::Test::HasFailure()) life.destroy_all();
    if (testing::Test::HasFailure()) return;
    full += life.full;
    over += life.over;
    shared += life.shared;
    copies += life.copies;
  }
  if (given) return;
  EXPECT_GT(full, count);
  EXPECT_GT(over, 0);
  EXPECT_GT(shared, 0);
  EXPECT_GT(copies, count);
}

}  // namespace
}  // namespace mha
