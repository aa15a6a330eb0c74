#include "schedules/tuner/model.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "generator/pipeline/pipeline.h"

namespace mha {
namespace {

// How far behind the analytic default a candidate must be: twice what the model has been seen to
// be wrong by.
constexpr double kFarBehind = 1.4;

// So many tasks a stage keeps, or as many as the default has if these are fewer: a schedule that
// was timed on one thread may run in a program with many.
constexpr double kTasks = 16;

constexpr double kLatency = 4;       // cycles of a multiply-add
constexpr double kIssue = 6;         // instructions a cycle
constexpr double kL2Bytes = 40;      // a cycle, into L1
constexpr double kL3Bytes = 12;      // a cycle, into L2
constexpr double kTile = 14;         // cycles to begin and end a register tile
constexpr double kTask = 600;        // cycles of a task's own
constexpr double kExp = 7.5;         // cycles of a vector of exponentials
constexpr double kMaskVector = 1.5;  // cycles of masking a vector

double ceil_div(double a, double b) { return std::ceil(a / b); }

// Work and memory traffic mostly overlap.
double overlapped(double work, double traffic) {
  return std::max(work, traffic) + 0.25 * std::min(work, traffic);
}

}  // namespace

CostModel::CostModel(const StageProblem& problem)
    : plan_(problem.plan), machine_(problem.machine), threads_(std::max(problem.threads, 1)) {
  analytic_ = cost(problem.analytic);
  analytic_tasks_ = tasks(problem.analytic);
}

double CostModel::cost(const StageSchedule& schedule) const {
  if (schedule.stage == "decode") return decode(schedule);
  return schedule.stage == "attention" ? attention(schedule) : projection(schedule);
}

std::optional<std::string> CostModel::prunes(const StageSchedule& schedule) const {
  const double left = tasks(schedule);
  if (left < std::min(kTasks, analytic_tasks_)) {
    char text[64];
    std::snprintf(text, sizeof text, "%.0f tasks are too few for more threads", left);
    return text;
  }
  const double ratio = cost(schedule) / analytic_;
  if (ratio < kFarBehind) return std::nullopt;
  char text[64];
  std::snprintf(text, sizeof text, "the model puts it at %.2f times the default", ratio);
  return text;
}

// Cycles of one step of a register tile of rows x vectors sums: the busiest of the multiply-add
// ports, the loads (as wide as they, and as many a cycle), the issue of instructions, and the chain
// of one sum.
double CostModel::step(double rows, double vectors, double unroll) const {
  const double products = rows * vectors * (machine_.fma ? 1 : 2);
  return std::max({products / machine_.fma_ports, (rows + vectors) / machine_.fma_ports,
                   (products + rows + vectors + 3 / unroll) / kIssue, kLatency}) +
         0.3 / unroll;
}

// How much longer the last thread works than all on average.
double CostModel::idle(double tasks) const {
  return ceil_div(tasks, threads_) * threads_ / std::max(tasks, 1.0);
}

double CostModel::tasks(const StageSchedule& s) const {
  if (s.stage == "attention") {
    return ceil_div(static_cast<double>(plan_.query_length.max),
                    static_cast<double>(s.get("query_block"))) *
           static_cast<double>(plan_.batch.max * plan_.attention.heads) *
           (s.get("split_keys") == 0 ? 1
                                     : ceil_div(static_cast<double>(plan_.keys().max),
                                                static_cast<double>(s.get("key_block"))));
  }
  if (s.stage == "decode") {
    return ceil_div(static_cast<double>(plan_.keys().max), static_cast<double>(s.get("split"))) *
           static_cast<double>(plan_.batch.max * plan_.attention.kv_heads);
  }
  const ProjectionShape shape = shape_of(s.stage);
  const double panel = static_cast<double>(s.get("panel_vectors") * machine_.vector_floats);
  return ceil_div(ceil_div(shape.columns, panel), static_cast<double>(s.get("task_panels"))) *
         ceil_div(shape.rows, static_cast<double>(s.get("task_rows"))) * shape.sequences;
}

CostModel::ProjectionShape CostModel::shape_of(const std::string& stage) const {
  ProjectionShape shape;
  shape.columns = static_cast<double>(plan_.d_model);
  shape.depth = static_cast<double>(plan_.attention.heads * plan_.attention.d_value);
  shape.rows = static_cast<double>(plan_.packed ? plan_.rows().max : plan_.query_length.max);
  for (const Projection& projection : plan_.projections) {
    if (projection_stage_name(projection) != stage) continue;
    shape.columns = 0;
    for (const ProjectionPart& part : projection.parts) {
      shape.columns +=
          static_cast<double>(part.heads * padded_width(part.width, machine_.vector_floats));
    }
    shape.depth = static_cast<double>(plan_.d_model);
    if (projection.parts.front().weight != "w_q" && !plan_.self_length && !plan_.packed)
      shape.rows = static_cast<double>(new_keys(plan_).max);
  }
  shape.sequences = plan_.packed ? 1 : static_cast<double>(plan_.batch.max);
  if (!plan_.packed && shape.rows == 1 && plan_.query_length.max == 1) {
    std::swap(shape.rows, shape.sequences);  // sequences of one row are rows of one product
  }
  return shape;
}

double CostModel::attention(const StageSchedule& s) const {
  const Attention& a = plan_.attention;
  const double lanes = machine_.vector_floats;
  const double l1 = static_cast<double>(machine_.l1d_bytes);
  const double l2 = static_cast<double>(machine_.l2_bytes);
  const int64_t queries = plan_.query_length.max, keys = plan_.keys().max;
  const auto query_block = s.get("query_block"), key_block = s.get("key_block");
  const auto key_tile = s.get("key_tile");
  const double query_vectors = static_cast<double>(s.get("query_vectors"));
  const auto value_rows = s.get("value_rows");
  const double value_vectors = static_cast<double>(s.get("value_vectors"));
  // Steps of the products, and bytes of what they read: pairs of bf16, or f32.
  const bool pairs = takes_pairs(plan_, has_bf16_dot(machine_));
  const double together = pairs ? 2 : 1, element = pairs ? 2 : 4;
  const double width = static_cast<double>(a.d_head);
  const double value_width = static_cast<double>(padded_width(a.d_value, machine_.vector_floats));
  const auto tile_queries = static_cast<int64_t>(query_vectors * lanes);
  const int64_t group = std::lcm(tile_queries, value_rows);
  const bool masked =
      a.left || a.right || a.key_lengths || a.key_starts || a.mask != MaskTensor::kNone;
  const int64_t offset =
      a.query_offset == QueryOffset::kStart ? 0 : std::max<int64_t>(keys - queries, 0);
  const double score_step = step(static_cast<double>(key_tile), query_vectors,
                                 static_cast<double>(s.get("width_unroll")));
  const double value_step = step(static_cast<double>(value_rows), value_vectors,
                                 static_cast<double>(s.get("key_unroll")));
  // Rows of a head that lie multiples of a page apart share a few sets of L1.
  const bool strided = plan_.op == Op::kAttention && plan_.layout == Layout::kBshd;
  auto conflicts = [&](double head_width, int64_t packed) {
    return strided && packed == 0 &&
           static_cast<int64_t>(head_width * element) * a.kv_heads % 4096 == 0;
  };
  const double head_bytes = static_cast<double>(keys) * (width + value_width) * element;
  const double far_bytes = head_bytes > 0.7 * l2 ? kL3Bytes : kL2Bytes;

  double total = 0, tasks = 0;
  for (int64_t first = 0; first < queries; first += query_block) {
    const int64_t there = std::min(query_block, queries - first);
    const double rows = static_cast<double>((there + group - 1) / group * group);
    int64_t begin = 0, end = keys;
    if (a.left) begin = std::clamp<int64_t>(first + offset - *a.left, 0, keys);
    if (a.right) end = std::clamp<int64_t>(first + there - 1 + offset + *a.right + 1, begin, keys);
    const double seen = static_cast<double>((end + key_tile - 1) / key_tile * key_tile -
                                            begin / key_tile * key_tile);
    const double blocks =
        static_cast<double>((end + key_block - 1) / key_block - begin / key_block);
    const double block_keys = std::min(static_cast<double>(key_block), seen);

    const double score_tiles =
        ceil_div(seen, static_cast<double>(key_tile)) * rows / (query_vectors * lanes);
    double work = score_tiles * (ceil_div(width, together) * score_step +
                                 static_cast<double>(key_tile) * query_vectors + kTile);
    const double vectors = seen * rows / lanes;
    work += vectors * ((s.get("exp") == 2 ? kExp - 1 : kExp) + (masked ? kMaskVector : 0)) +
            blocks * rows / lanes * 20;
    const double value_tiles =
        rows / static_cast<double>(value_rows) * (value_width / lanes / value_vectors);
    work += value_tiles * (ceil_div(seen, together) * value_step +
                           blocks * (kTile + static_cast<double>(value_rows) * value_vectors));
    if (keys > key_block) {  // partial results are stored and merged
      const double partial_bytes = blocks * rows * value_width * 4;
      work += blocks * rows * (value_width / lanes) *
              (partial_bytes > 0.7 * l2 ? 6
               : partial_bytes > l1     ? 3
                                        : 1.5);
      work += rows / lanes * blocks * (kExp + 6);
    }
    work += rows * width / lanes * 2;  // the queries, transposed

    // Scores and probabilities of a block pass four times; K and V of a block as often as there are
    // tiles of queries.
    const double pair_bytes = block_keys * rows * (4 + element);
    double traffic = 0;
    if (pair_bytes > 0.8 * l1)
      traffic +=
          vectors * 2 * lanes * (4 + element) / (pair_bytes > 0.7 * l2 ? kL3Bytes : kL2Bytes);
    const double key_bytes = seen * width * element, value_bytes = seen * value_width * element;
    const double key_passes = rows / (query_vectors * lanes),
                 value_passes = rows / static_cast<double>(value_rows);
    traffic += (key_bytes + value_bytes) / far_bytes;
    if (block_keys * width * element > 0.7 * l1 || conflicts(width, s.get("pack_keys")))
      traffic += key_bytes * (key_passes - 1) / kL2Bytes;
    if (block_keys * value_vectors * lanes * element > 0.7 * l1 ||
        conflicts(value_width, s.get("pack_values")))
      traffic += value_bytes * (value_passes - 1) / kL2Bytes;
    if (s.get("split_keys") == 1) {
      // Every task has its own copy of the queries, and its partial results leave the core.
      work += (blocks - 1) * (rows * width / lanes * 2 + kTask);
      traffic += 2 * blocks * rows * value_width * 4 / kL3Bytes;
      tasks += blocks - 1;
    }
    total += overlapped(work, traffic) + kTask;
    tasks += 1;
  }
  const double heads = static_cast<double>(plan_.batch.max * a.heads);
  total *= heads;
  tasks *= heads;
  const double copied = static_cast<double>(plan_.batch.max * a.kv_heads * keys) * element;
  if (s.get("pack_keys") != 0) total += 2 * copied * width / kL3Bytes;
  if (s.get("pack_values") != 0) total += 2 * copied * value_width / kL3Bytes;
  return total * idle(tasks);
}

// The rows of all heads that share a KV head pass over its keys once; K and V come from memory.
double CostModel::decode(const StageSchedule& s) const {
  const Attention& a = plan_.attention;
  const double lanes = machine_.vector_floats;
  const double rows = static_cast<double>(a.heads / a.kv_heads * plan_.query_length.max);
  const double keys = static_cast<double>(plan_.keys().max);
  const double width = static_cast<double>(a.d_head);
  const double value_width = static_cast<double>(padded_width(a.d_value, kCachePanel));
  const double score_rows = static_cast<double>(s.get("score_rows"));
  const double value_rows = static_cast<double>(s.get("value_rows"));
  const double score_vectors = static_cast<double>(s.get("panels")) * kCachePanel / lanes;
  const double value_vectors = static_cast<double>(s.get("value_vectors"));
  const double score_passes = ceil_div(rows, score_rows);
  const double value_passes = ceil_div(rows, value_rows);
  const double splits = ceil_div(keys, static_cast<double>(s.get("split")));

  double work =
      score_passes * ceil_div(keys, score_vectors * lanes) *
      (width * step(score_rows, score_vectors, static_cast<double>(s.get("width_unroll"))) + kTile);
  work += rows * keys / lanes * kExp;
  work += value_passes * (value_width / lanes / value_vectors) *
          (keys * step(value_rows, value_vectors, static_cast<double>(s.get("key_unroll"))) +
           splits * kTile);
  work += splits * rows * value_width / lanes * 3;  // merged
  const auto element = static_cast<double>(dtype_bytes(plan_.dtype));
  const double key_bytes = keys * width * element, value_bytes = keys * value_width * element;
  const double traffic =
      (key_bytes + value_bytes) / kL3Bytes +
      ((score_passes - 1) * key_bytes + (value_passes - 1) * value_bytes) / kL2Bytes;
  const double sequences = static_cast<double>(plan_.batch.max * a.kv_heads);
  const double tasks = this->tasks(s);
  return (overlapped(work, traffic) * sequences + tasks * kTask) * idle(tasks);
}

double CostModel::projection(const StageSchedule& s) const {
  const double lanes = machine_.vector_floats;
  const double l1 = static_cast<double>(machine_.l1d_bytes);
  const double l2 = static_cast<double>(machine_.l2_bytes);
  const auto [columns, depth, rows, sequences] = shape_of(s.stage);
  const double row_tile = static_cast<double>(s.get("row_tile"));
  const double vectors = static_cast<double>(s.get("panel_vectors"));
  const double panel = vectors * lanes;
  const double task_rows = std::min(static_cast<double>(s.get("task_rows")), rows);
  const double row_tasks = ceil_div(rows, static_cast<double>(s.get("task_rows")));
  const double panels = ceil_div(columns, panel);
  const double row_tiles = ceil_div(rows, row_tile);

  const double work = panels * row_tiles *
                      (depth * step(row_tile, vectors, static_cast<double>(s.get("depth_unroll"))) +
                       row_tile * vectors + kTile);
  // A panel is read for each tile of rows; the rows of a task for each panel; the weights for each
  // task.
  const double panel_bytes = depth * panel * static_cast<double>(dtype_bytes(plan_.weights));
  double traffic = panels * row_tasks * panel_bytes / kL3Bytes;
  if (panel_bytes > 0.7 * l1)
    traffic += panels * row_tiles * panel_bytes / (panel_bytes > 0.7 * l2 ? kL3Bytes : kL2Bytes);
  const double row_bytes = task_rows * depth * 4;
  traffic += panels * rows * depth * 4 / (row_bytes > 0.7 * l2 ? kL3Bytes : kL2Bytes);
  return (overlapped(work, traffic) * sequences + tasks(s) * kTask) * idle(tasks(s));
}

}  // namespace mha
