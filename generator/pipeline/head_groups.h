// The query heads that read one KV head, as rows of one tile. Where heads are pruned, groups may be
// of different sizes: a tile has the rows of the largest, and smaller ones fill theirs with their
// last head. Private to generator/pipeline and schedules.
#ifndef MHA_GENERATOR_PIPELINE_HEAD_GROUPS_H_
#define MHA_GENERATOR_PIPELINE_HEAD_GROUPS_H_

#include <Halide.h>

#include <cstdint>
#include <vector>

#include "generator/ir/plan.h"

namespace mha {

struct HeadGroups {
  int64_t rows = 1;  // of a tile, for each query
  // All heads are counted as they are computed. Empty where every group is of `rows` heads.
  std::vector<int64_t> first, last;   // head of each KV head
  std::vector<int64_t> row, kv_head;  // of each head
};
HeadGroups head_groups(const Attention& attention);

// The computed head that row `row` < groups.rows of a computed KV head is.
Halide::Expr head_of_row(const HeadGroups& groups, const Halide::Expr& kv_head,
                         const Halide::Expr& row);
// The row of a computed head, and its KV head.
Halide::Expr row_of_head(const HeadGroups& groups, const Halide::Expr& head);
Halide::Expr kv_head_of(const HeadGroups& groups, const Halide::Expr& head);

}  // namespace mha

#endif  // MHA_GENERATOR_PIPELINE_HEAD_GROUPS_H_
