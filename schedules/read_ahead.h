// Prefetches of streams that lie in pages.
#ifndef MHA_SCHEDULES_READ_AHEAD_H_
#define MHA_SCHEDULES_READ_AHEAD_H_

#include <Halide.h>

#include <string>

namespace mha {

// In the loop `loop` over what the Func `func` is computed for, each line of `input` that a vector
// load reads is prefetched `steps` iterations before, page by page as the page table says: a
// processor's own prefetching ends with a page. The innermost loop inside has the instructions, one
// for each load, so that they are spread over the time of the iteration. Never behind the last
// iteration, whose page may not be in the table.
struct ReadAhead {
  std::string input, func, loop;
  int steps = 0;
  int distance = 0;  // of so many steps, in elements, within a page
};
void read_ahead(Halide::Pipeline& pipeline, const ReadAhead& stream);

}  // namespace mha

#endif  // MHA_SCHEDULES_READ_AHEAD_H_
