// Prefetches of a stage's inputs.
#ifndef MHA_SCHEDULES_PREFETCH_H_
#define MHA_SCHEDULES_PREFETCH_H_

#include <Halide.h>

namespace mha {

// Brings what `stage` reads of an input `ahead` iterations of `loop` later into the cache; nothing
// where `ahead` is 0. A prefetch does not fault wherever it points, so those of the last iterations
// reach past the end unguarded.
void prefetch(Halide::Stage stage, const Halide::ImageParam& input, const Halide::VarOrRVar& loop,
              int ahead);

// Makes the prefetches of a pipeline what they are meant to be: one instruction a line, without
// loops. Halide 21 cuts rows into lines but then steps by their bytes where it counts elements, so
// that three lines of four would be missed; and its loops cost more than the instructions in them.
void unroll_prefetches(Halide::Pipeline& pipeline);

}  // namespace mha

#endif  // MHA_SCHEDULES_PREFETCH_H_
