// Caches in the oracle: what a sequence has behind it counts as if it had come in one call.
#include <cmath>

#include "generator/spec/error.h"
#include "tests/numeric/reference_tools.h"

namespace mha {
namespace {

// Rows [first, first + count) of axis 1 of [B, L, ...].
Array rows(const Array& whole, int64_t first, int64_t count) {
  Array part{whole.shape, {}};
  part.shape[1] = count;
  const int64_t batch = whole.shape[0], length = whole.shape[1];
  const int64_t width = static_cast<int64_t>(whole.values.size()) / (batch * length);
  for (int64_t b = 0; b < batch; ++b) {
    const auto begin = whole.values.begin() + (b * length + first) * width;
    part.values.insert(part.values.end(), begin, begin + count * width);
  }
  return part;
}

const char* const kBlock =
    "d_model: 20\nheads: 4\nkv_heads: 2\nd_head: 6\nd_value: 5\nbatch: 2\n"
    "query_length: {min: 1, max: 9}\nmask: {causal: true}\nqk_norm: {}\nrope: {style: half}\n"
    "outputs: [output, lse]\n";

TEST(Cache, PrefillInPiecesIsOnePrefill) {
  const Spec once = parsed(kBlock);
  const Spec cached = parsed(std::string(kBlock) + "kv_cache: {capacity: 32}\n");
  const Arrays inputs = random_arrays(once, {2, 9, 9}, 4);
  const Arrays want = reference(once, {2, 9, 9}, inputs).outputs;

  Arrays call = inputs;
  call["past_key"] = {{2, 0, 2, 6}, {}};
  call["past_value"] = {{2, 0, 2, 5}, {}};
  call["cache_lengths"] = {{2}, {0, 0}};
  int64_t done = 0;
  for (int64_t count : {4, 1, 3, 1}) {
    call["x"] = rows(inputs.at("x"), done, count);
    CallLengths lengths{2, count, count};
    lengths.past = done;
    const Arrays got = reference(cached, lengths, call).outputs;
    const Array part = rows(want.at("output"), done, count);
    for (size_t n = 0; n < part.values.size(); ++n) {
      EXPECT_NEAR(got.at("output").values[n], part.values[n], 1e-13) << done << " " << n;
    }
    done += count;
    ASSERT_EQ(got.at("present_key").shape, (std::vector<int64_t>{2, done, 2, 6}));
    call["past_key"] = got.at("present_key");
    call["past_value"] = got.at("present_value");
    call["cache_lengths"].values = {static_cast<double>(done), static_cast<double>(done)};
  }
  EXPECT_EQ(done, 9);
}

const char* const kDecode =
    "op: attention\nheads: 4\nkv_heads: 2\nd_head: 6\nd_value: 5\nbatch: 3\nquery_length: 2\n"
    "softcap: 3\nalibi: true\nmask: {causal: true, window: {left: 20}}\n"
    "outputs: [output, weights, lse, scores, scores_masked]\n";

TEST(Cache, SequencesOfDifferentLengths) {
  const Spec spec = parsed(std::string(kDecode) + "kv_cache: {capacity: 40}\n");
  CallLengths lengths{3, 2, 2};
  lengths.past = 32;
  Arrays inputs = random_arrays(spec, lengths, 5);
  inputs["cache_lengths"].values = {32, 0, 17};
  const Reference got = reference(spec, lengths, inputs);
  for (size_t b = 0; b < 3; ++b) {
    // Each alone, without a cache: its keys joined, its queries where they stand.
    const auto old = static_cast<int64_t>(inputs.at("cache_lengths").values[b]);
    Spec alone = parsed(std::string(kDecode) +
                        "query_offset: end\nkey_length: " + std::to_string(old + 2) + "\n");
    Arrays joined;
    for (const auto& [name, past, width] : {std::tuple{"key", "past_key", size_t{12}},
                                            std::tuple{"value", "past_value", size_t{10}}}) {
      Array all{{1, old + 2, 2, static_cast<int64_t>(width / 2)}, {}};
      const auto behind = inputs.at(past).values.begin() + static_cast<ptrdiff_t>(b * 32 * width);
      const auto fresh = inputs.at(name).values.begin() + static_cast<ptrdiff_t>(b * 2 * width);
      all.values.assign(behind, behind + old * static_cast<int64_t>(width));
      all.values.insert(all.values.end(), fresh, fresh + static_cast<ptrdiff_t>(2 * width));
      const Array& present = got.outputs.at(std::string("present_") + name);
      for (size_t n = 0; n < 34 * width; ++n) {
        EXPECT_EQ(present.values[b * 34 * width + n], n < all.values.size() ? all.values[n] : 0);
      }
      joined[name] = std::move(all);
    }
    joined["query"] = {{1, 2, 4, 6}, {}};
    const auto query = inputs.at("query").values.begin() + static_cast<ptrdiff_t>(b * 48);
    joined["query"].values.assign(query, query + 48);
    const Reference want = reference(alone, {1, 2, old + 2}, joined);
    for (size_t n = 0; n < 40; ++n) {
      EXPECT_NEAR(got.outputs.at("output").values[b * 40 + n], want.outputs.at("output").values[n],
                  1e-14);
    }
    for (size_t n = 0; n < 8; ++n) {
      EXPECT_NEAR(got.outputs.at("lse").values[b * 8 + n], want.outputs.at("lse").values[n], 1e-14);
      for (size_t j = 0; j < 34; ++j) {
        const bool inside = j < static_cast<size_t>(old + 2);
        for (const char* name : {"weights", "scores", "scores_masked"}) {
          const double hidden = std::string(name) == "scores_masked" ? -INFINITY : 0;
          const double expected =
              inside ? want.outputs.at(name).values[n * static_cast<size_t>(old + 2) + j] : hidden;
          const double value = got.outputs.at(name).values[(b * 8 + n) * 34 + j];
          if (std::isinf(expected)) {
            EXPECT_EQ(value, expected);
          } else {
            EXPECT_NEAR(value, expected, 1e-14);
          }
        }
      }
    }
  }
  expect_bounds_hold(spec, lengths, inputs);
}

TEST(Cache, PagesInAnyOrder) {
  const Spec spec =
      parsed(std::string(kDecode) + "kv_cache: {capacity: 48, layout: paged, page: 16}\n");
  CallLengths dense{3, 2, 2};
  dense.past = 32;
  Arrays inputs = random_arrays(spec, dense, 5);
  inputs["cache_lengths"].values = {32, 5, 17};
  const Reference want = reference(spec, dense, inputs);

  CallLengths paged = dense;
  paged.pages = 7;
  paged.blocks = 2;
  inputs["block_table"] = {{3, 2}, {4, 1, 6, 0, 2, 5}};
  for (const auto& [name, width] :
       {std::pair{"past_key", size_t{12}}, std::pair{"past_value", size_t{10}}}) {
    const Array old = inputs.at(name);
    Array pages{{7, 16, 2, static_cast<int64_t>(width / 2)},
                std::vector<double>(7 * 16 * width, NAN)};
    for (size_t block = 0; block < 6; ++block) {
      const auto page = static_cast<size_t>(inputs.at("block_table").values[block]);
      std::copy_n(old.values.begin() + static_cast<ptrdiff_t>(block * 16 * width), 16 * width,
                  pages.values.begin() + static_cast<ptrdiff_t>(page * 16 * width));
    }
    inputs[name] = std::move(pages);
  }
  const Reference got = reference(spec, paged, inputs);
  for (const auto& [name, array] : want.outputs)
    EXPECT_EQ(got.outputs.at(name).values, array.values);
  inputs["block_table"].values[5] = 7;
  EXPECT_THROW(reference(spec, paged, inputs), UserError);
}

TEST(Cache, PackedRowsOfSeveralSequences) {
  const std::string text =
      "op: attention\nheads: 2\nd_head: 4\nbatch: 3\nquery_length: {min: 1, max: 4}\n"
      "mask: {causal: true}\nrope: {style: interleaved}\nkv_cache: {capacity: 16}\n"
      "outputs: [output, weights]\n";
  const Spec spec = parsed(text + "packed: true\n");
  CallLengths lengths{3, 4, 4, 5};
  lengths.past = 6;
  Arrays inputs = random_arrays(spec, lengths, 3);
  inputs["sequence_starts"].values = {0, 1, 1, 5};
  inputs["cache_lengths"].values = {6, 2, 3};
  const Arrays got = reference(spec, lengths, inputs).outputs;
  // The last sequence as a batch of its own.
  Spec alone = parsed(text);
  Arrays its = inputs;
  for (const char* name : {"query", "key", "value"}) {
    its[name].shape = {1, 4, 2, 4};
    its[name].values.erase(its[name].values.begin(), its[name].values.begin() + 8);
  }
  for (const char* name : {"past_key", "past_value"}) {
    its[name].shape[0] = 1;
    its[name].values.erase(its[name].values.begin(), its[name].values.begin() + 2 * 48);
  }
  its["cache_lengths"] = {{1}, {3}};
  CallLengths of_one{1, 4, 4};
  of_one.past = 6;
  const Arrays want = reference(alone, of_one, its).outputs;
  for (size_t n = 0; n < 32; ++n) {
    EXPECT_EQ(got.at("output").values[8 + n], want.at("output").values[n]);
  }
  for (size_t h = 0; h < 2; ++h) {
    for (size_t n = 0; n < 40; ++n) {
      EXPECT_EQ(got.at("weights").values[(h * 5 + 1) * 10 + n],
                want.at("weights").values[h * 40 + n]);
    }
  }
  for (size_t n = 0; n < 80; ++n) {
    EXPECT_EQ(got.at("present_key").values[160 + n], want.at("present_key").values[n]);
  }
}

}  // namespace
}  // namespace mha
