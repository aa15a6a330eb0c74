#include "tools/reference/cached.h"

#include <algorithm>
#include <string>
#include <type_traits>

#include "generator/spec/error.h"
#include "tools/reference/visibility.h"

namespace mha {
namespace {

// Where element 0 of row i of a head lies in past_key or past_value.
class Past {
 public:
  Past(const Spec& spec, const CallLengths& lengths, const Arrays& inputs, int64_t heads,
       int64_t width)
      : spec_(spec), lengths_(lengths), heads_(heads), width_(width) {
    if (lengths.pages > 0) table_ = &input_named(inputs, "block_table");
  }

  size_t at(int64_t b, int64_t h, int64_t i) const {
    if (table_ == nullptr && spec_.layout == Layout::kBhsd) {
      return static_cast<size_t>(((b * heads_ + h) * lengths_.past + i) * width_);
    }
    int64_t row = b * lengths_.past + i;
    if (table_ != nullptr) {
      const int64_t page = spec_.kv_cache->page;
      const auto entry = static_cast<size_t>(b * lengths_.blocks + i / page);
      const auto number = static_cast<int64_t>(table_->values[entry]);
      if (number < 0 || number >= lengths_.pages) {
        throw UserError("block_table[" + std::to_string(b) + "," + std::to_string(i / page) +
                        "] is " + std::to_string(number) + ", of " +
                        std::to_string(lengths_.pages) + " pages");
      }
      row = number * page + i % page;
    }
    return static_cast<size_t>((row * heads_ + h) * width_);
  }

 private:
  const Spec& spec_;
  const CallLengths& lengths_;
  const int64_t heads_, width_;
  const Array* table_ = nullptr;
};

}  // namespace

template <typename T>
Heads<T> behind_cache(const Spec& spec, const CallLengths& lengths, const Arrays& inputs,
                      const char* past, const Heads<T>& fresh) {
  const std::vector<double>& values = input_named(inputs, past).values;
  const std::vector<double>& cached = input_named(inputs, "cache_lengths").values;
  const Past place(spec, lengths, inputs, fresh.heads, fresh.width);
  Heads<T> all(fresh.batch, fresh.heads, lengths.all_keys(), fresh.width,
               std::is_same_v<T, double>);
  for (int64_t b = 0; b < fresh.batch; ++b) {
    const auto old = static_cast<int64_t>(cached[static_cast<size_t>(b)]);
    if (old < 0 || old > lengths.past) {
      throw UserError("cache_lengths[" + std::to_string(b) + "] is " + std::to_string(old) +
                      ", of " + std::to_string(lengths.past) + " keys");
    }
    for (int64_t h = 0; h < fresh.heads; ++h) {
      for (int64_t i = 0; i < old; ++i) {
        std::copy_n(values.begin() + static_cast<ptrdiff_t>(place.at(b, h, i)), fresh.width,
                    all.values.begin() + static_cast<ptrdiff_t>(all.at(b, h, i)));
      }
      const auto from = static_cast<ptrdiff_t>(fresh.at(b, h, 0));
      const auto to = static_cast<ptrdiff_t>(all.at(b, h, old));
      const int64_t count = fresh.length * fresh.width;
      std::copy_n(fresh.values.begin() + from, count, all.values.begin() + to);
      if (!fresh.errors.empty()) {
        std::copy_n(fresh.errors.begin() + from, count, all.errors.begin() + to);
      }
    }
  }
  return all;
}

template Heads<float> behind_cache(const Spec&, const CallLengths&, const Arrays&, const char*,
                                   const Heads<float>&);
template Heads<double> behind_cache(const Spec&, const CallLengths&, const Arrays&, const char*,
                                    const Heads<double>&);

}  // namespace mha
