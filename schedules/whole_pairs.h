// Two vectors of f32 that become pairs of bf16.
#ifndef MHA_SCHEDULES_WHOLE_PAIRS_H_
#define MHA_SCHEDULES_WHOLE_PAIRS_H_

#include <Halide.h>

namespace mha {

// Where the pipeline stores the upper halves of two vectors of 32-bit words side by side, it puts
// them together as words: a shift and a choice of bits, where Halide and LLVM would interleave
// first and then narrow each vector (and round by five operations instead of one), ten in all.
void store_whole_pairs(Halide::Pipeline& pipeline);

}  // namespace mha

#endif  // MHA_SCHEDULES_WHOLE_PAIRS_H_
