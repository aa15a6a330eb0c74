#include "tools/mha-run/call_cache.h"

#include <algorithm>

#include "generator/spec/error.h"

namespace mha {
namespace {

// The rows of one tensor that holds a past or a present: [B, L, G, W] or [B, G, L, W], or pages
// [pages, page, G, W] behind a block table, of which each sequence has `blocks` entries.
class Rows {
 public:
  Rows(const Spec& spec, const TensorDecl& decl, const std::vector<int32_t>* table, int64_t blocks)
      : spec_(spec), shape_(decl.shape), table_(table), blocks_(blocks) {}

  int64_t width() const { return shape_[3]; }
  std::ptrdiff_t at(int64_t b, int64_t row, int64_t g) const {
    if (table_ != nullptr) {
      const int64_t page = shape_[1];
      const int64_t number = (*table_)[static_cast<size_t>(b * blocks_ + row / page)];
      return ((number * page + row % page) * shape_[2] + g) * shape_[3];
    }
    const bool bhsd = spec_.layout == Layout::kBhsd;
    const int64_t outer = bhsd ? g : row, inner = bhsd ? row : g;
    return ((b * shape_[1] + outer) * shape_[2] + inner) * shape_[3];
  }

 private:
  const Spec& spec_;
  const std::vector<int64_t>& shape_;
  const std::vector<int32_t>* table_;
  const int64_t blocks_;
};

const std::vector<int32_t>* table_of(const HostTensors& inputs) {
  const auto found = inputs.find("block_table");
  return found == inputs.end() ? nullptr : &found->second.ints;
}

// Entries of the table for each sequence.
int64_t blocks_of(const HostTensors& inputs) {
  const std::vector<int32_t>* table = table_of(inputs);
  if (table == nullptr) return 0;
  return static_cast<int64_t>(table->size() / inputs.at("cache_lengths").ints.size());
}

}  // namespace

std::vector<int64_t> kept_kv_heads(const Spec& spec) {
  const int64_t group = spec.heads / spec.kv_heads;
  std::vector<int64_t> kept;
  for (int64_t h = 0; h < spec.heads; ++h) {
    if (is_pruned(spec, h)) continue;
    if (kept.empty() || kept.back() != h / group) kept.push_back(h / group);
  }
  return kept;
}

std::vector<float> past_rows(const Spec& spec, const HostTensors& inputs, const std::string& name,
                             int64_t b, int64_t first, int64_t end) {
  const HostTensor& past = inputs.at(name);
  const Rows rows(spec, past.decl, table_of(inputs), blocks_of(inputs));
  const std::vector<int64_t> heads = kept_kv_heads(spec);
  std::vector<float> numbers;
  for (int64_t row = first; row < end; ++row) {
    for (int64_t g : heads) {
      const auto at = past.floats.begin() + rows.at(b, row, g);
      numbers.insert(numbers.end(), at, at + rows.width());
    }
  }
  return numbers;
}

bool CallCache::holds(const std::string& tensor) {
  return tensor == "past_key" || tensor == "past_value" || tensor == "block_table" ||
         tensor == "cache_lengths" || tensor == "present_key" || tensor == "present_value";
}

CallCache::CallCache(const KernelLibrary& library, Call& call, const Spec& spec,
                     const CallLengths& lengths, const HostTensors& inputs)
    : library_(library), spec_(spec), heads_(kept_kv_heads(spec)) {
  const mha_cache_info* info = library.kernel().cache;
  if (info == nullptr) throw InternalError("kernel '" + spec.name + "' has no cache");
  if (static_cast<int64_t>(heads_.size()) != info->kv_heads) {
    throw InternalError("the cache of kernel '" + spec.name + "' has " +
                        std::to_string(info->kv_heads) + " heads");
  }
  mha_cache_options options = {};
  options.size = sizeof options;
  options.sequences = static_cast<int32_t>(lengths.batch);
  // As many pages as the call needs. A page that two share is copied when one goes on.
  const int64_t page = info->page;
  options.pages = lengths.batch * ((lengths.all_keys() + page - 1) / page);
  check_status(library.api(), library.api().cache_create(&library.kernel(), &options, &cache_));
  try {
    fill(lengths, inputs);
  } catch (...) {
    library.api().cache_destroy(cache_);
    throw;
  }
  call.arguments().cache = cache_;
  call.arguments().sequences = sequences_.data();
}

CallCache::~CallCache() { library_.api().cache_destroy(cache_); }

size_t CallCache::bytes() const { return library_.api().cache_bytes(cache_); }

void CallCache::fill(const CallLengths& lengths, const HostTensors& inputs) {
  const std::vector<int32_t>& cached = inputs.at("cache_lengths").ints;
  for (int64_t b = 0; b < lengths.batch; ++b) {
    cached_.push_back(cached[static_cast<size_t>(b)]);
    int64_t shared = 0;
    sequences_.push_back(begin_sequence(b, inputs, &shared));
    append(b, shared, inputs);
  }
}

// A new sequence, or a fork of the earlier one that has the most whole pages in common with it;
// *shared is the number of keys that it has then.
int32_t CallCache::begin_sequence(int64_t b, const HostTensors& inputs, int64_t* shared) {
  const RuntimeApi& api = library_.api();
  const std::vector<int32_t>* table = table_of(inputs);
  const int64_t page = library_.kernel().cache->page;
  int64_t best = 0, from = -1;
  const int64_t blocks = blocks_of(inputs);
  for (int64_t other = 0; other < b && table != nullptr; ++other) {
    const int64_t whole =
        std::min(cached_[static_cast<size_t>(b)], cached_[static_cast<size_t>(other)]) / page;
    const auto first = table->begin() + b * blocks, second = table->begin() + other * blocks;
    const int64_t same = std::mismatch(first, first + whole, second).first - first;
    if (same <= best) continue;
    best = same;
    from = other;
  }
  int32_t sequence = 0;
  if (from < 0) {
    check_status(api, api.sequence_create(cache_, &sequence));
    return sequence;
  }
  *shared = best * page;
  check_status(api, api.sequence_fork(cache_, sequences_[static_cast<size_t>(from)], &sequence));
  check_status(api, api.sequence_rewind(cache_, sequence, *shared));
  return sequence;
}

// Rows [first, cached) of sequence b, some at a time.
void CallCache::append(int64_t b, int64_t first, const HostTensors& inputs) {
  constexpr int64_t kRows = 256;
  for (const int64_t cached = cached_[static_cast<size_t>(b)]; first < cached; first += kRows) {
    const int64_t end = std::min(first + kRows, cached);
    const std::vector<float> keys = past_rows(spec_, inputs, "past_key", b, first, end);
    const std::vector<float> values = past_rows(spec_, inputs, "past_value", b, first, end);
    check_status(library_.api(),
                 library_.api().cache_append(cache_, 0, sequences_[static_cast<size_t>(b)],
                                             end - first, MHA_F32, keys.data(), values.data()));
  }
}

void CallCache::rewind() {
  for (size_t b = 0; b < sequences_.size(); ++b) {
    check_status(library_.api(), library_.api().sequence_rewind(cache_, sequences_[b], cached_[b]));
  }
}

void CallCache::read(HostTensor* present) const {
  const RuntimeApi& api = library_.api();
  const bool of_keys = present->decl.name == "present_key";
  const Rows rows(spec_, present->decl, nullptr, 0);
  std::fill(present->floats.begin(), present->floats.end(), 0.0f);
  const int64_t width = rows.width(), heads = static_cast<int64_t>(heads_.size());
  for (size_t b = 0; b < sequences_.size(); ++b) {
    int64_t length = 0;
    check_status(api, api.sequence_length(cache_, sequences_[b], &length));
    std::vector<float> numbers(static_cast<size_t>(length * heads * width));
    check_status(api, api.cache_read(cache_, 0, sequences_[b], 0, length, MHA_F32,
                                     of_keys ? numbers.data() : nullptr,
                                     of_keys ? nullptr : numbers.data()));
    auto from = numbers.begin();
    for (int64_t row = 0; row < length; ++row) {
      for (int64_t g : heads_) {
        std::copy_n(from, width,
                    present->floats.begin() + rows.at(static_cast<int64_t>(b), row, g));
        from += width;
      }
    }
  }
}

}  // namespace mha
