// The decoder in float64, as a textbook has it: no cache, every token again each time.
#ifndef MHA_EXAMPLES_DECODER_TESTS_PLAIN_DECODER_H_
#define MHA_EXAMPLES_DECODER_TESTS_PLAIN_DECODER_H_

#include <cstdint>
#include <vector>

#include "examples/decoder/attention.h"
#include "examples/decoder/weights.h"

namespace mha::decoder {

// The logits of what follows the tokens.
std::vector<double> plain_logits(const Shape& shape, const Model& model, const Weights& weights,
                                 const std::vector<int32_t>& tokens);

}  // namespace mha::decoder

#endif  // MHA_EXAMPLES_DECODER_TESTS_PLAIN_DECODER_H_
