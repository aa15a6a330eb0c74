// The analytic default: register tiles from the size of the register file, blocks from the caches.
#include <algorithm>

#include "generator/pipeline/head_groups.h"
#include "generator/pipeline/pipeline.h"
#include "schedules/schedule.h"
#include "schedules/space.h"

namespace mha {

namespace {

// rows x vectors accumulators, one register for every vector loaded and one for a scalar (and one
// for a product where there is no fused multiply-add), must fit the register file. Words of two
// bf16 that are multiplied half by half take as many vectors again, and a mask.
int most_rows(const Machine& machine, int vectors, bool halves = false) {
  const int others = (halves ? 2 * vectors + 1 : vectors) + (machine.fma ? 1 : 2);
  return (machine.vector_registers - others) / vectors;
}

int largest_at_most(const std::vector<int64_t>& values, int64_t bound) {
  int64_t best = values.front();
  for (int64_t value : values) {
    if (value <= bound) best = value;
  }
  return static_cast<int>(best);
}

const std::vector<int64_t>& values_of(const std::string& stage, const std::string& param) {
  for (const ParamInfo& info : stage_space(stage)) {
    if (info.name == param) return info.values;
  }
  throw std::out_of_range(param);
}

// Vectors of a tile over a width of so many vectors, at most `most`: 2 where they divide it, else
// the best divisor.
int tile_vectors(int64_t vectors, int most = 5) {
  for (int candidate : {2, 3, 4, 5, 1}) {
    if (candidate <= most && vectors % candidate == 0) return candidate;
  }
  return 1;
}

int tile_rows(const Machine& machine, const std::string& stage, const std::string& param,
              int vectors, int64_t rows, bool halves = false) {
  // 8 x 2 beats 12 x 2 and 6 x 4 on Zen 5: 16 accumulators hide the latency of two FMA pipes
  // already.
  const int wanted =
      std::min(most_rows(machine, vectors, halves), vectors == 1   ? 12
                                                    : vectors == 2 ? 8
                                                                   : 16 / vectors + 1);
  return largest_at_most(values_of(stage, param),
                         std::min<int64_t>(wanted, std::max<int64_t>(rows, 1)));
}

// The largest legal value of an attention parameter up to `bound` that `factor` divides.
int largest_multiple(const std::string& param, int factor, int64_t bound) {
  int64_t best = 0;
  for (int64_t value : values_of("attention", param)) {
    if (value <= bound && value % factor == 0) best = value;
  }
  return static_cast<int>(best);
}

// The tallest value tile, and the smallest block of at least (and less than twice) the wanted
// queries that whole tiles of scores and of values fill.
struct QueryTiles {
  int query_block = 0, value_rows = 1;
};
QueryTiles query_tiles(int wanted_queries, int score_queries, int most_value_rows) {
  for (int rows = most_value_rows; rows >= 1; rows--) {
    const std::vector<int64_t>& legal_rows = values_of("attention", "value_rows");
    if (std::find(legal_rows.begin(), legal_rows.end(), rows) == legal_rows.end()) continue;
    for (int64_t block : values_of("attention", "query_block")) {
      if (block >= wanted_queries && block < 2 * wanted_queries && block % score_queries == 0 &&
          block % rows == 0) {
        return {static_cast<int>(block), rows};
      }
    }
  }
  return {wanted_queries, 1};
}

// Attention whose keys are split over tasks: one thread loses 1 to 2 % by it, two gain 1.9 times
// (Zen 4, one head of 64, 16 and 64 queries, 4096 keys).
constexpr int64_t kFewTasks = 4, kManyKeys = 2048;

StageSchedule attention_default(const Plan& plan, const Machine& machine) {
  const Attention& a = plan.attention;
  const int lanes = machine.vector_floats;
  const int64_t queries = plan.query_length.max;
  const int64_t keys = plan.keys().max;
  // Few queries, whose number is not known: the last block is computed in groups of query_vectors,
  // and one vector wastes least of them.
  const bool few = !plan.queries().fixed() && queries <= 8 * lanes;
  // Four vectors of queries share each element of K that is loaded; fewer where there are no more
  // queries.
  const int query_vectors = queries <= lanes || few ? 1 : 2;
  // Causal and window: fewer queries have less of their keys masked.
  const bool bands = a.left || a.right;
  const bool pairs = takes_pairs(plan, has_bf16_dot(machine));
  const int64_t element = pairs ? 2 : 4;  // of K and V, as they are multiplied
  // K and V of a head that lie far beyond L2: more queries for each time that they are read.
  const bool far =
      !bands && queries >= 8 * lanes &&
      keys * (a.d_head + a.d_value) * element > 6 * static_cast<int64_t>(machine.l2_bytes);
  const int wanted_queries = lanes * (queries <= lanes                        ? 1
                                      : few && !bands && queries <= 3 * lanes ? 3
                                      : queries <= 2 * lanes || bands         ? 2
                                      : far                                   ? 8
                                                                              : 4);
  const int value_vectors = tile_vectors(padded_width(a.d_value, lanes) / lanes);
  const QueryTiles tiles =
      query_tiles(wanted_queries, query_vectors * lanes,
                  tile_rows(machine, "attention", "value_rows", value_vectors, wanted_queries));
  // Blocks of scores and probabilities that stay in L1 beside the tiles; of longer sequences larger
  // ones, so that the partial results of a query block stay in L2 until they are merged.
  // Few keys, too, are best cut into tiles that few of them overshoot.
  const int64_t most_keys = few && keys <= 8 * lanes ? std::min<int64_t>(keys, 8) : keys;
  int key_tile = tile_rows(machine, "attention", "key_tile", query_vectors, most_keys);
  // No tile reaches over the end of a page of the cache.
  while (plan.cache && kCachePanel % key_tile != 0) key_tile--;
  // Fewer tasks than most machines have threads, each long enough to be cut.
  const int64_t tasks =
      plan.batch.max * a.heads * ((queries + tiles.query_block - 1) / tiles.query_block);
  const bool split = tasks < kFewTasks && keys >= kManyKeys && !plan.cache && !plan.packed &&
                     !a.mask_rule && !a.left;
  const int64_t wanted_keys = bands || far ? 256 : keys <= 2048 && !split ? 128 : 512;
  const int tile_step = pairs ? 2 : 1;
  if (pairs) key_tile = std::max(key_tile / 2 * 2, 2);
  while (largest_multiple("key_block", key_tile, wanted_keys) == 0) key_tile -= tile_step;
  const int key_block = largest_multiple("key_block", key_tile, wanted_keys);
  // Vector loads need V's rows padded. Rows that lie a multiple of 4 KiB apart share a few sets of
  // L1, and rows of long sequences are better read from as few pages as they need.
  const bool block = plan.op == Op::kBlock || plan.cache;
  const bool interleaved = plan.layout == Layout::kBshd && a.kv_heads > 1;
  // Of a window's keys each is read too few times to be worth a copy.
  const bool window = a.left && a.right;
  const bool aliased = interleaved && !window && a.kv_heads * a.d_value * element % 4096 == 0;
  const bool copied = !block && !window && interleaved && queries >= 128;
  // K is copied in any case where norm or rotation make something else of it.
  const bool transformed = !block && (a.norm || a.rotation);
  const bool copy_keys = transformed || (copied && keys >= 2048), long_keys = copied && keys > 4096;
  // What is not f32 and cannot be multiplied as it is becomes f32 once, and not in the inner loops.
  const bool converted = !block && plan.dtype != Dtype::kF32 && !pairs;
  const bool pack_values = !block && (pairs || converted || a.d_value % lanes != 0 ||
                                      (aliased && queries >= 128 && keys >= 256) || long_keys);
  return {"attention",
          {{"query_block", tiles.query_block},
           {"key_block", key_block},
           {"key_tile", key_tile},
           {"query_vectors", query_vectors},
           {"value_rows", tiles.value_rows},
           {"value_vectors", value_vectors},
           {"width_unroll", 4},
           {"key_unroll", 2},
           {"pack_keys", copy_keys || converted || (!block && pairs && a.d_head % 2 != 0) ? 1 : 0},
           {"pack_values", pack_values ? 1 : 0},
           {"task_order", 0},
           {"score_order", 0},
           {"value_order", 0},
           {"prefetch", 0},
           {"softmax_level", 0},
           {"split_keys", split ? 1 : 0},
           {"exp", 0}}};
}

// Attention of few queries reads K and V once, as fast as memory gives them, which asks for one
// stream of lines that follow one another: a panel of K after the other, and whole rows of V. Rows
// as many as fit beside them. Over shared keys there are many rows, and tiles as in any product.
StageSchedule decode_default(const Plan& plan, const Machine& machine) {
  constexpr int kMostDecodeRows = 8;  // of a tile in the table
  const Attention& a = plan.attention;
  const int lanes = machine.vector_floats;
  const int64_t rows = head_groups(a).rows * plan.query_length.max;
  const int panel_vectors = std::max(kCachePanel / lanes, 1);
  // Splits grow with the cache, so that there are at most 128 of them.
  int64_t split = 512;
  while (split < 4096 && plan.keys().max / split > 128) split *= 2;
  // The most rows up to `most` beside so many vectors; of a fixed number of rows a divisor.
  const auto tile_of = [&](int vectors, int most) {
    int best = 1;
    for (int tile = 2; tile <= std::min(most, kMostDecodeRows) && tile <= rows; tile++) {
      if (tile * vectors + vectors + 1 > machine.vector_registers) continue;
      if (!plan.queries().fixed() || rows % tile == 0) best = tile;
    }
    return best;
  };
  const int wide = static_cast<int>(padded_width(a.d_value, kCachePanel)) / lanes;
  int value_vectors = 1, shared_vectors = wide % 2 == 0 ? 2 : 1;
  for (int vectors = 2; vectors <= 8; vectors++) {
    if (wide % vectors == 0 &&
        tile_of(vectors, std::min(16 / vectors, 8)) >= std::min<int64_t>(rows, 2))
      value_vectors = vectors;
  }
  const int shared_panels = panel_vectors == 1 ? 2 : 1;
  const int shared_rows = std::min(
      {8, most_rows(machine, shared_panels * panel_vectors), most_rows(machine, shared_vectors)});
  return {"decode",
          {{"split", split},
           {"score_rows", tile_of(panel_vectors, 4)},
           {"panels", 1},
           {"value_rows", tile_of(value_vectors, std::clamp(16 / value_vectors, 1, 8))},
           {"value_vectors", value_vectors},
           {"shared_rows", shared_rows},
           {"shared_panels", shared_panels},
           {"shared_vectors", shared_vectors},
           {"width_unroll", 4},
           {"key_unroll", 2},
           {"prefetch", plan.dtype == Dtype::kF32 ? 0 : 1}}};
}

// What a projection computes: rows by `depth` times weights of `width` columns; of a projection in
// front of the attention the columns of a head.
struct ProjectionShape {
  int64_t width = 0, depth = 0;
  Range rows;
  bool of_memory = false;
};

// Rows that a tile should have at most. Where calls bring any number of them, a call of one
// computes a whole tile: eight rows of f32 take as long as memory takes to be read; of weights that
// are converted, which are fewer bytes, four.
int64_t rows_of_tile(const Plan& plan, const ProjectionShape& shape, const Machine& machine) {
  if (shape.rows.fixed()) return shape.rows.max;
  const bool converted =
      plan.weights != Dtype::kF32 && products_of(plan, has_bf16_dot(machine)) != Products::kPairs;
  const bool decoded = plan.query_length.max == 1 && !shape.of_memory && shape.rows.max <= 16;
  return std::min<int64_t>(shape.rows.max, decoded && converted ? 4 : 8);
}

StageSchedule projection_default(const std::string& stage, const Plan& plan,
                                 const ProjectionShape& shape, const Machine& machine) {
  const int64_t rows = shape.rows.max;
  const bool fixed = shape.rows.fixed();
  const bool halves = products_of(plan, has_bf16_dot(machine)) == Products::kHalves;
  int most_vectors = 5;
  while (most_rows(machine, most_vectors, halves) < 1) most_vectors--;
  const int vectors =
      tile_vectors((shape.width + machine.vector_floats - 1) / machine.vector_floats, most_vectors);
  const int row_tile =
      tile_rows(machine, stage, "row_tile", vectors, rows_of_tile(plan, shape, machine), halves);
  const bool converted_once =
      converts_panels(plan, has_bf16_dot(machine), expected_rows(plan, shape.of_memory), row_tile);
  // The output projection stores rows of the caller's tensor: neighbouring panels one after the
  // other, so that the lines of a row come together. A panel in front of the attention fills rows
  // of its own.
  int task_panels = 1, task_rows = 512;
  if (stage == "project_out" && fixed && rows >= 512) {
    const int64_t panels = shape.width / (vectors * machine.vector_floats);
    const int64_t panel_bytes = vectors * machine.vector_floats * shape.depth *
                                (converted_once ? 4 : dtype_bytes(plan.weights));
    while (task_panels < 4 && panels % (2 * task_panels) == 0 &&
           2 * task_panels * panel_bytes <= static_cast<int64_t>(machine.l2_bytes) / 2)
      task_panels *= 2;
    // Work for many threads; where the weights are large, they are better read once for more rows.
    if (panels / task_panels < 8) task_rows = 128;
  }
  // f16 and int8 that are converted in the loop. In a short one this costs least: on Zen 4, rows of
  // 1024, f16 runs at 85 % of the peak, and at 82 % with four steps.
  const bool converted =
      (plan.weights == Dtype::kF16 || plan.weights == Dtype::kInt8) && !converted_once;
  const int depth_unroll = converted && row_tile >= 8 ? 1 : 4;
  while (task_rows % row_tile != 0)
    task_rows = task_rows == 512 ? 480 : task_rows == 128 ? 120 : task_rows / 2;
  return {stage,
          {{"row_tile", row_tile},
           {"panel_vectors", vectors},
           {"depth_unroll", depth_unroll},
           {"task_panels", task_panels},
           {"task_rows", task_rows},
           {"task_order", 0},
           {"loop_order", 0},
           {"prefetch", 0}}};
}

// Rows of queries that a projection sees as one sequence.
Range projected_rows(const Plan& plan) {
  if (plan.packed) return plan.rows();
  return plan.query_length.max == 1 ? plan.batch : plan.query_length;
}

}  // namespace

Schedule default_schedule(const Plan& plan, const Machine& machine, int threads) {
  (void)threads;
  Schedule schedule;
  for (const Projection& projection : plan.projections) {
    const bool of_memory = projection.parts.front().weight != "w_q" && !plan.self_length &&
                           (!plan.cache || plan.has_own_keys());
    const Range rows = of_memory ? new_keys(plan) : projected_rows(plan);
    schedule.stages.push_back(projection_default(
        projection_stage_name(projection), plan,
        {projection.parts.front().width, plan.d_model, rows, of_memory}, machine));
  }
  for (const std::string& name : stage_names(plan)) {
    if (name == "decode") schedule.stages.push_back(decode_default(plan, machine));
    if (name == "attention") schedule.stages.push_back(attention_default(plan, machine));
  }
  if (!plan.out_weight.empty()) {
    const Range rows = projected_rows(plan);
    schedule.stages.push_back(projection_default(
        "project_out", plan, {plan.d_model, plan.attention.heads * plan.attention.d_value, rows},
        machine));
  }
  return schedule;
}

}  // namespace mha
