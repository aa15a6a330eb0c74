// What the tests of hostile data share.
#ifndef MHA_TESTS_NUMERIC_HOSTILE_H_
#define MHA_TESTS_NUMERIC_HOSTILE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "tests/numeric/harness.h"

namespace mha {

// The end of a config that asks for every output.
inline constexpr char kAllOutputs[] =
    ", outputs: [output, weights, mean_weights, lse, scores, scores_capped, scores_masked]"
    ", top_k: 5}";

// Of every output that knows masks.
inline constexpr char kMaskedOutputs[] =
    ", outputs: [output, weights, mean_weights, lse, scores_masked], top_k: 5}";

// Fails the test where an output is beyond its bound.
void expect_right(const TestKernel& kernel, const CallLengths& lengths, const HostTensors& inputs,
                  const Outputs& outputs);

// A mask of a shape of its own, every element from its place.
HostTensor mask_by(const Spec& spec, const std::vector<int64_t>& shape,
                   const std::function<double(int64_t, int64_t, int64_t, int64_t)>& value);

}  // namespace mha

#endif  // MHA_TESTS_NUMERIC_HOSTILE_H_
