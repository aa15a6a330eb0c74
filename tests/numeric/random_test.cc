// Random specs, generated, called and held against the reference. MHA_TEST_SEED=N with
// --gtest_filter repeats one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "generator/spec/error.h"
#include "tests/numeric/harness.h"

namespace mha {
namespace {

constexpr uint64_t kDefaultSeed = 20240607;
constexpr int kSpecs = 60;

template <typename T>
T pick(Random& random, std::initializer_list<T> values) {
  return values.begin()[random.integer(0, static_cast<int64_t>(values.size()) - 1)];
}

// "7", or "{min: 3, max: 7}".
std::string length_text(Random& random, int64_t max) {
  if (random.uniform() < 0.6 || max == 1) return std::to_string(max);
  const int64_t min = random.uniform() < 0.6 ? 1 : random.integer(1, max);
  return "{min: " + std::to_string(min) + ", max: " + std::to_string(max) + "}";
}

// Sizes where bugs live: 1, primes, one off a power of two, and a few friendly ones.
std::string random_config(Random& random) {
  std::ostringstream yaml;
  const bool block = random.uniform() < 0.4;
  const int64_t kv_heads = pick<int64_t>(random, {1, 1, 2, 3});
  const int64_t heads = kv_heads * pick<int64_t>(random, {1, 1, 2, 4});
  const int64_t d_head = pick<int64_t>(random, {1, 7, 8, 16, 32, 59, 64, 111, 128});
  const int64_t d_value =
      random.uniform() < 0.7 ? d_head : pick<int64_t>(random, {1, 7, 16, 33, 64, 111});
  int64_t batch = pick<int64_t>(random, {1, 1, 2, 3});
  int64_t query = pick<int64_t>(random, {1, 2, 7, 16, 17, 33, 64, 113, 127, 128, 203});
  int64_t key = pick<int64_t>(random, {1, 3, 7, 17, 32, 65, 113, 128, 203, 255, 577});
  if (block) key = query;
  // Keeps the float64 reference quick.
  while (batch * heads * query * key * (d_head + d_value) > 20'000'000) {
    batch = 1;
    query = std::max<int64_t>(query / 2, 1);
    if (block) key = query;
  }
  yaml << "version: 1\nname: random_spec\nop: " << (block ? "block" : "attention") << "\n";
  if (block) yaml << "d_model: " << pick<int64_t>(random, {1, 24, 48, 59, 96, 113, 200}) << "\n";
  yaml << "heads: " << heads << "\nkv_heads: " << kv_heads << "\nd_head: " << d_head << "\n";
  if (d_value != d_head) yaml << "d_value: " << d_value << "\n";
  yaml << "batch: " << length_text(random, batch) << "\n";
  yaml << "query_length: " << length_text(random, query) << "\n";
  if (!block && random.uniform() < 0.8) {
    yaml << "key_length: " << length_text(random, key) << "\n";
  }
  if (!block && random.uniform() < 0.5) yaml << "layout: bhsd\n";
  if (random.uniform() < 0.2) yaml << "scale: " << pick<double>(random, {0.05, 0.3, 1}) << "\n";
  if (block && random.uniform() < 0.6) {
    auto flag = [&] { return random.uniform() < 0.5 ? "true" : "false"; };
    yaml << "projection_bias: {q: " << flag() << ", k: " << flag() << ", v: " << flag()
         << ", out: " << flag() << "}\n";
  }
  const bool causal = random.uniform() < 0.5;
  const bool lengths = random.uniform() < 0.4;
  if (causal || lengths) {
    yaml << "mask: {causal: " << (causal ? "true" : "false")
         << ", key_lengths: " << (lengths ? "true" : "false") << "}\n";
  }
  const double offset = random.uniform();
  if (offset < 0.25) yaml << "query_offset: end\n";
  if (offset > 0.75) yaml << "query_offset: input\n";
  yaml << "outputs: [output";
  if (random.uniform() < 0.3) yaml << ", weights";
  if (random.uniform() < 0.5) yaml << ", lse";
  yaml << "]\n";
  return yaml.str();
}

int64_t length_in(Random& random, const Range& range, int which) {
  if (which == 0) return range.max;
  if (which == 1) return range.min;
  return random.integer(range.min, range.max);
}

// Index tensors with their extremes among them: no key at all, every key, queries before the first
// key.
void spice_index_tensors(Random& random, const CallLengths& lengths, HostTensors* inputs) {
  auto key_lengths = inputs->find("key_lengths");
  if (key_lengths != inputs->end()) {
    for (int32_t& value : key_lengths->second.ints) {
      const double what = random.uniform();
      value = static_cast<int32_t>(what < 0.1   ? 0
                                   : what < 0.3 ? lengths.key
                                                : random.integer(1, lengths.key));
    }
  }
  auto offsets = inputs->find("query_offset");
  if (offsets != inputs->end()) {
    for (int32_t& value : offsets->second.ints) {
      const int64_t half = lengths.query / 2;
      value = static_cast<int32_t>(random.integer(-half, lengths.key));
    }
  }
}

// What belongs to sequence b, as a batch of its own.
HostTensors only_sequence(const Spec& spec, const CallLengths& one, const HostTensors& inputs,
                          int64_t b) {
  HostTensors result;
  for (const TensorDecl& decl : weight_tensors(spec)) {
    result.emplace(decl.name, inputs.at(decl.name));
  }
  for (const TensorDecl& decl : input_tensors(spec, one)) {
    const HostTensor& all = inputs.at(decl.name);
    HostTensor part(decl);
    const auto first = static_cast<ptrdiff_t>(b * decl.elements());
    const auto last = first + static_cast<ptrdiff_t>(decl.elements());
    if (part.is_index()) {
      part.ints.assign(all.ints.begin() + first, all.ints.begin() + last);
    } else {
      part.floats.assign(all.floats.begin() + first, all.floats.begin() + last);
    }
    result.emplace(decl.name, std::move(part));
  }
  return result;
}

// Every call of a spec within its bound, and the same bits however it is called.
void check_calls(const std::string& yaml, uint64_t seed, Random& random, Tally* tally) {
  const TestKernel kernel(yaml);
  const Spec& spec = kernel.spec();
  const bool ranges = !spec.batch.fixed() || !spec.query_length.fixed() || !spec.key_length.fixed();
  for (int which = 0; which < (ranges ? 3 : 1); ++which) {
    CallLengths lengths;
    lengths.batch = length_in(random, spec.batch, which);
    lengths.query = length_in(random, spec.query_length, which);
    lengths.key = spec.key_length_given ? length_in(random, spec.key_length, which) : lengths.query;
    SCOPED_TRACE("B=" + std::to_string(lengths.batch) + " Lq=" + std::to_string(lengths.query) +
                 " Lk=" + std::to_string(lengths.key));
    HostTensors inputs = random_inputs(spec, lengths, seed + static_cast<uint64_t>(which));
    spice_index_tensors(random, lengths, &inputs);

    const auto outputs = run_kernel(kernel, lengths, inputs, {});
    const std::string wrong =
        check_against_reference(kernel, lengths, inputs, outputs, true, tally);
    EXPECT_EQ(wrong, "");

    const auto again = run_kernel(kernel, lengths, inputs, {});
    const auto two_threads = run_kernel(kernel, lengths, inputs, {.threads = 2});
    const auto strided = run_kernel(kernel, lengths, inputs, {.threads = 2, .strided = true});
    for (const auto& [name, values] : outputs) {
      EXPECT_TRUE(same_bits(values, again.at(name))) << name << " differs when run twice";
      EXPECT_TRUE(same_bits(values, two_threads.at(name))) << name << " differs on two threads";
      EXPECT_TRUE(same_bits(values, strided.at(name))) << name << " differs when strided";
    }
    if (lengths.batch > 1 && spec.batch.min == 1) {
      const int64_t b = lengths.batch - 1;
      const CallLengths one{1, lengths.query, lengths.key};
      const auto alone = run_kernel(kernel, one, only_sequence(spec, one, inputs, b), {});
      for (const auto& [name, values] : alone) {
        const auto& all = outputs.at(name);
        const std::vector<float> part(all.end() - static_cast<ptrdiff_t>(values.size()), all.end());
        EXPECT_TRUE(same_bits(values, part)) << name << " depends on the rest of the batch";
      }
    }
  }
}

void check_spec(uint64_t seed, Tally* tally) {
  Random random(seed, "spec");
  const std::string yaml = random_config(random);
  SCOPED_TRACE("repeat with: MHA_TEST_SEED=" + std::to_string(seed) +
               " numeric_test --gtest_filter=Random.OneSpec\n" + yaml);
  try {
    check_calls(yaml, seed, random, tally);
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
}

// The whole set in two halves, so that two processes can share it.
void check_specs(int first, int last) {
  const uint64_t seed = test_seed(kDefaultSeed);
  std::printf("seed %llu (MHA_TEST_SEED=N to change it)\n", static_cast<unsigned long long>(seed));
  Tally tally;
  for (int i = first; i < last; ++i) {
    check_spec(seed + static_cast<uint64_t>(i), &tally);
  }
  // A comparison of zeros with zeros finds nothing.
  EXPECT_GT(tally.compared, 10000);
  EXPECT_LT(tally.zeros * 3, tally.compared);
  for (const auto& [name, squares] : tally.kernel_squares) {
    const double ratio = std::sqrt(squares / tally.plain_squares.at(name));
    std::printf("%s: RMS error %.2f of plain f32's\n", name.c_str(), ratio);
    EXPECT_LE(ratio, 2) << name << " is less exact than a plain f32 computation";
  }
}

TEST(Random, FirstHalf) { check_specs(0, kSpecs / 2); }
TEST(Random, SecondHalf) { check_specs(kSpecs / 2, kSpecs); }

TEST(Random, OneSpec) {
  Tally tally;
  check_spec(test_seed(kDefaultSeed), &tally);
}

}  // namespace
}  // namespace mha
