// Random configs, and random calls of them.
#ifndef MHA_TESTS_NUMERIC_RANDOM_CONFIG_H_
#define MHA_TESTS_NUMERIC_RANDOM_CONFIG_H_

#include <optional>
#include <string>

#include "generator/spec/spec.h"
#include "tests/numeric/harness.h"

namespace mha {

// Every feature in every combination, at sizes where bugs live: 1, primes, one off a power of two.
std::string random_config(Random& random);

struct RandomCall {
  CallLengths lengths;
  HostTensors inputs;
};
// `which` of a spec's lengths: 0 the largest, 1 the smallest, 2 any. Index tensors and masks with
// their extremes among them. Nothing where most rows see no key in any call that was drawn: zeros
// held against zeros find nothing.
std::optional<RandomCall> random_call(const Spec& spec, int which, uint64_t seed, Random& random);

// Whether no rule tells the sequences of a batch apart.
bool sequences_are_alike(const Spec& spec);
// Sequence b of a call as a batch of its own, and what the call wrote for it.
RandomCall only_sequence(const Spec& spec, const RandomCall& call, int64_t b);
Outputs outputs_of_sequence(const Spec& spec, const RandomCall& call, const Outputs& outputs,
                            int64_t b);

}  // namespace mha

#endif  // MHA_TESTS_NUMERIC_RANDOM_CONFIG_H_
