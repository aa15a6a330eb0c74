// What the stages over scores have in common: queries, tiles of scores, masks. Private to
// schedules.
#ifndef MHA_SCHEDULES_APPLY_SCORES_H_
#define MHA_SCHEDULES_APPLY_SCORES_H_

#include <Halide.h>

#include <initializer_list>

#include "generator/pipeline/program.h"
#include "schedules/schedule.h"

namespace mha {

// Allocations get constant extents, so that the workspace can be sized: no Func holds more than the
// queries of a task, nor more than this many keys or key blocks.
void bound_storage(Stage& stage, std::initializer_list<const char*> names, int query_block,
                   int keys, int key_blocks);
// queries[d][y] from rows [y][d]: vector x vector tiles that are read as rows and stored as
// columns. Pairs of columns are then stored as one.
void transpose_queries(Stage& stage, int64_t width, int vector);
// S^T tiles of key_tile keys x query_vectors vectors of queries.
void schedule_scores(Stage& stage, const Halide::LoopLevel& level, const StageSchedule& params,
                     int vector);
// The mask of a block of scores, from rows along the keys to columns along the queries.
void schedule_mask(Stage& stage, const Halide::LoopLevel& level, int vector);
// What rules hold once a task: parts that only the query decides, and which blocks of keys a mask
// rule shows.
void schedule_rules(Stage& stage, int query_block, int key_block, int key_blocks, int vector);

}  // namespace mha

#endif  // MHA_SCHEDULES_APPLY_SCORES_H_
