// Seeded faults: kernels that are wrong in one small thing each, and the check that every numeric
// test uses. It has to report each of them, and nothing where there is none. A row of the table is
// a fault.
#include <gtest/gtest.h>

#include <functional>
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
using Halide::Internal::Div;
using Halide::Internal::Min;
using Halide::Internal::Sub;

// A call that leaves no part of a kernel idle: several blocks of keys, a partly filled last block
// of queries, and index tensors that matter.
struct Case {
  std::string yaml;
  CallLengths lengths;
  std::map<std::string, std::vector<int32_t>> ints;
};

const Case& causal_case() {
  static const Case kCase = {
      "{version: 1, name: faults, op: attention, heads: 4, kv_heads: 2, d_head: 24, batch: 2,"
      " query_length: {min: 1, max: 70}, key_length: 300, mask: {causal: true, key_lengths: true},"
      " query_offset: input, outputs: [output, weights, lse]}",
      {2, 70, 300},
      {{"key_lengths", {300, 171}}, {"query_offset", {230, 120}}}};
  return kCase;
}

const Case& block_case() {
  static const Case kCase = {
      "{version: 1, name: faults, op: block, d_model: 45, heads: 3, d_head: 17, batch: 2,"
      " query_length: 37, projection_bias: {q: true, k: true, v: true, out: true},"
      " outputs: [output, lse]}",
      {2, 37, 37},
      {}};
  return kCase;
}

struct Fault {
  const char* name;
  const Case& (*of)();
  Alteration alteration;                                       // of the kernel
  std::function<void(HostTensors&, const CallLengths&)> call;  // of what the kernel is given
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

const std::vector<Fault>& faults() {
  constexpr double kLn2 = 0.6931471805599453, kLog2E = 1.4426950408889634;
  static const std::vector<Fault> kFaults = {
      {"CausalHidesTheDiagonal",
       causal_case,
       in_func("attention", "masked", strict_comparison()),
       {}},
      {"QueryOffsetOneTooFar", causal_case, {}, add_to("query_offset", 1)},
      {"QueryOffsetOneShort", causal_case, {}, add_to("query_offset", -1)},
      {"KeyLengthsOneShort", causal_case, {}, add_to("key_lengths", -1)},
      {"KeyLengthsOneTooFar",
       causal_case,
       {},
       [](HostTensors& inputs, const CallLengths&) { ++inputs.at("key_lengths").ints[1]; }},
      {"ScaleOffByAThousandth",
       causal_case,
       in_func("attention", "query_rows", scaled_constant(kLog2E / std::sqrt(24.0), 1.001)),
       {}},
      {"KeyHeadsInterleaved", causal_case, in_func("attention", "product", interleaved_heads), {}},
      {"ValueHeadsInterleaved",
       causal_case,
       in_func("attention", "value_product", interleaved_heads),
       {}},
      {"SumSkipsTheLastKeyBlock", causal_case, without_last_block("row_sum"), {}},
      {"OutputSkipsTheLastKeyBlock", causal_case, without_last_block("merged"), {}},
      {"PartialsMergedWithoutWeight",
       causal_case,
       in_func("attention", "merged", constant_call("merge_weight", 1)),
       {}},
      {"LseInUnitsOfLog2",
       causal_case,
       in_func("attention", "lse_held", scaled_constant(kLn2, 1 / kLn2)),
       {}},
      {"ExpWrongByOneInTenThousand",
       causal_case,
       in_func("attention", "probabilities", scaled_constant(2.402224243e-1, 1.002)),
       {}},
      {"LastQueryTakenForTheOneBefore",
       causal_case,
       in_func("attention", "query_rows", short_by_one),
       {}},
      {"LastQueriesNeverComputed",
       causal_case,
       in_program([](Program& program) { stage_named(program, "attention").grid[0].tile *= 2; }),
       {}},
      {"WeightsIgnoreTheDiagonal",
       causal_case,
       in_func("weights", "normalised", strict_comparison()),
       {}},
      {"QueryAndKeyWeightsSwapped",
       block_case,
       in_program([](Program& program) { swap_weights(program, "w_q", "w_k"); }),
       {}},
      {"QueryBiasDropped",
       block_case,
       in_program([](Program& program) { drop_bias(program, "b_q"); }),
       {}},
      {"KeyBiasTakenForTheValues",
       block_case,
       in_program([](Program& program) { swap_weights(program, "b_k", "b_v"); }),
       {}},
      {"OutputBiasDropped",
       block_case,
       in_program([](Program& program) { drop_bias(program, "b_o"); }),
       {}},
      {"HeadsOfTheOutputProjectionShifted",
       block_case,
       in_program([](Program& program) {
         for (PackInfo& pack : program.packs) {
           if (pack.col_groups > 1) pack.col_width -= 1;
         }
       }),
       {}},
  };
  return kFaults;
}

// What the check says of the case run on this kernel.
std::string verdict(const Case& of, const TestKernel& kernel, const Fault* fault) {
  const Spec& spec = kernel.spec();
  HostTensors inputs = random_inputs(spec, of.lengths, 1);
  for (const auto& [name, values] : of.ints) inputs.at(name).ints = values;
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
