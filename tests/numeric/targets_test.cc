// One library for all x86-64 targets: those that this machine runs are forced in turn, each is held
// against the reference, and the others are refused. Two that are each within their bound of the
// reference are within two bounds of each other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <set>

#include "schedules/machine.h"
#include "tests/numeric/harness.h"

namespace mha {
namespace {

constexpr char kAllTargets[] =
    " targets: [x86-64-v3, sapphirerapids, x86-64-v2, zen5, x86-64-v4, zen4]}";

// MHA_TARGET for as long as it lives.
class Forced {
 public:
  explicit Forced(const std::string& target) { setenv("MHA_TARGET", target.c_str(), 1); }
  ~Forced() { unsetenv("MHA_TARGET"); }
  Forced(const Forced&) = delete;
};

// As a new process finds the library: nothing is chosen.
void forget(const TestKernel& kernel) { *kernel.library().kernel().choice = 0; }

std::set<std::string> targets_that_run_here() {
  std::set<std::string> targets;
  for (const std::string& target : named_targets()) {
    if ((named_machine(target)->cpu_features & ~mha_cpu_features()) == 0) targets.insert(target);
  }
  return targets;
}

void each_is_right(const std::string& yaml) {
  SCOPED_TRACE(yaml);
  const TestKernel kernel(yaml);
  const RuntimeApi& api = kernel.library().api();
  EXPECT_EQ(kernel.library().info().target, host_machine().target);  // the best
  const CallLengths lengths = max_lengths(kernel.spec());
  const HostTensors inputs = random_inputs(kernel.spec(), lengths, 11);
  const std::set<std::string> expected = targets_that_run_here();
  std::set<std::string> ran;
  for (const std::string& target : named_targets()) {
    SCOPED_TRACE(target);
    forget(kernel);
    const Forced forced(target);
    if (expected.count(target) == 0) {
      EXPECT_EQ(api.kernel_check(&kernel.library().kernel()), MHA_UNSUPPORTED_CPU);
      EXPECT_THAT(api.last_message(), testing::HasSubstr(target));
      continue;
    }
    const Outputs outputs = run_kernel(kernel, lengths, inputs, {.threads = 2});
    EXPECT_EQ(kernel.library().info().target, target);
    Tally tally;
    EXPECT_EQ(check_against_reference(kernel, lengths, inputs, outputs, false, &tally), "");
    EXPECT_GT(tally.compared, 0);
    ran.insert(target);
  }
  EXPECT_EQ(ran, expected);
  EXPECT_EQ(ran.count(host_machine().target), 1u);
}

TEST(TargetsOfALibrary, EachRunsABlock) {
  each_is_right(
      "{version: 1, name: many_block, op: block, d_model: 59, heads: 2, kv_heads: 1, d_head: 17,"
      " query_length: 45, mask: {causal: true}, weights: bf16," +
      std::string(kAllTargets));
}

// Pairs of bf16 are multiplied as they are on some targets, and as f32 on others.
TEST(TargetsOfALibrary, EachRunsAttentionInBf16) {
  each_is_right(
      "{version: 1, name: many_bf16, op: attention, heads: 2, d_head: 40, query_length: 31,"
      " key_length: 70, dtype: bf16, mask: {key_lengths: true}, outputs: [output, lse]," +
      std::string(kAllTargets));
}

// One cache goes from target to target; weights do not.
TEST(TargetsOfALibrary, ShareACacheButNoWeights) {
  const std::string yaml =
      "{version: 1, name: many_cached, op: block, d_model: 32, heads: 2, d_head: 16,"
      " query_length: {min: 1, max: 8}, mask: {causal: true}, kv_cache: {capacity: 64},"
      " targets: [x86-64-v2, x86-64-v3, host]}";
  const TestKernel kernel(yaml);
  KernelLibrary library(kernel.file(), "many_cached");
  const RuntimeApi& api = library.api();
  const Spec& spec = kernel.spec();
  CallLengths lengths = max_lengths(spec);
  HostTensors inputs = random_inputs(spec, lengths, 5);
  const int64_t all = lengths.query, width = 32;
  std::vector<mha_weight_array> arrays;
  for (const TensorDecl& decl : weight_tensors(spec)) {
    HostTensor& tensor = inputs.at(decl.name);
    mha_weight_array array = {};
    array.name = inputs.find(decl.name)->first.c_str();
    array.data = tensor.data();
    array.dtype = MHA_F32;
    array.rank = static_cast<int32_t>(decl.shape.size());
    std::copy(decl.shape.begin(), decl.shape.end(), array.shape);
    arrays.push_back(array);
  }
  std::vector<mha_target_info> targets;
  for (const mha_target_info& target : library.targets()) {
    if (target.runs_here != 0) targets.push_back(target);
  }
  if (targets.size() < 2) GTEST_SKIP() << "this machine runs one target";

  mha_cache_options options = {};
  options.size = sizeof options;
  options.sequences = 2;
  mha_cache* cache = nullptr;
  ASSERT_EQ(api.cache_create(&library.kernel(), &options, &cache), MHA_OK);
  std::vector<mha_weights*> weights(targets.size());
  for (size_t i = 0; i < targets.size(); ++i) {
    ASSERT_EQ(api.weights_create(targets[i].kernel, arrays.data(), arrays.size(), &weights[i]),
              MHA_OK);
  }
  // All rows in one call of the best target, then the same in pieces, each by another target.
  const auto run = [&](const std::vector<size_t>& by, int32_t sequence) {
    std::vector<float> output(static_cast<size_t>(all * width), -1.0f);
    const int64_t step = all / static_cast<int64_t>(by.size());
    for (size_t i = 0; i < by.size(); ++i) {
      library.use(targets[by[i]]);
      CallLengths piece = lengths;
      piece.query = step;
      Call call(library, piece, 1);
      mha_call& arguments = call.arguments();
      arguments.key_length = 0;
      arguments.cache = cache;
      arguments.sequences = &sequence;
      arguments.weights = weights[by[i]];
      const int64_t first = static_cast<int64_t>(i) * step * width;
      call.bind("x", inputs.at("x").floats.data() + first);
      call.bind("output", output.data() + first);
      EXPECT_EQ(call.try_run(), MHA_OK) << api.last_message();
      if (by.size() > 1) {  // those of the next target do not fit
        arguments.weights = weights[(by[i] + 1) % targets.size()];
        EXPECT_EQ(call.try_run(), MHA_INVALID_ARGUMENT);
        EXPECT_THAT(api.last_message(),
                    testing::AllOf(testing::HasSubstr("packed for another kernel or target"),
                                   testing::HasSubstr(targets[by[i]].name)));
      }
    }
    return output;
  };
  int32_t whole = 0, pieces = 0;
  ASSERT_EQ(api.sequence_create(cache, &whole), MHA_OK);
  ASSERT_EQ(api.sequence_create(cache, &pieces), MHA_OK);
  std::vector<size_t> turns;
  for (size_t i = 0; i < 4; ++i) turns.push_back(i % targets.size());
  const std::vector<float> expected = run({0}, whole), got = run(turns, pieces);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-4) << i;
  for (mha_weights* each : weights) api.weights_destroy(each);
  api.cache_destroy(cache);
}

}  // namespace
}  // namespace mha
