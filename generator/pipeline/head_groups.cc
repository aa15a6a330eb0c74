#include "generator/pipeline/head_groups.h"

#include <algorithm>

#include "generator/pipeline/stages.h"

namespace mha {

using Halide::Expr;

HeadGroups head_groups(const Attention& attention) {
  HeadGroups groups;
  groups.rows = attention.heads / attention.kv_heads;
  if (attention.kv_head_of.empty()) return groups;
  groups.kv_head = attention.kv_head_of;
  groups.rows = 0;
  for (int64_t head = 0; head < attention.heads; ++head) {
    const auto kv_head = static_cast<size_t>(groups.kv_head[static_cast<size_t>(head)]);
    if (kv_head == groups.first.size()) {
      groups.first.push_back(head);
      groups.last.push_back(head);
    }
    groups.last[kv_head] = head;
    groups.row.push_back(head - groups.first[kv_head]);
    groups.rows = std::max(groups.rows, groups.row.back() + 1);
  }
  return groups;
}

Expr head_of_row(const HeadGroups& groups, const Expr& kv_head, const Expr& row) {
  if (groups.first.empty()) return kv_head * static_cast<int>(groups.rows) + row;
  // Bounds of the sum and of the last head are looser than what they are bounds of.
  return Halide::clamp(min(pick(groups.first, kv_head) + row, pick(groups.last, kv_head)), 0,
                       static_cast<int>(groups.row.size()) - 1);
}

Expr row_of_head(const HeadGroups& groups, const Expr& head) {
  return groups.row.empty() ? head % static_cast<int>(groups.rows) : pick(groups.row, head);
}

Expr kv_head_of(const HeadGroups& groups, const Expr& head) {
  return groups.kv_head.empty() ? head / static_cast<int>(groups.rows) : pick(groups.kv_head, head);
}

}  // namespace mha
