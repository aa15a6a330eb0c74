#include "schedules/space.h"

#include <algorithm>
#include <cstdio>

#include "generator/pipeline/pipeline.h"

namespace mha {

std::vector<std::string> stage_names(const Plan& plan) {
  std::vector<std::string> names;
  for (const Projection& projection : plan.projections)
    names.push_back(projection_stage_name(projection));
  // What is computed of every pair of a query and a key is arranged as attention is.
  const bool pairs = std::any_of(plan.outputs.begin(), plan.outputs.end(), [](const auto& name) {
    return name != "output" && name != "lse";
  });
  if (decodes(plan)) names.push_back("decode");
  if (!decodes(plan) || pairs) names.push_back("attention");
  if (!plan.out_weight.empty()) names.push_back("project_out");
  return names;
}

const std::vector<ParamInfo>& stage_space(const std::string& stage) {
  static const std::vector<ParamInfo> attention = {
      {"query_block", {4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256}, "queries of one task"},
      {"key_block",
       {32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096},
       "keys of one partial softmax"},
      {"key_tile", {1, 2, 3, 4, 5, 6, 8, 10, 12, 14}, "keys of a register tile of scores"},
      {"query_vectors", {1, 2, 3, 4, 6}, "vectors of queries of a register tile of scores"},
      {"value_rows",
       {1, 2, 3, 4, 6, 8, 12, 16},
       "queries of a register tile of the product with V"},
      {"value_vectors", {1, 2, 3, 4, 5, 6, 7}, "vectors of V's width of that tile"},
      {"width_unroll", {1, 2, 4, 8}, "steps over D unrolled"},
      {"key_unroll", {1, 2, 4, 8}, "steps over keys unrolled in the product with V"},
      {"pack_keys", {0, 1}, "copy K per head before use (op attention)"},
      {"pack_values", {0, 1}, "copy V per head before use (op attention)"},
      {"task_order", {0, 1}, "0: query blocks of a head in turn, 1: heads of a query block"},
      {"score_order", {0, 1}, "scores of a block: 0 keys, 1 queries in the inner loop"},
      {"value_order", {0, 1}, "product with V: 0 queries, 1 V's width in the inner loop"},
      {"prefetch", {0, 1, 2, 4, 8}, "rows of K and V are prefetched so many key tiles ahead"},
      {"softmax_level",
       {0, 1},
       "scores to product with V: 0 per block of keys, 1 per group of queries"},
      {"split_keys", {0, 1}, "1: each block of keys is a task, and a stage merges them", 0},
      {"exp",
       {0, 1, 2},
       "2^x: 0 compares at the end, 1 clamps at the beginning, 2 is of degree 4",
       0},
  };
  static const std::vector<ParamInfo> decode = {
      {"split", {64, 128, 256, 512, 1024, 2048, 4096}, "keys of one task"},
      {"score_rows", {1, 2, 3, 4, 5, 6, 7, 8}, "rows of a register tile of scores"},
      {"panels", {1, 2, 4}, "panels of 16 keys of that tile"},
      {"value_rows", {1, 2, 3, 4, 5, 6, 7, 8}, "rows of a register tile of the product with V"},
      {"value_vectors", {1, 2, 3, 4, 5, 6, 7, 8}, "vectors of V's width of that tile"},
      {"shared_rows", {1, 2, 3, 4, 5, 6, 7, 8}, "rows of both tiles over keys that are shared"},
      {"shared_panels", {1, 2, 4}, "panels of the tile of scores there"},
      {"shared_vectors",
       {1, 2, 3, 4, 5, 6, 7, 8},
       "vectors of the tile of the product with V there"},
      {"width_unroll", {1, 2, 4, 8}, "steps over D unrolled"},
      {"key_unroll", {1, 2, 4, 8}, "steps over keys unrolled in the product with V"},
      {"prefetch", {0, 1, 2, 4, 8}, "K and V are prefetched so many panels of 16 keys ahead"},
  };
  static const std::vector<ParamInfo> projection = {
      {"row_tile", {1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16}, "rows of a register tile"},
      {"panel_vectors", {1, 2, 3, 4, 5, 6, 7, 8}, "vectors of a panel of packed weights"},
      {"depth_unroll", {1, 2, 4, 8}, "steps over the input width unrolled"},
      {"task_panels", {1, 2, 4, 8, 16}, "panels of one task"},
      {"task_rows",
       {8, 16, 32, 64, 96, 120, 128, 192, 240, 256, 480, 512, 960, 1024, 2048, 4096, 8192},
       "rows of one task"},
      {"task_order", {0, 1}, "0: panels of some rows in turn, 1: rows of some panels"},
      {"loop_order", {0, 1}, "within a task: 0 panels, 1 rows in the inner loop"},
      {"prefetch", {0, 1, 2, 4, 8}, "weights are prefetched so many unrolled steps ahead"},
  };
  return stage == "attention" ? attention : stage == "decode" ? decode : projection;
}

std::string space_signature() {
  // Raise it when a rule or the meaning of a parameter changes, which the table does not show.
  std::string text = "rules 5";
  for (const char* stage : {"attention", "decode", "project"}) {
    text += std::string("\n") + stage;
    for (const ParamInfo& info : stage_space(stage)) {
      text += "\n" + info.name;
      for (int64_t value : info.values) text += " " + std::to_string(value);
    }
  }
  uint32_t hash = 2166136261u;  // FNV-1a
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  char digits[16];
  std::snprintf(digits, sizeof digits, "%08x", hash);
  return digits;
}

}  // namespace mha
