// What every random call of a kernel is held to.
#ifndef MHA_TESTS_NUMERIC_RANDOM_CALL_H_
#define MHA_TESTS_NUMERIC_RANDOM_CALL_H_

#include <cstdint>
#include <functional>

#include "tests/numeric/harness.h"
#include "tests/numeric/random_config.h"

namespace mha {

// Draws a call (random_call()) and expects its outputs to be within their bounds; `more` may look
// at them too. Nothing happens where no call could be drawn.
void check_random_call(const TestKernel& kernel, int which, uint64_t seed, Random& random,
                       Tally* tally,
                       const std::function<void(const RandomCall&, const Outputs&)>& more);

// `when`: "on two threads".
void expect_same_bits(const Outputs& outputs, const Outputs& others, const char* when);

// Over all calls of the tally; prints what it finds.
void expect_as_exact_as_plain(const Tally& tally);

}  // namespace mha

#endif  // MHA_TESTS_NUMERIC_RANDOM_CALL_H_
