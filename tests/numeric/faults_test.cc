// Seeded faults: kernels that are wrong in one small thing each, and the check that every numeric
// test uses. It has to report each of them, and nothing where there is none. A row of the table is
// a fault.
#include <gtest/gtest.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "generator/spec/error.h"
#include "tests/numeric/faulty_kernel.h"
#include "tests/numeric/harness.h"

namespace mha {
namespace {

using Halide::Expr;
using Halide::Internal::Call;
using Halide::Internal::Div;
using Halide::Internal::Min;
using Halide::Internal::Sub;

// A call that leaves no part of a kernel idle: several blocks of keys, a partly filled last block
// of queries, index tensors and masks that matter.
struct Case {
  std::string yaml;
  CallLengths lengths;
  std::map<std::string, std::vector<int32_t>> ints;
  std::function<void(HostTensors&)> prepare;  // what else is not to be random
};

const Case& causal_case() {
  static const Case kCase = {
      "{version: 1, name: faults, op: attention, heads: 4, kv_heads: 2, d_head: 24, batch: 2,"
      " query_length: {min: 1, max: 70}, key_length: 300, mask: {causal: true, key_lengths: true},"
      " query_offset: input, outputs: [output, weights, lse]}",
      {2, 70, 300},
      {{"key_lengths", {300, 171}}, {"query_offset", {230, 120}}},
      {}};
  return kCase;
}

// Of one stage beside the attention, or of none.
Case window_of(const std::string& outputs) {
  return {
      "{version: 1, name: faults, op: attention, heads: 4, kv_heads: 2, d_head: 24, batch: 2,"
      " query_length: 70, key_length: 300, query_offset: input,"
      " mask: {window: {left: 60, right: 11}, key_lengths: true, key_starts: true}, " +
          outputs + "}",
      {2, 70, 300},
      {{"key_lengths", {300, 200}}, {"key_starts", {37, 120}}, {"query_offset", {40, 150}}},
      // One row of zeros: all its scores are equal.
      [](HostTensors& in) { std::fill_n(in.at("query").floats.begin(), 24, 0.0F); }};
}

const Case& window_case() {
  static const Case kCase = window_of("outputs: [lse]");
  return kCase;
}
const Case& mean_case() {
  static const Case kCase = window_of("outputs: [mean_weights]");
  return kCase;
}
const Case& scores_case() {
  static const Case kCase = window_of("outputs: [scores]");
  return kCase;
}
const Case& scores_masked_case() {
  static const Case kCase = window_of("outputs: [scores_masked]");
  return kCase;
}
const Case& top_case() {
  static const Case kCase = window_of("outputs: [lse], top_k: 6");
  return kCase;
}

// B = H = 2, so that the two can be taken for each other.
const Case& bool_case() {
  static const Case kCase = {
      "{version: 1, name: faults, op: attention, heads: 2, d_head: 16, batch: 2,"
      " query_length: 33, key_length: 150, mask: {tensor: bool}, outputs: [output, lse]}",
      {2, 33, 150},
      {},
      [](HostTensors& in) {
        HostTensor& mask = in.at("mask");
        mask.decl.shape[1] = 1;
        mask.bools.resize(static_cast<size_t>(mask.decl.elements()));
      }};
  return kCase;
}

const Case& additive_case() {
  static const Case kCase = {
      "{version: 1, name: faults, op: attention, heads: 2, d_head: 16, batch: 2,"
      " query_length: 33, key_length: 150, mask: {tensor: additive}, outputs: [output, lse]}",
      {2, 33, 150},
      {},
      [](HostTensors& in) {
        std::vector<float>& mask = in.at("mask").floats;
        std::fill_n(mask.begin() + 150, 150, -FLT_MAX);
        std::fill_n(mask.begin() + 300, 150, -std::numeric_limits<float>::infinity());
      }};
  return kCase;
}

const Case& packed_case() {
  static const Case kCase = {
      "{version: 1, name: faults, op: attention, heads: 2, d_head: 16, batch: 4,"
      " query_length: 70, packed: true, outputs: [output, weights]}",
      {4, 70, 70, 131},
      {{"sequence_starts", {0, 1, 41, 61, 131}}},
      {}};
  return kCase;
}

const Case& block_case() {
  static const Case kCase = {
      "{version: 1, name: faults, op: block, d_model: 45, heads: 3, d_head: 17, batch: 2,"
      " query_length: 37, projection_bias: {q: true, k: true, v: true, out: true},"
      " outputs: [output, lse]}",
      {2, 37, 37},
      {},
      {}};
  return kCase;
}

const Case& cross_case() {
  static const Case kCase = {
      "{version: 1, name: faults, op: block, cross: true, d_model: 32, heads: 2, batch: 1,"
      " query_length: 20, key_length: 20}",
      {1, 20, 20},
      {},
      {}};
  return kCase;
}

struct Fault {
  const char* name;
  const Case& (*of)();
  Alteration alteration;                                            // of the kernel
  std::function<void(HostTensors&, const CallLengths&)> call = {};  // of what it is given
};

Alteration in_program(std::function<void(Program&)> change) { return {{}, {}, std::move(change)}; }

Alteration in_func(const std::string& stage, const std::string& func, const ExprRule& rule) {
  return in_program([=](Program& program) { change_func(program, stage, func, rule); });
}

// Partial results are merged without that of the last block of keys.
Alteration without_last_block(const std::string& func) {
  return in_program([=](Program& program) { shorten_reduction(program, "attention", func, "rc"); });
}

// Query head h reads KV head h % G.
Expr interleaved_heads(const Expr& expression) {
  const Div* group = expression.as<Div>();
  return group != nullptr && group->a.as<Halide::Internal::Variable>() ? group->a % group->b
                                                                       : Expr();
}

// An index of a key, one too high.
Expr always_plus_one(const Expr& expression) {
  const Call* call = expression.as<Call>();
  return call != nullptr ? Expr(call) + 1 : Expr();
}

// The last query is taken for the one before it.
Expr short_by_one(const Expr& expression) {
  const Min* clamped = expression.as<Min>();
  const Sub* last = clamped != nullptr ? clamped->b.as<Sub>() : nullptr;
  return last != nullptr ? Halide::min(clamped->a, last->a - 2) : Expr();
}

std::function<void(HostTensors&, const CallLengths&)> add_to(const std::string& tensor,
                                                             int32_t delta) {
  return [=](HostTensors& inputs, const CallLengths&) {
    for (int32_t& value : inputs.at(tensor).ints) value += delta;
  };
}

// The packed array, matrix or vector, that takes its rows from this weight.
PackPart& part_of(Program& program, const std::string& weight) {
  for (PackInfo& pack : program.packs) {
    for (PackPart& part : pack.parts) {
      if (program.weights[static_cast<size_t>(part.weight)].name == weight) return part;
    }
  }
  throw InternalError("no pack holds " + weight);
}

void drop_bias(Program& program, const std::string& bias) { part_of(program, bias).scale = 0; }

void swap_weights(Program& program, const std::string& a, const std::string& b) {
  std::swap(part_of(program, a).weight, part_of(program, b).weight);
}

// Every stage that reads the tensor is given the other one.
void read_instead(Program& program, const std::string& tensor, const std::string& other) {
  const auto index = [&](const std::string& name) {
    for (size_t i = 0; i < program.tensors.size(); ++i) {
      if (program.tensors[i].name == name) return static_cast<int>(i);
    }
    throw InternalError("the program has no tensor " + name);
  };
  for (Stage& stage : program.stages) {
    for (Operand& operand : stage.operands) {
      if (operand.kind == Operand::kTensor && operand.index == index(tensor)) {
        operand.index = index(other);
      }
    }
  }
}

Alteration window_wider(int64_t left, int64_t right) {
  Alteration alteration;
  alteration.plan = [=](Plan& plan) {
    *plan.attention.left += left;
    *plan.attention.right += right;
  };
  return alteration;
}

const std::vector<Fault>& faults() {
  constexpr double kLn2 = 0.6931471805599453, kLog2E = 1.4426950408889634;
  const double scale24 = 1 / std::sqrt(24.0);
  const float lowest = -FLT_MAX, infinity = std::numeric_limits<float>::infinity();
  const auto before = [](const Expr& place) { return Halide::max(place - 1, 0); };
  static const std::vector<Fault> kFaults = {
      // Bounds of masks.
      {"CausalHidesTheDiagonal", causal_case, in_func("attention", "masked", strict_comparison())},
      {"CausalOneTooFar", causal_case, {{}, [](Plan& plan) { *plan.attention.right += 1; }, {}}},
      {"QueryOffsetOneTooFar", causal_case, {}, add_to("query_offset", 1)},
      {"QueryOffsetOneShort", causal_case, {}, add_to("query_offset", -1)},
      {"KeyLengthsOneShort", causal_case, {}, add_to("key_lengths", -1)},
      {"KeyLengthsOneTooFar",
       causal_case,
       {},
       [](HostTensors& inputs, const CallLengths&) { ++inputs.at("key_lengths").ints[1]; }},
      {"WindowOneWiderOnTheLeft", window_case, window_wider(1, 0)},
      {"WindowOneNarrowerOnTheLeft", window_case, window_wider(-1, 0)},
      {"WindowOneWiderOnTheRight", window_case, window_wider(0, 1)},
      {"WindowOneNarrowerOnTheRight", window_case, window_wider(0, -1)},
      {"KeyStartsOneTooEarly", window_case, {}, add_to("key_starts", -1)},
      {"KeyStartsOneTooLate", window_case, {}, add_to("key_starts", 1)},
      {"MaskIgnored", bool_case, in_func("attention", "mask_rows", constant_call("mask_im", 1))},
      {"MaskOfTheKeyBefore", bool_case,
       in_func("attention", "mask_rows", changed_argument("mask_im", 0, before))},
      {"MaskOfTheQueryBefore", bool_case,
       in_func("attention", "mask_rows", changed_argument("mask_im", 1, before))},
      {"MaskBroadcastOverTheWrongAxis", bool_case,
       in_func("attention", "mask_rows", swapped_arguments("mask_im", 2, 3))},
      {"AdditiveMaskOnlyHides", additive_case,
       in_func("attention", "mask",
               changed_call("mask_rows",
                            [=](const Call* call) {
                              return Halide::select(Expr(call) == -infinity, -infinity, 0.0F);
                            }))},
      {"AdditiveMaskInUnitsOfLog2", additive_case,
       in_func("attention", "mask",
               changed_call(
                   "mask_rows",
                   [=](const Call* call) { return Expr(call) * static_cast<float>(kLog2E); }))},
      {"LowestFloatHides", additive_case,
       in_func("attention", "mask",
               changed_call("mask_rows",
                            [=](const Call* call) {
                              return Halide::select(Expr(call) <= lowest, -infinity, Expr(call));
                            }))},
      {"BlindRowsAreNotZero", additive_case, in_func("attention", "row_scale", always(false))},
      // Scores and their softmax.
      {"ScaleOffByAThousandth", causal_case,
       in_func("attention", "query_rows", scaled_constant(kLog2E * scale24, 1.001))},
      {"KeyHeadsInterleaved", causal_case, in_func("attention", "product", interleaved_heads)},
      {"ValueHeadsInterleaved", causal_case,
       in_func("attention", "value_product", interleaved_heads)},
      {"SumSkipsTheLastKeyBlock", causal_case, without_last_block("row_sum")},
      {"OutputSkipsTheLastKeyBlock", causal_case, without_last_block("merged")},
      {"PartialsMergedWithoutWeight", causal_case,
       in_func("attention", "merged", constant_call("merge_weight", 1))},
      {"LseInUnitsOfLog2", causal_case,
       in_func("attention", "lse_held", scaled_constant(kLn2, 1 / kLn2))},
      {"ExpWrongByOneInTenThousand", causal_case,
       in_func("attention", "probabilities", scaled_constant(2.402224243e-1, 1.002))},
      {"LastQueryTakenForTheOneBefore", causal_case,
       in_func("attention", "query_rows", short_by_one)},
      {"LastQueriesNeverComputed", causal_case,
       in_program([](Program& program) { stage_named(program, "attention").grid[0].tile *= 2; })},
      // Outputs over pairs.
      {"WeightsIgnoreTheDiagonal", causal_case,
       in_func("weights", "normalised", strict_comparison())},
      {"MeanLeavesOutAHead", mean_case,
       in_program([](Program& p) { shorten_reduction(p, "mean_weights", "sum", "rh"); })},
      {"MeanOverTheWrongNumberOfHeads", mean_case,
       in_func("mean_weights", "output", scaled_constant(0.25, 2))},
      {"ScoresInUnitsOfLog2", scores_case,
       in_func("scores", "query_rows", scaled_constant(scale24, kLog2E))},
      {"ScoresMaskedForgetsTheMask", scores_masked_case,
       in_func("scores_masked", "normalised", always(true))},
      {"TopKPutsTheLastOfEqualKeysFirst", top_case,
       in_func("top_k", "strongest", weak_comparison())},
      {"TopKSkipsTheLastKey", top_case,
       in_program([](Program& p) { shorten_reduction(p, "top_k", "strongest", "rt"); })},
      {"TopKIndicesOneOff", top_case, in_func("top_k", "top_indices", always_plus_one)},
      // Packed batches.
      {"SequenceStartsOneOff",
       packed_case,
       {},
       [](HostTensors& inputs, const CallLengths&) { ++inputs.at("sequence_starts").ints[2]; }},
      {"QueriesOfTheRowBefore", packed_case,
       in_func("attention", "query_rows", changed_scalar("first_row", before))},
      {"KeysOfTheRowBefore", packed_case,
       in_func("attention", "product", changed_scalar("first_row", before))},
      {"ValuesOfTheRowBefore", packed_case,
       in_func("attention", "value_product", changed_scalar("first_row", before))},
      // Projections.
      {"QueryAndKeyWeightsSwapped", block_case,
       in_program([](Program& program) { swap_weights(program, "w_q", "w_k"); })},
      {"QueryBiasDropped", block_case,
       in_program([](Program& program) { drop_bias(program, "b_q"); })},
      {"KeyBiasTakenForTheValues", block_case,
       in_program([](Program& program) { swap_weights(program, "b_k", "b_v"); })},
      {"OutputBiasDropped", block_case,
       in_program([](Program& program) { drop_bias(program, "b_o"); })},
      {"HeadsOfTheOutputProjectionShifted", block_case, in_program([](Program& program) {
         for (PackInfo& pack : program.packs) {
           if (pack.col_groups > 1) pack.col_width -= 1;
         }
       })},
      {"KeysAndValuesFromTheWrongSequence", cross_case,
       in_program([](Program& program) { read_instead(program, "memory", "x"); })},
  };
  return kFaults;
}

// What the check says of the case run on this kernel.
std::string verdict(const Case& of, const TestKernel& kernel, const Fault* fault) {
  const Spec& spec = kernel.spec();
  HostTensors inputs = random_inputs(spec, of.lengths, 1);
  for (const auto& [name, values] : of.ints) inputs.at(name).ints = values;
  if (of.prepare) of.prepare(inputs);
  HostTensors given = inputs;
  if (fault != nullptr && fault->call) fault->call(given, of.lengths);
  try {
    const auto outputs = run_kernel(kernel, of.lengths, given, {.threads = 2});
    Tally tally;
    return check_against_reference(kernel, of.lengths, inputs, outputs, false, &tally);
  } catch (const std::runtime_error& error) {  // wrote where it must not, or not where it must
    return error.what();
  }
}

class Faults : public testing::TestWithParam<size_t> {};

TEST_P(Faults, IsCaught) {
  const Fault& fault = faults()[GetParam()];
  const Case& of = fault.of();
  const TestKernel faulty(of.yaml, generate_altered(spec_of(of.yaml), fault.alteration));
  const std::string wrong = verdict(of, faulty, &fault);
  EXPECT_NE(wrong, "") << "the fault was not caught";
  std::printf("%s", wrong.c_str());
}

// The same cases without a fault.
TEST(Control, NothingIsReported) {
  std::set<const Case*> cases;
  for (const Fault& fault : faults()) cases.insert(&fault.of());
  for (const Case* of : cases) {
    const TestKernel kernel(of->yaml, generate_altered(spec_of(of->yaml), {}));
    EXPECT_EQ(verdict(*of, kernel, nullptr), "") << of->yaml;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeded, Faults, testing::Range(size_t{0}, faults().size()),
                         [](const auto& info) { return std::string(faults()[info.param].name); });

}  // namespace
}  // namespace mha
