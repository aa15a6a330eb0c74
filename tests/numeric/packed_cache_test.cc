// Packed calls of kernels with a cache whose sequences are all shorter than query_length, which is
// fixed and as large as the cache: the call's Lk is what the longest has.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/numeric/harness.h"

namespace mha {
namespace {

constexpr int64_t kWidth = 16;

std::string config(const std::string& lengths) {
  return "version: 1\nname: packed_cache\nop: attention\nheads: 1\nd_head: 16\n"
         "outputs: [output, weights]\n" +
         lengths;
}

// Sequences of these many rows, all of them new, against calls of one sequence without a cache.
void expect_right(int64_t most, const std::vector<int64_t>& counts) {
  const std::string size = std::to_string(most);
  const TestKernel kernel(config("query_length: " + size +
                                 "\npacked: true\nbatch: " + std::to_string(counts.size()) +
                                 "\nkv_cache: {capacity: " + size + "}\n"));
  const Spec plain = spec_of(config("query_length: {min: 1, max: " + size + "}\n"));
  const RuntimeApi& api = kernel.library().api();
  const int64_t longest = *std::max_element(counts.begin(), counts.end());
  std::vector<int32_t> starts = {0}, numbers;
  std::map<std::string, std::vector<float>> rows;
  std::vector<Reference> want;
  mha_cache* cache = nullptr;
  mha_cache_options options = {};
  options.size = sizeof options;
  options.sequences = static_cast<int32_t>(counts.size());
  check_status(api, api.cache_create(&kernel.library().kernel(), &options, &cache));
  for (int64_t count : counts) {
    const CallLengths one{1, count, count};
    const HostTensors inputs = random_inputs(plain, one, test_seed(5) + starts.size());
    want.push_back(reference(plain, one, arrays_of(inputs)));
    for (const char* name : {"query", "key", "value"}) {
      const std::vector<float>& more = inputs.at(name).floats;
      rows[name].insert(rows[name].end(), more.begin(), more.end());
    }
    starts.push_back(starts.back() + static_cast<int32_t>(count));
    check_status(api, api.sequence_create(cache, &numbers.emplace_back()));
  }
  const int64_t total = starts.back();

  CallLengths lengths{static_cast<int64_t>(counts.size()), most, most};
  lengths.total = total;
  Call call(kernel.library(), lengths, 1);
  for (auto& [name, numbers_of] : rows) call.bind(name, numbers_of.data());
  call.bind("sequence_starts", starts.data());
  const GuardedBytes output(static_cast<size_t>(total * kWidth) * 4),
      weights(static_cast<size_t>(total * longest) * 4);
  for (const GuardedBytes* bytes : {&output, &weights})
    std::memset(bytes->data(), 0xff, bytes->size());
  call.bind("output", output.data());
  call.bind("weights", weights.data());
  call.arguments().key_length = 0;
  call.arguments().cache = cache;
  call.arguments().sequences = numbers.data();
  call.run();
  api.cache_destroy(cache);

  const float *o = static_cast<const float*>(output.data()),
              *w = static_cast<const float*>(weights.data());
  for (size_t b = 0; b < counts.size(); ++b) {
    const Array &values = want[b].outputs.at("output"), &bounds = want[b].bounds.at("output");
    const Array &probabilities = want[b].outputs.at("weights"),
                &margins = want[b].bounds.at("weights");
    for (int64_t i = 0; i < counts[b]; ++i) {
      const int64_t row = starts[b] + i;
      for (int64_t d = 0; d < kWidth; ++d) {
        const auto at = static_cast<size_t>(i * kWidth + d);
        ASSERT_NEAR(o[row * kWidth + d], values.values[at], bounds.values[at])
            << "sequence " << b << ", row " << i;
      }
      for (int64_t k = 0; k < longest; ++k) {
        const auto at = static_cast<size_t>(i * counts[b] + k);
        const bool is_key = k < counts[b];
        ASSERT_NEAR(w[row * longest + k], is_key ? probabilities.values[at] : 0.0,
                    is_key ? margins.values[at] : 0.0)
            << "sequence " << b << ", row " << i << ", key " << k;
      }
    }
  }
}

TEST(PackedCache, ShorterThanQueryLength) { expect_right(64, {40, 3}); }

TEST(PackedCache, DecodedShorterThanQueryLength) { expect_right(16, {9, 2, 1}); }

}  // namespace
}  // namespace mha
