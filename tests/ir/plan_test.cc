// What configs become: the Plan, the module's text, and errors that point into the YAML.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "generator/ir/lower.h"
#include "generator/spec/error.h"
#include "generator/spec/parse.h"

namespace mha {

// How GoogleTest shows a plan.
static void PrintTo(const Plan& plan, std::ostream* out) { *out << "\n" << plan_text(plan); }

namespace {

Spec parse(const std::string& text) {
  ParseResult result = parse_spec_text(text, "test.yaml");
  if (!result.spec) throw UserError(format_diagnostics(result.problems, result.text));
  return *result.spec;
}

LowerResult lower_text(const std::string& text) { return lower(parse(text)); }

Plan plan_of(const std::string& text) {
  LowerResult result = lower_text(text);
  if (!result.plan) throw UserError(format_diagnostics(result.problems, text));
  return *result.plan;
}

// --- expected plans ---

// No masks, nothing pruned, nothing done to rows.
Attention attention_of(int64_t heads, int64_t kv_heads, int64_t d_head, int64_t d_value,
                       double scale) {
  Attention attention;
  attention.heads = attention.all_heads = heads;
  attention.kv_heads = attention.all_kv_heads = kv_heads;
  attention.d_head = d_head;
  attention.d_value = d_value;
  attention.score_scale = scale;
  return attention;
}

TEST(Plan, BlockMergesAllThreeProjections) {
  Plan want;
  want.name = "base";
  want.op = Op::kBlock;
  want.batch = {1, 1};
  want.query_length = want.key_length = {512, 512};
  want.self_length = true;
  want.d_model = 512;
  const double scale = 1 / std::sqrt(64.0);
  want.projections = {
      {"x", {{"w_q", "", 8, 64, scale}, {"w_k", "", 8, 64, 1}, {"w_v", "", 8, 64, 1}}}};
  want.attention = attention_of(8, 8, 64, 64, 1);
  want.out_weight = "w_o";
  want.outputs = {"output"};
  EXPECT_EQ(plan_of("version: 1\nname: base\nd_model: 512\nheads: 8\nquery_length: 512\n"), want);
}

TEST(Plan, BlockWithBiasesGroupsAndRunTimeLengths) {
  Plan want;
  want.name = "grouped";
  want.op = Op::kBlock;
  want.batch = {1, 4};
  want.query_length = want.key_length = {3, 96};
  want.self_length = true;
  want.d_model = 40;
  want.projections = {{"x",
                       {{"w_q", "b_q", 6, 10, 1 / std::sqrt(10.0)},
                        {"w_k", "", 2, 10, 1},
                        {"w_v", "b_v", 2, 10, 1}}}};
  want.attention = attention_of(6, 2, 10, 10, 1);
  want.attention.right = 0;
  want.attention.key_lengths = true;
  want.attention.query_offset = QueryOffset::kEnd;
  want.out_weight = "w_o";
  want.out_bias = "b_o";
  want.outputs = {"output", "weights", "lse"};
  EXPECT_EQ(plan_of(R"(version: 1
name: grouped
d_model: 40
heads: 6
kv_heads: 2
d_head: 10
batch: {min: 1, max: 4}
query_length: {min: 3, max: 96}
query_offset: end
projection_bias: {q: true, v: true, out: true}
mask: {causal: true, key_lengths: true}
outputs: [output, weights, lse]
)"),
            want);
}

TEST(Plan, ValuesOfAnotherWidthAreProjectedApart) {
  const Plan plan = plan_of(R"(version: 1
name: other
d_model: 30
heads: 3
d_head: 12
d_value: 7
scale: 0.3
query_length: 9
)");
  const std::vector<Projection> want = {{"x", {{"w_q", "", 3, 12, 0.3}, {"w_k", "", 3, 12, 1}}},
                                        {"x", {{"w_v", "", 3, 7, 1}}}};
  EXPECT_EQ(plan.projections, want);
  EXPECT_EQ(plan.attention.d_value, 7);
}

TEST(Plan, NormAndRotationOfRows) {
  Plan plan = plan_of(R"(version: 1
name: rows
d_model: 32
heads: 4
query_length: 6
qk_norm: {eps: 1e-5, weight_offset: 1, width: all, order: after_rope}
rope: {style: interleaved, theta: 100, dims: 4, scaling: {type: linear, factor: 2}}
)");
  const QkNorm norm{1e-5, 1, true, false};
  EXPECT_EQ(plan.attention.norm, norm);
  ASSERT_TRUE(plan.attention.rotation);
  EXPECT_TRUE(plan.attention.rotation->interleaved);
  EXPECT_NEAR(plan.attention.rotation->inv_freq[1], 0.05, 1e-16);
  // The norm keeps the scale with the scores.
  EXPECT_EQ(plan.attention.score_scale, 1 / std::sqrt(8.0));
  EXPECT_EQ(plan.projections[0].parts[0].weight_scale, 1);
  EXPECT_EQ(plan.projections.size(), 1u);
}

TEST(Plan, RotationLetsTheScaleThrough) {
  const Plan plan = plan_of(
      "version: 1\nname: rows\nd_model: 32\nheads: 4\nquery_length: 6\nrope: {style: half}\n");
  EXPECT_EQ(plan.attention.score_scale, 1);
  EXPECT_EQ(plan.projections[0].parts[0].weight_scale, 1 / std::sqrt(8.0));
}

TEST(Plan, NormOfInputsBeforeRotation) {
  const Plan plan = plan_of(
      "version: 1\nname: rows\nop: attention\nheads: 4\nd_head: 8\nlayout: bhsd\nquery_length: 6\n"
      "qk_norm: {}\nrope: {style: half}\n");
  EXPECT_EQ(plan.attention.norm, QkNorm());
  EXPECT_EQ(plan.attention.rotation->inv_freq.size(), 4u);
}

// Where a rotation asks for places, the end of the keys is not their start.
TEST(Plan, RotationKeepsTheOffset) {
  const std::string config =
      "version: 1\nname: rows\nop: attention\nheads: 4\nd_head: 8\nquery_length: 6\nkey_length: 9\n"
      "query_offset: end\n";
  EXPECT_EQ(plan_of(config).attention.query_offset, QueryOffset::kStart);
  EXPECT_EQ(plan_of(config + "rope: {style: half}\n").attention.query_offset, QueryOffset::kEnd);
}

TEST(Plan, PrunedHeads) {
  const std::string config =
      "version: 1\nname: rows\nd_model: 32\nheads: 8\nkv_heads: 4\nd_head: 4\nquery_length: 6\n"
      "pruned_heads: [0, 2, 3, 7]\n";
  Plan plan = plan_of(config);
  const Attention& a = plan.attention;
  EXPECT_EQ(a.heads, 4);
  EXPECT_EQ(a.kv_heads, 3);
  EXPECT_EQ(a.all_heads, 8);
  EXPECT_EQ(a.all_kv_heads, 4);
  EXPECT_EQ(a.kept_heads, (std::vector<int64_t>{1, 4, 5, 6}));
  EXPECT_EQ(a.kept_kv_heads, (std::vector<int64_t>{0, 2, 3}));
  EXPECT_EQ(a.kv_head_of, (std::vector<int64_t>{0, 1, 1, 2}));
  const auto heads = [&](size_t part) { return plan.projections[0].parts[part].heads; };
  EXPECT_EQ(heads(0), 4);
  EXPECT_EQ(heads(1), 3);
  EXPECT_EQ(heads(2), 3);
  // The norm over all heads takes those that are pruned too.
  plan = plan_of(config + "qk_norm: {width: all}\n");
  EXPECT_EQ(heads(0), 8);
  EXPECT_EQ(heads(1), 4);
  EXPECT_EQ(heads(2), 3);
  EXPECT_TRUE(plan_of("version: 1\nname: rows\nd_model: 32\nheads: 8\nquery_length: 6\n")
                  .attention.kept_heads.empty());
}

TEST(Plan, AttentionAloneKeepsItsScale) {
  Plan want;
  want.name = "bare";
  want.op = Op::kAttention;
  want.layout = Layout::kBhsd;
  want.batch = {2, 2};
  want.query_length = {5, 5};
  want.key_length = {1, 70};
  want.attention = attention_of(4, 4, 24, 20, 1 / std::sqrt(24.0));
  want.attention.right = 0;
  want.attention.query_offset = QueryOffset::kInput;
  want.outputs = {"output", "lse"};
  EXPECT_EQ(plan_of(R"(version: 1
name: bare
op: attention
layout: bhsd
heads: 4
d_head: 24
d_value: 20
batch: 2
query_length: 5
key_length: {min: 1, max: 70}
query_offset: input
mask: {causal: true}
outputs: [output, lse]
)"),
            want);
}

TEST(Plan, CausalDecodingAtTheEndNeedsNoMask) {
  const std::string head =
      "version: 1\nname: decode\nop: attention\nheads: 2\nd_head: 8\nkey_length: 90\n";
  const std::string tail = "query_offset: end\nmask: {causal: true}\n";
  const Plan one = plan_of(head + "query_length: 1\n" + tail);
  EXPECT_FALSE(one.attention.right);
  EXPECT_EQ(one.attention.query_offset, QueryOffset::kStart);
  const Plan two = plan_of(head + "query_length: 2\n" + tail);
  EXPECT_EQ(two.attention.right, 0);
  EXPECT_EQ(two.attention.query_offset, QueryOffset::kEnd);
}

// --- every config that ships ---

std::vector<std::filesystem::path> shipped_configs() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(MHA_CONFIGS)) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

class ShippedConfig : public testing::TestWithParam<std::filesystem::path> {};

// Wherever the scale went and however the parts were grouped, the plan computes what the spec asks
// for.
TEST_P(ShippedConfig, PlanSaysWhatTheSpecSays) {
  const Spec spec = load_spec(GetParam());
  const LowerResult result = lower(spec);
  ASSERT_TRUE(result.plan) << format_diagnostics(result.problems, "");
  const Plan& plan = *result.plan;
  EXPECT_EQ(plan.name, spec.name);
  EXPECT_EQ(plan.op, spec.op);
  EXPECT_EQ(plan.layout, spec.layout);
  EXPECT_EQ(plan.batch, spec.batch);
  EXPECT_EQ(plan.query_length, spec.query_length);
  // With a cache the keys are what the cache and the call have together.
  const Range keys =
      spec.kv_cache ? Range{spec.query_length.min, spec.kv_cache->capacity} : spec.key_length;
  EXPECT_EQ(plan.key_length, keys);
  EXPECT_EQ(plan.self_length, !spec.key_length_given && !spec.kv_cache);
  EXPECT_EQ(plan.d_model, spec.d_model);
  EXPECT_EQ(plan.outputs, spec.outputs);
  EXPECT_EQ(plan.attention.heads, spec.heads);
  EXPECT_EQ(plan.attention.kv_heads, spec.kv_heads);
  EXPECT_EQ(plan.attention.d_head, spec.d_head);
  EXPECT_EQ(plan.attention.d_value, spec.d_value);
  EXPECT_EQ(plan.attention.key_lengths, spec.mask.key_lengths);
  EXPECT_EQ(plan.wants("lse"), spec.wants("lse"));
  EXPECT_EQ(plan.wants("weights"), spec.wants("weights"));

  double scale = plan.attention.score_scale;
  std::vector<ProjectionPart> parts;
  for (const Projection& projection : plan.projections) {
    EXPECT_EQ(projection.input, "x");
    for (const ProjectionPart& part : projection.parts) {
      EXPECT_EQ(part.width, projection.parts[0].width);
      scale *= part.weight_scale;
      parts.push_back(part);
    }
  }
  EXPECT_DOUBLE_EQ(scale, spec.scale);
  if (spec.op == Op::kAttention) {
    EXPECT_TRUE(parts.empty());
    return;
  }
  const Bias& bias = spec.projection_bias;
  // Weights of two bytes are not multiplied by it.
  const double folded = spec.weights == Dtype::kF32 ? spec.scale : 1;
  const std::vector<ProjectionPart> want = {
      {"w_q", bias.q ? "b_q" : "", spec.heads, spec.d_head, folded},
      {"w_k", bias.k ? "b_k" : "", spec.kv_heads, spec.d_head, 1},
      {"w_v", bias.v ? "b_v" : "", spec.kv_heads, spec.d_value, 1},
  };
  EXPECT_EQ(parts, want);
  EXPECT_EQ(plan.projections.size(), spec.d_head == spec.d_value ? 1u : 2u);
  EXPECT_EQ(plan.out_weight, "w_o");
  EXPECT_EQ(plan.out_bias, bias.out ? "b_o" : "");
}

TEST_P(ShippedConfig, TextDoesNotDependOnWhatCameBefore) {
  const Spec spec = load_spec(GetParam());
  const LowerResult first = lower(spec);
  lower_text("version: 1\nname: between\nop: attention\nheads: 3\nd_head: 8\nquery_length: 7\n");
  const LowerResult second = lower(spec);
  EXPECT_EQ(first.mlir_before, second.mlir_before);
  EXPECT_EQ(first.mlir_after, second.mlir_after);
  EXPECT_EQ(plan_text(*first.plan), plan_text(*second.plan));
  // Texts that lie in another folder on another machine are the same text.
  EXPECT_EQ(first.mlir_after.find(spec.file), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(All, ShippedConfig, testing::ValuesIn(shipped_configs()),
                         [](const auto& info) { return info.param.stem().string(); });

// --- texts ---

TEST(Text, OfThePlan) {
  EXPECT_EQ(plan_text(plan_of(R"(version: 1
name: told
d_model: 32
heads: 4
kv_heads: 2
d_head: 16
batch: {min: 1, max: 2}
query_length: 12
projection_bias: {q: true, out: true}
mask: {causal: true}
)")),
            R"(told: block, B = 1..2, Lq = 12, Lk = Lq, M = 32
  project x: (w_q + b_q) * 0.25 (4 x 16), w_k (2 x 16), w_v (2 x 16)
  attention: H = 4, G = 2, D = 16, Dv = 16, scale 1, causal
  project out: w_o + b_o
  returns output
)");
}

TEST(Text, OfTheModules) {
  const LowerResult result =
      lower_text("version: 1\nname: small\nd_model: 8\nheads: 2\nquery_length: 3\n");
  const auto count = [](const std::string& text, const std::string& what) {
    int found = 0;
    for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; ++at) ++found;
    return found;
  };
  EXPECT_EQ(count(result.mlir_before, " = mha.project %"), 3) << result.mlir_before;
  EXPECT_EQ(count(result.mlir_before, "mha.project_merged"), 0);
  EXPECT_EQ(count(result.mlir_after, " = mha.project %"), 0) << result.mlir_after;
  EXPECT_EQ(count(result.mlir_after, "mha.project_merged"), 1);
  EXPECT_EQ(result.mlir_before.back(), '\n');
  EXPECT_EQ(result.mlir_after.back(), '\n');
}

// --- the example of docs/ir.md ---

// The fenced blocks of a markdown file, each as its language and its text.
std::vector<std::pair<std::string, std::string>> fenced_blocks(const std::string& path) {
  std::vector<std::pair<std::string, std::string>> blocks;
  std::ifstream file(path);
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("```")) {
      inside = !inside;
      if (inside) blocks.push_back({line.substr(3), ""});
    } else if (inside) {
      blocks.back().second += line + "\n";
    }
  }
  return blocks;
}

TEST(Document, ShowsWhatLoweringMakes) {
  const auto blocks = fenced_blocks(MHA_DOCS "/ir.md");
  ASSERT_EQ(blocks.size(), 4u);
  ASSERT_EQ(blocks[0].first, "yaml");
  const LowerResult result = lower_text(blocks[0].second);
  ASSERT_TRUE(result.plan);
  EXPECT_EQ(blocks[1].second, result.mlir_before);
  EXPECT_EQ(blocks[2].second, result.mlir_after);
  EXPECT_EQ(blocks[3].second, plan_text(*result.plan));
}

// --- errors point into the YAML ---

// The parser would refuse these first; the verifier must still say where they come from.
struct Broken {
  const char* name;
  std::function<void(Spec&)> breaks;
  const char* line;  // how the line starts that the error must point at
  const char* says;
};

void PrintTo(const Broken& broken, std::ostream* out) { *out << broken.name; }

class Verifier : public testing::TestWithParam<Broken> {};

constexpr char kWhole[] = R"(version: 1
name: whole
d_model: 64
heads: 4
kv_heads: 2
d_head: 16
batch: 2
query_length: 8
outputs: [output, weights]
)";

TEST_P(Verifier, PointsAtTheKey) {
  Spec spec = parse(kWhole);
  ASSERT_TRUE(lower(spec).plan);
  GetParam().breaks(spec);
  const LowerResult result = lower(spec);
  EXPECT_FALSE(result.plan);
  EXPECT_EQ(result.mlir_after, "");
  ASSERT_EQ(result.problems.size(), 1u);
  const Diagnostic& problem = result.problems[0];
  EXPECT_NE(problem.message.find(GetParam().says), std::string::npos) << problem.message;
  EXPECT_EQ(problem.where.file, "test.yaml");
  const std::string text = kWhole;
  const int want = 1 + static_cast<int>(std::count(
                           text.begin(), text.begin() + text.find(GetParam().line), '\n'));
  EXPECT_EQ(problem.where.line, want) << problem.message;
  EXPECT_GE(problem.where.column, 1);
}

void set_lengths(Spec& spec, int64_t length) {
  spec.query_length = spec.key_length = {length, length};
}

const Broken kBroken[] = {
    {"GroupsDoNotDivide", [](Spec& spec) { spec.kv_heads = 3; }, "kv_heads",
     "G = 3 key/value heads do not divide the H = 4 query heads"},
    {"WeightTooLarge", [](Spec& spec) { spec.d_model = 1 << 26; }, "heads",
     "weight \"w_q\" is 64 x 67108864"},
    {"WeightsOutputTooLarge", [](Spec& spec) { set_lengths(spec, 17000); }, "outputs",
     "weights [B, H, Lq, Lk] has 2^31 elements or more"},
    {"QueriesTooLong", [](Spec& spec) { set_lengths(spec, int64_t{1} << 24); }, "query_length",
     "q [B, Lq, H, D] has 2^31 elements or more"},
    {"OutputTooLarge",
     [](Spec& spec) {
       spec.outputs = {"output"};
       spec.d_model = 1 << 16;
       set_lengths(spec, 1 << 14);
     },
     "query_length", "the output has 2^31 elements or more"},
};
INSTANTIATE_TEST_SUITE_P(All, Verifier, testing::ValuesIn(kBroken),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Refusal, OfAKeyThatIsNotBuiltYet) {
  const std::string text =
      "version: 1\nname: arm\nd_model: 64\nheads: 4\nquery_length: 8\ntargets: [arm64]\n";
  const LowerResult result = lower_text(text);
  EXPECT_FALSE(result.plan);
  EXPECT_EQ(result.mlir_before, "");
  ASSERT_EQ(result.problems.size(), 1u);
  EXPECT_EQ(result.problems[0].where.line, 6);
  EXPECT_NE(result.problems[0].message.find("arm64"), std::string::npos);
}

// Where an index lies is found out case by case: of conditions that exclude each other no more than
// they are, and where there are too many the rule is refused in place.
TEST(Indices, TakeBoundedWork) {
  const std::string start =
      "version: 1\nname: t\nop: attention\nheads: 32\nd_head: 8\nquery_length: 8\n"
      "table: {t: {shape: [32], dtype: f32}}\nscore_rule: 's + t[";
  std::string heads = "0", parity = "0";
  for (int i = 0; i < 30; ++i)
    heads = std::to_string(i) + " if h == " + std::to_string(i) + " else " + heads;
  for (int i = 2; i < 20; ++i)
    parity = "(0 if k % " + std::to_string(i) + " == 0 else 1) + (" + parity + ")";
  EXPECT_TRUE(lower_text(start + heads + "]'\n").plan);
  const LowerResult refused = lower_text(start + parity + "]'\n");
  EXPECT_FALSE(refused.plan);
  ASSERT_EQ(refused.problems.size(), 1u);
  EXPECT_NE(refused.problems[0].message.find("the rule is too long"), std::string::npos)
      << refused.problems[0].message;
  EXPECT_EQ(refused.problems[0].where.line, 8);
}

// What is wider than a mask may be stays a rule.
TEST(Rules, SidesBeyond32Bits) {
  const std::string start =
      "version: 1\nname: t\nop: attention\nheads: 1\nd_head: 8\nquery_length: 8\n";
  for (const char* rule : {"q - k + 2147483647 < -2", "k - q - 2 < 2147483647"})
    EXPECT_TRUE(plan_of(start + "mask: {rule: '" + rule + "'}\n").attention.mask_rule) << rule;
}

TEST(Refusal, OfASpecThatNoParserMade) {
  const Spec whole = parse(kWhole);
  const std::function<void(Spec&)> breaks[] = {
      [](Spec& spec) { spec.heads = 0; },
      [](Spec& spec) { spec.d_head = -1; },
      [](Spec& spec) { spec.d_model = 0; },
      [](Spec& spec) { spec.batch = {0, 1}; },
      [](Spec& spec) { spec.key_length = {5, 4}; },
      [](Spec& spec) { spec.query_length.max = int64_t{1} << 31; },
  };
  for (const auto& change : breaks) {
    Spec spec = whole;
    change(spec);
    EXPECT_THROW(lower(spec), InternalError) << &change - breaks;
  }
}

}  // namespace
}  // namespace mha
