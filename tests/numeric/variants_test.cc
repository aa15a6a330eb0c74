// Kernels that hold several variants of their stages: calls at every boundary between two, held
// against the reference and against a kernel with one variant for all lengths.
#include <gtest/gtest.h>

#include <vector>

#include "generator/ir/lower.h"
#include "schedules/lengths.h"
#include "tests/numeric/harness.h"

namespace mha {
namespace {

// Variants as different as can be, with boundaries that are no multiples of any block.
std::vector<LengthVariant> variants_for(const Spec& spec) {
  const Plan plan = *lower(spec).plan;
  const Machine machine = host_machine();
  std::vector<LengthVariant> variants;
  int64_t first = plan.query_length.min;
  const std::vector<int64_t> ends = {5, 21, 40, plan.query_length.max};
  for (size_t i = 0; i < ends.size(); ++i) {
    const Plan own = narrowed(plan, {first, ends[i]});
    variants.push_back({ends[i], default_schedule(own, machine, 1)});
    for (StageSchedule& stage : variants.back().schedule.stages) {
      for (auto& [name, value] : stage.params) {
        const int64_t old = value;
        // Where a rule forbids it, the value stays.
        if (name == "task_rows") value = 8 << i;
        if (name == "row_tile") value = i % 2 == 0 ? 4 : 8;
        if (name == "key_block" && i % 2 == 0) value = 96;
        if (!check_stage(stage, own, machine).empty()) value = old;
      }
    }
    first = ends[i] + 1;
  }
  EXPECT_EQ(check_variants(variants, plan, machine), std::vector<std::string>());
  return variants;
}

TestKernel kernel_with(const std::string& yaml, std::vector<LengthVariant> variants) {
  GenerateOptions options;
  options.threads = 1;
  options.variants = std::move(variants);
  return TestKernel(yaml, generate(spec_of(yaml), options));
}

void expect_right(const std::string& yaml, const std::vector<CallLengths>& calls) {
  SCOPED_TRACE(yaml);
  const Spec spec = spec_of(yaml);
  const std::vector<LengthVariant> variants = variants_for(spec);
  const TestKernel kernel = kernel_with(yaml, variants);
  const TestKernel plain = kernel_with(yaml, {variants.back()});
  ASSERT_EQ(kernel.library().kernel().variant_count, variants.size());
  ASSERT_EQ(plain.library().kernel().variant_count, 1u);
  // Weights are packed the same for all.
  ASSERT_EQ(kernel.library().kernel().pack_count, plain.library().kernel().pack_count);
  for (const CallLengths& lengths : calls) {
    SCOPED_TRACE(lengths.query);
    HostTensors inputs = random_inputs(spec, lengths, static_cast<uint64_t>(lengths.query));
    if (spec.packed) {  // the longest sequence, one row, the longest again
      const int32_t longest = static_cast<int32_t>(lengths.query);
      inputs.at("sequence_starts").ints = {0, longest, longest + 1, 2 * longest + 1};
    }
    Tally tally;
    const Outputs one = run_kernel(kernel, lengths, inputs, {});
    EXPECT_EQ(check_against_reference(kernel, lengths, inputs, one, false, &tally), "");
    const Outputs other = run_kernel(plain, lengths, inputs, {});
    EXPECT_EQ(check_against_reference(plain, lengths, inputs, other, false, &tally), "");
    const Outputs two = run_kernel(kernel, lengths, inputs, {.threads = 2, .strided = true});
    for (const auto& [name, values] : one) EXPECT_TRUE(same_bits(values, two.at(name))) << name;
    if (lengths.query > variants[2].max_query_length) {
      for (const auto& [name, values] : one) EXPECT_TRUE(same_bits(values, other.at(name))) << name;
    }
  }
}

const std::vector<int64_t> kBoundaries = {1, 5, 6, 21, 22, 40, 41, 83};

TEST(VariantsOfAKernel, OfAttention) {
  std::vector<CallLengths> calls;
  for (const int64_t queries : kBoundaries) calls.push_back({2, queries, 3 * queries / 2 + 1});
  expect_right(
      "{version: 1, name: t, op: attention, heads: 2, d_head: 20, batch: 2,"
      " query_length: {min: 1, max: 83}, key_length: {min: 1, max: 130}, query_offset: end,"
      " mask: {causal: true, key_lengths: true}, outputs: [output, weights, lse]}",
      calls);
}

TEST(VariantsOfAKernel, OfABlock) {
  std::vector<CallLengths> calls;
  for (const int64_t queries : kBoundaries) calls.push_back({2, queries, queries});
  expect_right(
      "{version: 1, name: t, op: block, d_model: 40, heads: 4, kv_heads: 2, d_head: 16,"
      " batch: 2, query_length: {min: 1, max: 83}}",
      calls);
}

// What decides is the query length of the call, which of a packed batch bounds its sequences.
TEST(VariantsOfAKernel, OfPackedBatches) {
  std::vector<CallLengths> calls;
  for (const int64_t queries : kBoundaries) {
    calls.push_back({3, queries, queries, 2 * queries + 1});
  }
  expect_right(
      "{version: 1, name: t, op: block, d_model: 40, heads: 2, d_head: 16, packed: true,"
      " batch: {min: 1, max: 3}, query_length: {min: 1, max: 83}}",
      calls);
}

}  // namespace
}  // namespace mha
