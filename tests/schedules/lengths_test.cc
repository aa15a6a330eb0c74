// Ranges of lengths: what the default makes of them, and what a set of variants must keep to.
#include "schedules/lengths.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/schedules/plans.h"

namespace mha {
namespace {

const char kAttention[] =
    "{version: 1, name: t, op: attention, heads: 8, d_head: 64, query_length: {min: 1, max: 512}}";
const char kBlock[] =
    "{version: 1, name: t, op: block, d_model: 256, heads: 4, query_length: {min: 1, max: 512}}";

std::vector<int64_t> ends(const std::vector<LengthVariant>& variants) {
  std::vector<int64_t> ends;
  for (const LengthVariant& variant : variants) ends.push_back(variant.max_query_length);
  return ends;
}

TEST(Lengths, ThePlanIsNarrowed) {
  const Plan plan = plan_of(kAttention);
  const Plan narrow = narrowed(plan, {17, 48});
  EXPECT_EQ(narrow.query_length, (Range{17, 48}));
  EXPECT_EQ(narrow.keys(), (Range{17, 48}));  // Lk is Lq
  Plan back = narrow;
  back.query_length = back.key_length = plan.query_length;
  EXPECT_EQ(back, plan);
  const Plan keys = plan_of(
      "{version: 1, name: t, op: attention, heads: 1, d_head: 8, query_length: {min: 1, max: 9},"
      " key_length: {min: 2, max: 70}}");
  EXPECT_EQ(narrowed(keys, {1, 3}).keys(), (Range{2, 70}));
}

TEST(Lengths, TheDefaultOfARangeIsSeveral) {
  const Machine zen5 = machine_named("zen5");
  const Plan plan = plan_of(kAttention);
  const std::vector<LengthVariant> variants = default_variants(plan, zen5, 1);
  EXPECT_EQ(ends(variants), (std::vector<int64_t>{16, 48, 128, 512}));
  EXPECT_EQ(served(variants, 0, plan), (Range{1, 16}));
  EXPECT_EQ(served(variants, 3, plan), (Range{129, 512}));
  EXPECT_EQ(variants[0].schedule.stage("attention").get("query_block"), 16);
  EXPECT_EQ(variants[1].schedule.stage("attention").get("query_block"), 48);
  // The longest calls get what the whole range would get alone.
  EXPECT_EQ(variants[3].schedule.stages, default_schedule(plan, zen5, 1).stages);
  EXPECT_EQ(ends(default_variants(plan_of(kBlock), machine_named("x86-64-v3"), 1)),
            (std::vector<int64_t>{8, 24, 64, 512}));
}

// Over a cache one query has code of its own, a few are decoded, and more are one prefill's.
TEST(Lengths, OverACacheOneQueryIsAVariant) {
  const std::string config =
      "{version: 1, name: t, op: attention, heads: 8, kv_heads: 2, d_head: 64,"
      " kv_cache: {capacity: 4096}, query_length: {min: 1, max: ";
  for (const char* target : {"zen5", "x86-64-v3", "x86-64-v2"}) {
    SCOPED_TRACE(target);
    const Machine machine = machine_named(target);
    const Plan plan = plan_of(config + "512}}");
    const std::vector<LengthVariant> variants = default_variants(plan, machine, 1);
    EXPECT_EQ(check_variants(variants, plan, machine), std::vector<std::string>());
    EXPECT_EQ(variants[0].max_query_length, 1);
    int64_t longest_decode = 0;
    for (const LengthVariant& variant : variants) {
      if (variant.schedule.stages[0].stage == "decode") longest_decode = variant.max_query_length;
    }
    EXPECT_EQ(longest_decode, 16);
    EXPECT_EQ(default_variants(plan_of(config + "2}}"), machine, 1).size(), 2u);
    // Heads and widths that no tile was made for.
    for (const char* heads :
         {"heads: 6, kv_heads: 2, d_head: 16", "heads: 7, kv_heads: 1, d_head: 24",
          "heads: 12, d_head: 80, d_value: 200"}) {
      const Plan odd = plan_of(std::string("{version: 1, name: t, op: attention, ") + heads +
                               ", kv_cache: {capacity: 64}, query_length: {min: 1, max: 33}}");
      EXPECT_EQ(check_variants(default_variants(odd, machine, 1), odd, machine),
                std::vector<std::string>())
          << heads;
    }
  }
}

// A call of few rows multiplies no more of them than it has: its time is that of reading weights.
TEST(Lengths, FewRowsHaveTilesOfTheirOwn) {
  const Machine zen4 = machine_named("zen4");
  const std::string block =
      "{version: 1, name: t, op: block, d_model: 256, heads: 4, kv_cache: {capacity: 64}, batch: ";
  const auto tiles = [&](const std::string& more) {
    const Plan plan = plan_of(block + more + "}");
    std::vector<int64_t> found;
    for (const LengthVariant& variant : default_variants(plan, zen4, 1))
      found.push_back(variant.schedule.stage("project_qkv").get("row_tile"));
    return found;
  };
  using Tiles = std::vector<int64_t>;
  EXPECT_EQ(tiles("1, query_length: {min: 1, max: 64}"), (Tiles{1, 4, 8, 8, 8}));
  // Batches of one token: of any size up to the largest.
  EXPECT_EQ(tiles("{min: 1, max: 3}, query_length: 1"), Tiles{3});
  EXPECT_EQ(tiles("{min: 1, max: 8}, query_length: 1"), Tiles{8});
  EXPECT_EQ(tiles("{min: 1, max: 8}, query_length: 1, weights: int8"), Tiles{4});
  EXPECT_EQ(tiles("{min: 1, max: 64}, query_length: 1, weights: int8"), Tiles{8});
  EXPECT_EQ(tiles("8, query_length: 1"), Tiles{8});
}

TEST(Lengths, TheDefaultOfALengthIsOne) {
  const Plan plan = plan_of(
      "{version: 1, name: t, op: attention, heads: 8, d_head: 64, query_length: 512,"
      " key_length: {min: 1, max: 512}}");
  const Machine zen5 = machine_named("zen5");
  const std::vector<LengthVariant> variants = default_variants(plan, zen5, 1);
  ASSERT_EQ(ends(variants), (std::vector<int64_t>{512}));
  EXPECT_EQ(variants[0].schedule.stages, default_schedule(plan, zen5, 1).stages);
}

// What was found for the longest calls leaves the shorter ones what the default gives them.
TEST(Lengths, AScheduleForTheLongest) {
  const Machine zen5 = machine_named("zen5");
  const Plan plan = plan_of(kBlock);
  Schedule found = with(default_schedule(plan, zen5, 1), "project_out", "panel_vectors", 4);
  found = with(with(found, "project_out", "row_tile", 4), "attention", "query_block", 96);
  const std::vector<LengthVariant> usual = default_variants(plan, zen5, 1);
  const std::vector<LengthVariant> variants = for_longest(found, plan, zen5, 1);
  EXPECT_EQ(ends(variants), ends(usual));
  EXPECT_EQ(check_variants(variants, plan, zen5), std::vector<std::string>());
  EXPECT_EQ(variants.back().schedule.stages, found.stages);
  EXPECT_EQ(variants[0].schedule.stage("attention"), usual[0].schedule.stage("attention"));
  EXPECT_EQ(variants[0].schedule.stage("project_out"), found.stage("project_out"));
  const Plan one = narrowed(plan, {512, 512});
  EXPECT_EQ(for_longest(found, one, zen5, 1).size(), 1u);
}

TEST(Lengths, DefaultsAreLegalAndFew) {
  std::mt19937_64 random(test_seed());
  std::vector<Plan> plans;
  for (const auto& [path, plan] : shipped_plans()) plans.push_back(plan);
  for (int i = 0; i < 200; ++i) {
    if (const auto config = random_config(random)) plans.push_back(plan_of(*config));
  }
  for (Plan plan : plans) {
    for (const int64_t min : {int64_t{1}, plan.query_length.max / 2, plan.query_length.max}) {
      const Plan ranged = narrowed(plan, {std::max<int64_t>(min, 1), plan.query_length.max});
      for (const Machine& machine : named_machines()) {
        const std::vector<LengthVariant> variants = default_variants(ranged, machine, 1);
        EXPECT_EQ(check_variants(variants, ranged, machine), std::vector<std::string>())
            << plan.name << " from " << min << " for " << machine.target;
      }
    }
  }
}

TEST(Lengths, WhatVariantsMustKeepTo) {
  using Problems = std::vector<std::string>;
  const Machine zen5 = machine_named("zen5");
  const Plan plan = plan_of(kBlock);
  const Schedule schedule = default_schedule(plan, zen5, 1);
  const auto check = [&](const std::vector<LengthVariant>& variants) {
    return check_variants(variants, plan, zen5);
  };
  EXPECT_EQ(check({{512, schedule}}), Problems());
  EXPECT_EQ(check({{16, schedule}, {512, schedule}}), Problems());
  EXPECT_EQ(check({}), (Problems{"there is no variant"}));
  EXPECT_EQ(check({{16, schedule}, {16, schedule}, {512, schedule}}),
            (Problems{"variant to 16: must be more than 16"}));
  EXPECT_EQ(check({{0, schedule}, {512, schedule}}),
            (Problems{"variant to 0: must be more than 0"}));
  EXPECT_EQ(check({{16, schedule}, {511, schedule}}),
            (Problems{"variant to 511: the last must be to 512"}));
  EXPECT_EQ(check({{513, schedule}}), (Problems{"variant to 513: the last must be to 512"}));
  EXPECT_EQ(check({{1, schedule},
                   {2, schedule},
                   {3, schedule},
                   {4, schedule},
                   {5, schedule},
                   {6, schedule},
                   {512, schedule}}),
            (Problems{"7 variants: at most 6"}));
  // What decides how weights are packed must be the same; all else may differ.
  const Schedule rows = with(schedule, "project_qkv", "row_tile", 4);
  EXPECT_EQ(check({{16, rows}, {512, schedule}}), Problems());
  const Schedule panel = with(schedule, "project_out", "panel_vectors", 1);
  EXPECT_EQ(check({{16, schedule}, {512, panel}}),
            (Problems{"variant to 512: project_out.panel_vectors = 1: weights are packed once for "
                      "all variants: must be 2 as in the first"}));
  const Schedule broken = with(schedule, "attention", "value_rows", 7);
  ASSERT_EQ(check({{16, broken}, {512, schedule}}).size(), 1u);
  EXPECT_EQ(check({{16, broken}, {512, schedule}})[0].substr(0, 40),
            "variant to 16: attention.value_rows = 7:");
}

}  // namespace
}  // namespace mha
