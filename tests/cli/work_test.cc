// The work of a call as mha-run counts it, against pairs counted one by one.
#include "tools/mha-run/work.h"

#include <gtest/gtest.h>

#include <string>

#include "generator/spec/parse.h"
#include "tools/mha-run/inputs.h"
#include "tools/mha-run/random.h"
#include "tools/reference/visibility.h"

namespace mha {
namespace {

Spec spec_of(const std::string& yaml) {
  ParseResult parsed = parse_spec_text(yaml, "test.yaml");
  if (!parsed.spec) throw std::runtime_error(format_diagnostics(parsed.problems, yaml));
  return *parsed.spec;
}

const char* const kAttention = R"(version: 1
name: work
op: attention
heads: 4
kv_heads: 2
d_head: 8
d_value: 5
batch: 3
query_length: 11
)";

// Two for each multiply-add of Q K^T and P V.
constexpr int64_t kFlopsOfPair = 2 * (8 + 5);

TEST(Work, IsOfVisiblePairsAlone) {
  for (const char* rest : {
           "key_length: 17\n",
           "key_length: 17\nmask: {causal: true}\n",
           "key_length: 17\nquery_offset: end\nmask: {causal: true, key_lengths: true}\n",
           "key_length: 5\nquery_offset: end\nmask: {causal: true}\n",
           "key_length: 17\nquery_offset: input\nmask: {window: {left: 2, right: 3}}\n",
           "key_length: 40\nmask: {window: {right: 1}, key_starts: true}\n",
           "mask: {tensor: bool}\n",
           "key_length: 40\nmask: {rule: 'k <= q and (q - k < 5 or k < 3)'}\n",
           "key_length: 40\nmask: {rule: '(q + 2 * k) % 5 != 2 or h == 1', key_lengths: true}\n",
           "mask: {rule: 'tanh(q - k) / 2 < 0.3 and k // 3 != 1', tensor: bool}\n",
           "mask: {rule: 'doc[q] == doc[k]', causal: true}\ntable: {doc: [Lk]}\n",
           "mask: {tensor: additive, causal: true, window: {left: 4}, key_starts: true}\n",
       }) {
    SCOPED_TRACE(rest);
    const Spec spec = spec_of(std::string(kAttention) + rest);
    const CallLengths lengths = max_lengths(spec);
    HostTensors inputs = random_input_tensors(spec, lengths, 1);
    const auto pairs = [&] {
      Arrays arrays;
      for (const auto& [name, tensor] : inputs) arrays[name] = tensor.array();
      const Visibility visibility(spec, lengths, arrays);
      int64_t count = 0;
      for (int64_t b = 0; b < lengths.batch; ++b) {
        for (int64_t h = 0; h < spec.heads; ++h) {
          for (int64_t i = 0; i < lengths.query; ++i) {
            count += static_cast<int64_t>(visibility.keys(b, h, i).size());
          }
        }
      }
      return count;
    };
    EXPECT_EQ(work_of(spec, lengths, inputs).flops, kFlopsOfPair * pairs());
    if (inputs.count("mask") == 0) continue;
    for (const std::vector<int64_t>& shape :
         {std::vector<int64_t>{3, 4, 11, 11}, {1, 4, 1, 11}, {3, 1, 11, 1}}) {
      TensorDecl decl = inputs.at("mask").decl;
      decl.shape = shape;
      inputs.insert_or_assign("mask", random_tensor(spec, lengths, decl, 2));
      EXPECT_EQ(work_of(spec, lengths, inputs).flops, kFlopsOfPair * pairs()) << shape_text(shape);
    }
  }
}

TEST(Work, OfPackedSequencesIsThatOfEach) {
  const Spec spec = spec_of(std::string(kAttention) + "packed: true\nmask: {causal: true}\n");
  CallLengths lengths = max_lengths(spec);
  lengths.total = 9;
  HostTensors inputs = random_input_tensors(spec, lengths, 1);
  inputs.at("sequence_starts").ints = {0, 3, 3, 9};
  const Work work = work_of(spec, lengths, inputs);
  EXPECT_EQ(work.flops, kFlopsOfPair * spec.heads * (3 * 4 / 2 + 6 * 7 / 2));
  // query, key, value and output of 9 rows, and four numbers of sequence_starts.
  EXPECT_EQ(work.bytes, 4 * (9 * (4 * 8 + 2 * 8 + 2 * 5 + 4 * 5) + 4));
}

TEST(Work, OfABlockProjectsTheKeysThatSomeQuerySees) {
  const Spec spec = spec_of(R"(version: 1
name: work
d_model: 12
heads: 2
d_head: 8
query_length: 3
key_length: 10
cross: true
mask: {window: {left: 1, right: 2}}
)");
  const CallLengths lengths = max_lengths(spec);
  const Work work = work_of(spec, lengths, random_input_tensors(spec, lengths, 1));
  const int64_t pairs = 3 + 4 + 4;  // keys 0 to 2, 0 to 3, 1 to 4
  // Q and the output of 3 rows; K and V of keys 0 to 4.
  EXPECT_EQ(work.flops, 2 * 2 * pairs * 2 * 8 + 2 * 12 * 16 * (2 * 3 + 2 * 5));
}

}  // namespace
}  // namespace mha
