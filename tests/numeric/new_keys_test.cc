// Caches whose calls bring other numbers of keys than of queries, or none: keys of a second input,
// and key_length of op attention.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/numeric/harness.h"

namespace mha {
namespace {

CallLengths lengths_of(int64_t batch, int64_t query, int64_t key, int64_t past) {
  CallLengths lengths{batch, query, key};
  lengths.past = past;
  return lengths;
}

// Calls of all kinds, held against the reference: some new keys, none, none but in some sequences'
// pasts, and none at all.
void expect_right(const std::string& yaml, const std::vector<CallLengths>& calls) {
  const TestKernel kernel(yaml);
  Tally tally;
  for (const CallLengths& lengths : calls) {
    SCOPED_TRACE("B=" + std::to_string(lengths.batch) + " Lq=" + std::to_string(lengths.query) +
                 " new keys " + std::to_string(lengths.key) + " past " +
                 std::to_string(lengths.past) + "\n" + yaml);
    const HostTensors inputs = random_inputs(kernel.spec(), lengths, test_seed(7));
    const Outputs outputs = run_kernel(kernel, lengths, inputs, {});
    EXPECT_EQ(check_against_reference(kernel, lengths, inputs, outputs, false, &tally), "");
    const Outputs again = run_kernel(kernel, lengths, inputs, {.threads = 2, .strided = true});
    for (const auto& [name, values] : outputs)
      EXPECT_TRUE(same_bits(values, again.at(name))) << name << " differs when strided";
  }
  EXPECT_GT(tally.compared, 0);
}

const char* const kCrossed =
    "version: 1\nname: new_keys\nd_model: 48\nheads: 4\nkv_heads: 2\nd_head: 20\ncross: true\n"
    "batch: {min: 1, max: 3}\nprojection_bias: {q: true, k: true, v: true, out: true}\n";

TEST(NewKeys, OfASecondInput) {
  expect_right(std::string(kCrossed) +
                   "query_length: {min: 1, max: 40}\nkey_length: {min: 2, max: 70}\n"
                   "kv_cache: {capacity: 150, layout: paged, page: 16}\n",
               {lengths_of(2, 40, 70, 0), lengths_of(3, 1, 0, 150), lengths_of(2, 33, 0, 61),
                lengths_of(3, 5, 2, 100), lengths_of(2, 3, 0, 0)});
}

// One row for each of the queries, or none.
TEST(NewKeys, OfASecondInputWithoutKeyLength) {
  const std::string more = "kv_cache: {capacity: 64}\noutputs: [output, lse, weights]\n";
  expect_right(std::string(kCrossed) + "query_length: {min: 1, max: 20}\nd_value: 7\n" + more,
               {lengths_of(3, 20, 20, 44), lengths_of(3, 20, 0, 64), lengths_of(2, 1, 0, 9)});
  expect_right(std::string(kCrossed) + "query_length: 1\n" + more,
               {lengths_of(3, 1, 1, 63), lengths_of(3, 1, 0, 64)});
  CallLengths some = lengths_of(3, 20, 20, 30), none = lengths_of(3, 20, 0, 30);
  some.total = none.total = 1;  // drawn by random_lengths()
  const std::string packed =
      std::string(kCrossed) + "query_length: {min: 1, max: 20}\npacked: true\n" + more;
  const Spec spec = spec_of(packed);
  expect_right(
      packed, {random_lengths(spec, some, test_seed(7)), random_lengths(spec, none, test_seed(7))});
}

TEST(NewKeys, OfAttention) {
  const std::string base =
      "version: 1\nname: new_keys\nop: attention\nheads: 4\nkv_heads: 2\nd_head: 24\n"
      "d_value: 10\nbatch: {min: 1, max: 3}\nquery_length: {min: 1, max: 40}\n"
      "key_length: {min: 1, max: 33}\nkv_cache: {capacity: 200, layout: paged, page: 32}\n";
  const std::vector<CallLengths> calls = {lengths_of(3, 40, 33, 167), lengths_of(3, 1, 33, 20),
                                          lengths_of(2, 40, 0, 200), lengths_of(3, 2, 0, 77),
                                          lengths_of(2, 2, 0, 0)};
  expect_right(base + "outputs: [output, lse, weights, scores, scores_masked]\ntop_k: 3\n", calls);
  // Places: new keys may stand before and behind a query, and queries behind all keys.
  expect_right(base +
                   "mask: {causal: true, window: {left: 50}}\nrope: {style: half}\nqk_norm: {}\n"
                   "alibi: true\nlayout: bhsd\n",
               calls);
  expect_right(base +
                   "mask: {rule: \"doc[min(q, 199)] == doc[k] or k < 3\", key_lengths: true, "
                   "tensor: bool}\ntable: {doc: [200]}\nsink: true\n",
               calls);
}

// What an encoder-decoder model does: the encoder's rows go in once, in pieces here, and then each
// step attends to them. The same as without a cache, within both bounds.
TEST(NewKeys, AppendedOnceAndReadByEveryStep) {
  const std::string shared = std::string(kCrossed) + "query_length: {min: 1, max: 9}\n";
  const TestKernel kernel(shared +
                          "key_length: {min: 1, max: 60}\n"
                          "kv_cache: {capacity: 60, layout: paged, page: 16}\n");
  const Spec plain = spec_of(shared + "key_length: 60\n");
  const CallLengths all{2, 9, 60};
  HostTensors inputs = random_inputs(plain, all, 3);
  const Reference want = reference(plain, all, arrays_of(inputs));
  const RuntimeApi& api = kernel.library().api();
  mha_cache* cache = nullptr;
  mha_cache_options options = {};
  options.size = sizeof options;
  options.sequences = 2;
  check_status(api, api.cache_create(&kernel.library().kernel(), &options, &cache));
  int32_t numbers[2];
  for (int32_t& number : numbers) check_status(api, api.sequence_create(cache, &number));
  const auto run = [&](Call::Entry entry, const CallLengths& lengths, const std::string& name,
                       int64_t first, int64_t count, std::vector<float>* output) {
    Call call(kernel.library(), lengths, 2);
    std::vector<float> rows;
    for (int64_t b = 0; b < 2; ++b) {
      const HostTensor& from = inputs.at(name);
      const auto begin = from.floats.begin() + (b * from.decl.shape[1] + first) * 48;
      rows.insert(rows.end(), begin, begin + count * 48);
    }
    call.bind(name, rows.data());
    if (output != nullptr) call.bind("output", output->data());
    std::vector<mha_weight_array> arrays;
    for (const TensorDecl& decl : weight_tensors(kernel.spec())) {
      mha_weight_array array = {};
      array.name = inputs.find(decl.name)->first.c_str();
      array.data = inputs.at(decl.name).data();
      array.dtype = MHA_F32;
      array.rank = static_cast<int32_t>(decl.shape.size());
      std::copy(decl.shape.begin(), decl.shape.end(), array.shape);
      arrays.push_back(array);
    }
    call.create_weights(arrays);
    call.arguments().cache = cache;
    call.arguments().sequences = numbers;
    call.set_entry(entry);
    call.run();
  };
  run(Call::kAppend, lengths_of(2, 1, 35, 0), "memory", 0, 35, nullptr);
  run(Call::kAppend, lengths_of(2, 1, 25, 35), "memory", 35, 25, nullptr);
  int64_t done = 0;
  for (int64_t count : {1, 1, 4, 3}) {
    std::vector<float> output(static_cast<size_t>(2 * count * 48));
    const Call::Entry entry = count == 4 ? Call::kDecodeShared : Call::kRun;
    run(entry, lengths_of(2, count, 0, 60), "x", done, count, &output);
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t n = 0; n < count * 48; ++n) {
        const auto at = static_cast<size_t>((b * 9 + done) * 48 + n);
        ASSERT_NEAR(output[static_cast<size_t>(b * count * 48 + n)],
                    want.outputs.at("output").values[at], want.bounds.at("output").values[at])
            << "sequence " << b << ", query " << done + n / 48;
      }
    }
    done += count;
  }
  for (int32_t number : numbers) {
    int64_t length = 0;
    check_status(api, api.sequence_length(cache, number, &length));
    EXPECT_EQ(length, 60);
  }
  api.cache_destroy(cache);
}

}  // namespace
}  // namespace mha
