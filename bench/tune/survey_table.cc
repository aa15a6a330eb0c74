// The (stage, shape) pairs whose spaces are measured as a whole: each with a part of its space that
// holds 300 to 340 legal schedules for vectors of 16 floats. Register tiles go from
// the smallest up; the other values were drawn by chance around the analytic default.
#include "bench/tune/survey_table.h"

namespace mha {

const std::vector<SurveyShape>& survey_shapes() {
  static const std::vector<SurveyShape> shapes = {
      {"version: 1\nname: survey_512\nop: block\nd_model: 512\nheads: 8\nquery_length: 256\n",
       {
           // 336 candidates
           {"project_qkv",
            {{"row_tile", {1, 2, 4, 8}},
             {"panel_vectors", {1, 2}},
             {"depth_unroll", {1, 4, 8}},
             {"task_panels", {1}},
             {"task_rows", {32, 64, 120, 128, 240, 480, 512}},
             {"task_order", {0, 1}},
             {"loop_order", {0}}}},
           // 318 candidates
           {"attention",
            {{"query_block", {16, 32, 48, 64, 96, 128}},
             {"key_block", {64, 96, 128, 256}},
             {"key_tile", {1, 2, 4, 6, 8, 12}},
             {"query_vectors", {2, 3}},
             {"value_rows", {1, 2, 8}},
             {"value_vectors", {2}},
             {"width_unroll", {4}},
             {"key_unroll", {2}},
             {"pack_keys", {0}},
             {"pack_values", {0}},
             {"task_order", {0}},
             {"score_order", {0}},
             {"value_order", {0}}}},
           // 336 candidates
           {"project_out",
            {{"row_tile", {1, 2, 4, 5, 6, 8, 10, 12}},
             {"panel_vectors", {1, 2}},
             {"depth_unroll", {2, 4, 8}},
             {"task_panels", {1}},
             {"task_rows", {32, 120, 128, 480, 512}},
             {"task_order", {0, 1}},
             {"loop_order", {0, 1}}}},
       }},
      {"version: 1\nname: survey_256\nop: block\nd_model: 256\nheads: 8\nquery_length: 384\nmask: "
       "{causal: true}\n",
       {
           // 332 candidates
           {"project_qkv",
            {{"row_tile", {1, 2, 4, 6, 8, 10, 12, 16}},
             {"panel_vectors", {1, 2, 4}},
             {"depth_unroll", {2, 4}},
             {"task_panels", {1, 2, 4}},
             {"task_rows", {32, 64, 120, 128, 240, 480, 512}},
             {"task_order", {0}},
             {"loop_order", {0, 1}}}},
           // 312 candidates
           {"attention",
            {{"query_block", {32, 48}},
             {"key_block", {64, 96, 256}},
             {"key_tile", {1, 2, 4, 8, 12}},
             {"query_vectors", {1, 2}},
             {"value_rows", {1, 2, 4, 8, 16}},
             {"value_vectors", {2}},
             {"width_unroll", {4}},
             {"key_unroll", {2, 4}},
             {"pack_keys", {0}},
             {"pack_values", {0}},
             {"task_order", {0}},
             {"score_order", {0}},
             {"value_order", {0, 1}}}},
           // 336 candidates
           {"project_out",
            {{"row_tile", {1, 2, 4, 8}},
             {"panel_vectors", {1, 2}},
             {"depth_unroll", {4}},
             {"task_panels", {1, 2, 4}},
             {"task_rows", {32, 64, 120, 128, 240, 480, 512}},
             {"task_order", {0, 1}},
             {"loop_order", {0}}}},
       }},
      {"version: 1\nname: survey_768\nop: block\nd_model: 768\nheads: 6\nquery_length: 256\nmask: "
       "{window: {left: 64, right: 64}}\n",
       {
           // 324 candidates
           {"project_qkv",
            {{"row_tile", {1, 2, 4, 8, 10}},
             {"panel_vectors", {1, 2, 4}},
             {"depth_unroll", {4}},
             {"task_panels", {1, 2, 4}},
             {"task_rows", {64, 120, 128, 240, 480, 512}},
             {"task_order", {0}},
             {"loop_order", {0, 1}}}},
           // 306 candidates
           {"attention",
            {{"query_block", {32, 64, 128}},
             {"key_block", {32, 128, 192, 256}},
             {"key_tile", {1, 2, 4, 6, 8}},
             {"query_vectors", {1, 2, 3}},
             {"value_rows", {1, 2, 8}},
             {"value_vectors", {2}},
             {"width_unroll", {4}},
             {"key_unroll", {2}},
             {"pack_keys", {0}},
             {"pack_values", {0}},
             {"task_order", {0}},
             {"score_order", {0}},
             {"value_order", {0}}}},
           // 330 candidates
           {"project_out",
            {{"row_tile", {1, 2, 4, 5, 8, 12}},
             {"panel_vectors", {1, 2, 4}},
             {"depth_unroll", {4}},
             {"task_panels", {1, 2, 4}},
             {"task_rows", {64, 128, 512}},
             {"task_order", {0, 1}},
             {"loop_order", {0, 1}}}},
       }},
      {"version: 1\nname: survey_full\nop: attention\nheads: 4\nd_head: 64\nquery_length: 512\n",
       {
           // 324 candidates
           {"attention",
            {{"query_block", {16, 48, 64, 96}},
             {"key_block", {96, 128, 192, 512}},
             {"key_tile", {1, 2, 4, 6, 8}},
             {"query_vectors", {1, 2}},
             {"value_rows", {1, 2, 8, 16}},
             {"value_vectors", {2}},
             {"width_unroll", {4}},
             {"key_unroll", {2}},
             {"pack_keys", {0}},
             {"pack_values", {0}},
             {"task_order", {0}},
             {"score_order", {0}},
             {"value_order", {0}}}},
       }},
      {"version: 1\nname: survey_causal\nop: attention\nheads: 2\nd_head: 128\nquery_length: "
       "2048\nmask: {causal: true}\n",
       {
           // 312 candidates
           {"attention",
            {{"query_block", {32, 48}},
             {"key_block", {32, 64, 96, 128, 256, 384, 512, 1024}},
             {"key_tile", {1, 6, 8, 12}},
             {"query_vectors", {1, 2, 3}},
             {"value_rows", {1, 8}},
             {"value_vectors", {2}},
             {"width_unroll", {4}},
             {"key_unroll", {2, 4}},
             {"pack_keys", {0}},
             {"pack_values", {0}},
             {"task_order", {0}},
             {"score_order", {0}},
             {"value_order", {0}}}},
       }},
      {"version: 1\nname: survey_window\nop: attention\nheads: 4\nd_head: 32\nquery_length: "
       "1024\nmask: {window: {left: 128, right: 128}}\n",
       {
           // 320 candidates
           {"attention",
            {{"query_block", {32, 128}},
             {"key_block", {32, 96, 192, 256, 1024}},
             {"key_tile", {1, 2, 4, 8}},
             {"query_vectors", {2, 3}},
             {"value_rows", {1, 2, 4, 8, 12, 16}},
             {"value_vectors", {2}},
             {"width_unroll", {1, 4}},
             {"key_unroll", {2}},
             {"pack_keys", {0}},
             {"pack_values", {0}},
             {"task_order", {0}},
             {"score_order", {0}},
             {"value_order", {0, 1}}}},
       }},
  };
  return shapes;
}

}  // namespace mha
