// The past of a call as --size and random tensors make it, and how the cache gets its rows.
#include <gtest/gtest.h>

#include <set>

#include "generator/spec/error.h"
#include "generator/spec/parse.h"
#include "tools/mha-run/call_cache.h"
#include "tools/mha-run/inputs.h"
#include "tools/mha-run/lengths.h"
#include "tools/mha-run/random.h"

namespace mha {
namespace {

Spec spec_with(const std::string& more) {
  const ParseResult parsed = parse_spec_text(
      "version: 1\nname: past\nop: attention\nheads: 4\nkv_heads: 2\nd_head: 8\nd_value: 4\n"
      "batch: {min: 1, max: 3}\nquery_length: {min: 1, max: 9}\n" +
          more,
      "test.yaml");
  EXPECT_TRUE(parsed.spec) << format_diagnostics(parsed.problems, parsed.text);
  return *parsed.spec;
}
const char* const kPaged = "kv_cache: {capacity: 64, layout: paged, page: 16}\n";

std::string refusal(const Spec& spec, const std::string& sizes) {
  try {
    resolve_lengths(spec, nullptr, parse_sizes(sizes, spec));
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Past, Sizes) {
  const Spec spec = spec_with(kPaged);
  const CallLengths most = resolve_lengths(spec, nullptr, {});
  EXPECT_EQ(most.past, 55);  // the capacity, less the new keys
  EXPECT_FALSE(most.full_past);
  const CallLengths some =
      resolve_lengths(spec, nullptr, parse_sizes("query_length=2,cached=40,shared=32", spec));
  EXPECT_EQ(some.past, 40);
  EXPECT_EQ(some.shared, 32);
  EXPECT_EQ(some.blocks, 3);
  EXPECT_EQ(some.pages, 2 + 3);  // two that all have, and one for each
  EXPECT_TRUE(some.full_past);
  EXPECT_EQ(resolve_lengths(spec, nullptr, parse_sizes("cached=0", spec)).past, 0);

  EXPECT_EQ(refusal(spec, "cached=56"),
            "--size: cached is 56; with 9 new keys the capacity allows up to 55");
  EXPECT_NE(refusal(spec, "cached=65").find("cached"), std::string::npos);
  EXPECT_NE(refusal(spec, "cached=40,shared=8").find("whole pages"), std::string::npos);
  EXPECT_NE(refusal(spec, "cached=40,shared=48").find("whole pages"), std::string::npos);
  EXPECT_NE(refusal(spec_with("kv_cache: {capacity: 64}\n"), "shared=16").find("a paged cache"),
            std::string::npos);
  EXPECT_NE(refusal(spec_with(""), "cached=3").find("unknown key 'cached'"), std::string::npos);
  EXPECT_NE(refusal(spec, "chached=3").find("cached and shared"), std::string::npos);
}

TEST(Past, RandomTensorsShareWhatTheyAreToldTo) {
  const Spec spec = spec_with(kPaged);
  const CallLengths lengths = random_lengths(
      spec, resolve_lengths(spec, nullptr, parse_sizes("query_length=1,cached=40,shared=32", spec)),
      7);
  const HostTensors inputs = random_input_tensors(spec, lengths, 7);
  EXPECT_EQ(inputs.at("cache_lengths").ints, (std::vector<int32_t>{40, 40, 40}));
  const std::vector<int32_t>& table = inputs.at("block_table").ints;
  ASSERT_EQ(table.size(), 9u);
  for (size_t n : {3u, 4u, 6u, 7u}) EXPECT_EQ(table[n], table[n % 3]);
  const std::set<int32_t> all(table.begin(), table.end());
  EXPECT_EQ(all.size(), 5u);
  EXPECT_EQ(*all.begin(), 0);
  EXPECT_EQ(*all.rbegin(), 4);
}

// Rows are those that the layout, or the block table, says; pruned KV heads have none.
TEST(Past, Rows) {
  for (const char* more : {"kv_cache: {capacity: 64}\n", "layout: bhsd\nkv_cache: {capacity: 64}\n",
                           "pruned_heads: [0, 1]\nkv_cache: {capacity: 64}\n", kPaged}) {
    SCOPED_TRACE(more);
    const Spec spec = spec_with(more);
    CallLengths lengths{2, 1, 1};
    lengths.past = 20;
    const bool paged = spec.kv_cache->paged;
    if (paged) {
      lengths.blocks = 2;
      lengths.pages = 4;
    }
    HostTensors inputs = random_input_tensors(spec, lengths, 1);
    HostTensor& past = inputs.at("past_value");
    for (size_t i = 0; i < past.floats.size(); ++i) past.floats[i] = static_cast<float>(i);
    if (paged) inputs.at("block_table").ints = {3, 1, 0, 2};
    const std::vector<float> rows = past_rows(spec, inputs, "past_value", 1, 17, 19);
    const std::vector<int64_t> heads = kept_kv_heads(spec);
    EXPECT_EQ(heads.size(), spec.pruned_heads.empty() ? 2u : 1u);
    std::vector<float> wanted;
    for (int64_t row = 17; row < 19; ++row) {
      for (int64_t g : heads) {
        const bool bhsd = spec.layout == Layout::kBhsd;
        int64_t at = bhsd ? (2 + g) * 20 + row : (20 + row) * 2 + g;
        if (paged) at = (2 * 16 + row - 16) * 2 + g;
        for (int64_t d = 0; d < 4; ++d) wanted.push_back(static_cast<float>(at * 4 + d));
      }
    }
    EXPECT_EQ(rows, wanted);
  }
}

}  // namespace
}  // namespace mha
