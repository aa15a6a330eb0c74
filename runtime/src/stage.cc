// One stage of a call: its arguments, its grid of tasks, and the threads that run them.
#include <HalideRuntime.h>
#include <string.h>

#include "runtime/src/call.h"
#include "runtime/src/float_state.h"

namespace {

using mha::Call;
using mha::Lengths;
using mha::Slot;
using mha::TensorView;

// Chunks of tasks that a thread gets of a stage, so that none waits long for the last one.
constexpr int64_t kChunksPerThread = 256;

// A buffer-like argument of a stage, with the storage that its halide_buffer_t points to.
struct Argument {
  halide_buffer_t buffer;
  halide_dimension_t dimensions[MHA_MAX_RANK];
};

// One stage in flight. The buffers are shared by all threads, which only read them.
struct StageRun {
  Call* call;
  const mha_stage* stage;
  // An array of Argument; raw, as its constructors would be symbols of their own in debug builds.
  alignas(Argument) unsigned char argument_bytes[MHA_MAX_OPERANDS * sizeof(Argument)];
  int64_t grid[MHA_MAX_GRID];
  int64_t tasks;
  int64_t chunk;  // tasks that a thread takes at a time
  int32_t shares;
  int32_t begun;             // of the shares; atomic
  alignas(64) int64_t next;  // tasks handed out; atomic
  alignas(64) int64_t done;  // atomic

  Argument* arguments() { return reinterpret_cast<Argument*>(argument_bytes); }
};

halide_type_t halide_type(uint32_t dtype) {
  switch (dtype) {
    case MHA_F32:
      return {halide_type_float, 32};
    case MHA_BF16:
      return {halide_type_bfloat, 16};
    case MHA_F16:
      return {halide_type_float, 16};
    case MHA_I32:
      return {halide_type_int, 32};
    case MHA_I64:
      return {halide_type_int, 64};
    case MHA_BOOL:
      return {halide_type_uint, 1};
    case MHA_I8:
      return {halide_type_int, 8};
    default:
      return {halide_type_uint, 8};
  }
}

void set_buffer(Argument* argument, void* data, uint32_t dtype, uint32_t rank) {
  argument->buffer.device = 0;
  argument->buffer.device_interface = nullptr;
  argument->buffer.flags = 0;
  argument->buffer.padding = nullptr;
  argument->buffer.host = static_cast<uint8_t*>(data);
  argument->buffer.type = halide_type(dtype);
  argument->buffer.dimensions = static_cast<int32_t>(rank);
  argument->buffer.dim = argument->dimensions;
}

void set_dimension(Argument* argument, uint32_t dimension, int64_t extent, int64_t stride) {
  argument->dimensions[dimension] = {0, static_cast<int32_t>(extent), static_cast<int32_t>(stride)};
}

// Dense, dimension 0 innermost.
void set_dense(Argument* argument, void* data, uint32_t dtype, const int64_t* extents,
               uint32_t rank) {
  set_buffer(argument, data, dtype, rank);
  int64_t stride = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    set_dimension(argument, i, extents[i], stride);
    stride *= extents[i];
  }
}

// What the call's cache holds.
bool set_cache_argument(const Call& call, uint32_t kind, Argument* argument) {
  const mha_cache& cache = *call.cache;
  const mha_cache_info& info = cache.info;
  const int64_t key_pair = info.key_form == MHA_FORM_KEY_PAIR_PANELS ? 2 : 1;
  const int64_t value_pair = info.value_form == MHA_FORM_VALUE_PAIRS ? 2 : 1;
  const int32_t layer = call.args->layer;
  switch (kind) {
    case MHA_OPERAND_CACHE_KEYS: {
      const int64_t extents[] = {MHA_CACHE_PANEL * key_pair, info.d_head_padded / key_pair,
                                 info.page / MHA_CACHE_PANEL, info.kv_heads, cache.pages};
      set_dense(argument, cache.keys[layer], info.dtype, extents, 5);
      return true;
    }
    case MHA_OPERAND_CACHE_VALUES: {
      const int64_t extents[] = {info.d_value_padded * value_pair, info.page / value_pair,
                                 info.kv_heads, cache.pages};
      set_dense(argument, cache.values[layer], info.dtype, extents, 4);
      return true;
    }
    case MHA_OPERAND_PAGE_TABLE: {
      const int64_t extents[] = {cache.pages_per_sequence, cache.sequences};
      set_dense(argument, cache.table, MHA_I32, extents, 2);
      return true;
    }
    case MHA_OPERAND_SEQUENCES: {
      const int64_t extents[] = {MHA_SEQUENCE_FIELDS, call.lengths.symbol[MHA_SYMBOL_BATCH]};
      set_dense(argument, cache.rows, MHA_I32, extents, 2);
      return true;
    }
    default:
      return false;
  }
}

// A packed array as a stage sees it; `rank` matters where it is a matrix of pairs.
void set_pack(const mha_pack_info& info, uint8_t* data, uint32_t rank, Argument* argument) {
  if (info.kind != MHA_PACK_MATRIX) {
    set_buffer(argument, data, MHA_F32, 1);
    set_dimension(argument, 0, info.rows, 1);
    return;
  }
  const int64_t panel = info.panel, panels = info.rows / panel, steps = info.columns / info.pair;
  if (info.pair == 2 && rank == 4) {
    set_buffer(argument, data, info.dtype, 4);
    set_dimension(argument, 0, 2, 1);
    set_dimension(argument, 1, panel, 2);
    set_dimension(argument, 2, steps, 2 * panel);
    set_dimension(argument, 3, panels, panel * info.columns);
    return;
  }
  set_buffer(argument, data, info.dtype, 3);
  if (info.pair == 2) argument->buffer.type = {halide_type_uint, 32};
  set_dimension(argument, 0, panel, 1);
  set_dimension(argument, 1, steps, panel);
  set_dimension(argument, 2, panels, panel * steps);
}

// Fills in one buffer-like argument; false when the table of the kernel makes no sense.
bool set_argument(const Call& call, const mha_operand& operand, Argument* argument) {
  const mha_kernel* kernel = call.kernel;
  switch (operand.kind) {
    case MHA_OPERAND_TENSOR: {
      if (operand.index >= kernel->tensor_count) return false;
      const mha_tensor_info& info = kernel->tensors[operand.index];
      const TensorView& view = call.views[operand.index];
      if (operand.rank > MHA_MAX_RANK || view.data == nullptr) return false;
      set_buffer(argument, view.data, info.dtype, operand.rank);
      for (uint32_t i = 0; i < operand.rank; ++i) {
        const uint32_t axis = operand.axes[i];
        if (axis >= info.rank && axis != MHA_AXIS_NONE) return false;
        if (axis == MHA_AXIS_NONE) {
          set_dimension(argument, i, 1, 0);
        } else {
          set_dimension(argument, i, view.extents[axis], view.strides[axis]);
        }
      }
      return true;
    }
    case MHA_OPERAND_PACK: {
      if (operand.index >= kernel->pack_count || call.args->weights == nullptr) return false;
      const mha_pack_info& info = kernel->packs[operand.index];
      set_pack(info, call.args->weights->packs[operand.index], operand.rank, argument);
      return true;
    }
    case MHA_OPERAND_BUFFER: {
      if (operand.index >= call.variant->buffer_count) return false;
      const mha_buffer_info& info = call.variant->buffers[operand.index];
      if (info.rank > MHA_MAX_RANK) return false;
      uint8_t* workspace = static_cast<uint8_t*>(call.args->workspace);
      int64_t extents[MHA_MAX_RANK];
      for (uint32_t i = 0; i < info.rank; ++i)
        extents[i] = mha_internal_extent(&info.extents[i], &call.lengths);
      set_dense(argument, workspace + call.layout.buffer_offsets[operand.index], info.dtype,
                extents, info.rank);
      return true;
    }
    case MHA_OPERAND_SCALAR:
      return operand.index <= MHA_SYMBOL_NEW_KEYS ||
             (operand.index >= MHA_SYMBOL_TASK0 && operand.index < MHA_SYMBOL_COUNT);
    default:
      return call.cache != nullptr && set_cache_argument(call, operand.kind, argument);
  }
}

// The number of tasks along each axis; false when the table makes no sense.
bool set_grid(StageRun* run) {
  const mha_stage& stage = *run->stage;
  const Lengths& lengths = run->call->lengths;
  if (stage.grid_rank > MHA_MAX_GRID) return false;
  run->tasks = 1;
  for (uint32_t axis = 0; axis < MHA_MAX_GRID; ++axis) {
    run->grid[axis] = 1;
    if (axis >= stage.grid_rank) continue;
    const mha_grid_axis& grid = stage.grid[axis];
    int64_t extent;
    const bool shared = grid.symbol == MHA_SYMBOL_SHARED;
    const bool known =
        grid.symbol <= MHA_SYMBOL_ROWS || shared || grid.symbol == MHA_SYMBOL_NEW_KEYS;
    if (grid.symbol < MHA_SYMBOL_ONE || !known || grid.tile < 1 || grid.scale < 1 ||
        __builtin_mul_overflow(grid.scale, lengths.symbol[grid.symbol], &extent)) {
      return false;
    }
    run->grid[axis] = shared ? extent / grid.tile : (extent - 1) / grid.tile + 1;
    if (run->grid[axis] > INT32_MAX ||
        __builtin_mul_overflow(run->tasks, run->grid[axis], &run->tasks)) {
      return false;
    }
  }
  const int32_t rank = static_cast<int32_t>(stage.grid_rank);
  if (stage.query_axis >= rank || stage.key_axis >= rank) return false;
  if (stage.batch_axis < 0) return stage.query_axis < 0 && stage.key_axis < 0;
  return static_cast<uint32_t>(stage.batch_axis) < stage.grid_rank &&
         run->grid[stage.batch_axis] == lengths.symbol[MHA_SYMBOL_BATCH];
}

int32_t index_value(const Call& call, int32_t tensor, int64_t b, int64_t low, int64_t high) {
  return mha::load_within(reinterpret_cast<const int32_t*>(call.views[tensor].data) + b, low, high);
}

// What the scalar symbols are for one task; TASK0.. and what follows from the task's sequence.
// False when the task is a block of queries or keys that its sequence does not have, or of keys
// that all sequences share.
bool set_task(const StageRun& run, const int64_t* place, int32_t* values) {
  const Call& call = *run.call;
  const mha_kernel& kernel = *call.kernel;
  int64_t coordinates[MHA_MAX_GRID];
  for (int axis = 0; axis < MHA_MAX_GRID; ++axis) {
    coordinates[axis] =
        run.stage->reverse >> axis & 1 ? run.grid[axis] - 1 - place[axis] : place[axis];
    values[MHA_SYMBOL_TASK0 + axis] = static_cast<int32_t>(coordinates[axis]);
  }
  int32_t queries = static_cast<int32_t>(call.lengths.symbol[MHA_SYMBOL_QUERY]);
  int32_t keys = static_cast<int32_t>(call.lengths.symbol[MHA_SYMBOL_KEY]);
  int32_t first_row = 0, first_key = 0, offset = 0, slot = 0, cached = 0, new_keys = 0;
  const bool has_sequence = run.stage->batch_axis >= 0;
  const int64_t b = has_sequence ? coordinates[run.stage->batch_axis] : 0;
  if (has_sequence && call.cache != nullptr) {
    const mha::SequenceRow& row = call.cache->rows[b];
    slot = row.slot;
    offset = cached = row.cached;
    new_keys = row.new_keys;
    queries = row.queries;
    keys = row.keys;
    first_row = row.first_row;
    first_key = row.first_key;
  } else {
    if (has_sequence && kernel.sequence_starts_tensor >= 0) {
      const int64_t rows = call.lengths.symbol[MHA_SYMBOL_ROWS];
      first_row = index_value(call, kernel.sequence_starts_tensor, b, 0, rows);
      const int32_t end = index_value(call, kernel.sequence_starts_tensor, b + 1, first_row, rows);
      queries = end - first_row < queries ? end - first_row : queries;
      keys = queries;
    }
    if (has_sequence) mha_internal_set_visible(&call, b, &keys, &first_key);
    if (kernel.offset_kind == MHA_OFFSET_END) offset = keys - queries;
    if (kernel.offset_kind == MHA_OFFSET_INPUT && has_sequence && kernel.query_offset_tensor >= 0) {
      offset = index_value(call, kernel.query_offset_tensor, b, -mha::kFarthestOffset,
                           mha::kFarthestOffset);
    }
  }
  values[MHA_SYMBOL_SEQUENCE_KEYS] = keys;
  values[MHA_SYMBOL_SEQUENCE_OFFSET] = offset;
  values[MHA_SYMBOL_SEQUENCE_FIRST_KEY] = first_key;
  values[MHA_SYMBOL_SEQUENCE_FIRST_ROW] = first_row;
  values[MHA_SYMBOL_SEQUENCE_QUERIES] = queries;
  values[MHA_SYMBOL_SEQUENCE_SLOT] = slot;
  values[MHA_SYMBOL_SEQUENCE_CACHED] = cached;
  values[MHA_SYMBOL_SEQUENCE_NEW_KEYS] = new_keys;
  const mha_stage& stage = *run.stage;
  const int32_t q = stage.query_axis, k = stage.key_axis;
  if (q >= 0 && coordinates[q] * stage.grid[q].tile >= queries) return false;
  if (k < 0) return true;
  const int64_t tile = stage.grid[k].tile, first = coordinates[k] * tile;
  return first < keys && first + tile > call.lengths.symbol[MHA_SYMBOL_SHARED];
}

// Where `task` lies in the grid.
void find_place(const StageRun& run, int64_t task, int64_t* place) {
  for (int axis = 0; axis < MHA_MAX_GRID; ++axis) {
    place[axis] = task % run.grid[axis];
    task /= run.grid[axis];
  }
}

// That of the task behind it.
void next_place(const StageRun& run, int64_t* place) {
  for (int axis = 0; axis < MHA_MAX_GRID; ++axis) {
    if (++place[axis] < run.grid[axis]) return;
    place[axis] = 0;
  }
}

// One thread's share of a stage: tasks until none is left, or one has failed.
void run_share(void* context, int32_t) {
  StageRun& run = *static_cast<StageRun*>(context);
  Call& call = *run.call;
  // Drawn, not the index that a hook gave: two threads with one slot would write over each other.
  const int32_t index = __atomic_fetch_add(&run.begun, 1, __ATOMIC_RELAXED);
  if (index >= run.shares) return;
  const mha::FloatState float_state;
  const mha_stage& stage = *run.stage;
  uint8_t* place = static_cast<uint8_t*>(call.args->workspace) + call.layout.slots_offset +
                   static_cast<size_t>(index) * call.layout.slot_stride;
  Slot* slot = reinterpret_cast<Slot*>(place);
  *slot = {&call.failure, place + mha::kSlotHead, call.layout.scratch_bytes, 0, SIZE_MAX};

  // Scalars are passed by address: those of the same symbol share one.
  int32_t values[MHA_SYMBOL_COUNT] = {};
  for (int symbol = MHA_SYMBOL_ONE; symbol <= MHA_SYMBOL_NEW_KEYS; ++symbol) {
    values[symbol] = static_cast<int32_t>(call.lengths.symbol[symbol]);
  }
  void* user_context = slot;
  void* argv[MHA_MAX_OPERANDS + 1];
  argv[0] = &user_context;
  for (uint64_t i = 0; i < stage.operand_count; ++i) {
    const mha_operand& operand = stage.operands[i];
    argv[i + 1] = operand.kind == MHA_OPERAND_SCALAR
                      ? static_cast<void*>(&values[operand.index])
                      : static_cast<void*>(&run.arguments()[i].buffer);
  }

  int64_t done = 0;
  while (__atomic_load_n(&call.failure.code, __ATOMIC_RELAXED) == 0) {
    const int64_t first = __atomic_fetch_add(&run.next, run.chunk, __ATOMIC_RELAXED);
    if (first >= run.tasks) break;
    const int64_t end = first + run.chunk < run.tasks ? first + run.chunk : run.tasks;
    int64_t task_place[MHA_MAX_GRID];
    find_place(run, first, task_place);
    int code = 0;
    for (int64_t task = first; task < end && code == 0; ++task) {
      if (set_task(run, task_place, values)) code = stage.run(argv);
      next_place(run, task_place);
      ++done;
    }
    if (code != 0) mha_internal_record(&call.failure, code, "it gave no reason", nullptr);
  }
  __atomic_fetch_add(&run.done, done, __ATOMIC_RELEASE);
}

mha_status stage_failed(const Call& call, const mha_stage& stage) {
  const mha_kernel& kernel = *call.kernel;
  // The hook's failing is the application's doing, all else is ours.
  if (call.failure.code == mha::kHookIncomplete) {
    return mha_internal_fail(MHA_INVALID_ARGUMENT, "stage '%s' of kernel '%s': %s", stage.name,
                             kernel.info.name, call.failure.text);
  }
  mha_internal_fail(MHA_INTERNAL,
                    "stage '%s' of kernel '%s' (target %s, generator %s) failed with code %d: "
                    "%s%s%s; please report this",
                    stage.name, kernel.info.name, kernel.info.target, kernel.info.generator,
                    call.failure.code, call.failure.text, call.failure.detail[0] != '\0' ? " " : "",
                    call.failure.detail);
  mha_internal_log(call.context, mha_last_message());
  return MHA_INTERNAL;
}

}  // namespace

extern "C" {

void mha_internal_set_visible(const Call* call, int64_t b, int32_t* keys, int32_t* first_key) {
  const mha_kernel& kernel = *call->kernel;
  if (call->entry == mha::kAppend) return;
  if (kernel.key_starts_tensor >= 0)
    *first_key = index_value(*call, kernel.key_starts_tensor, b, 0, *keys);
  if (kernel.key_lengths_tensor >= 0)
    *keys = index_value(*call, kernel.key_lengths_tensor, b, 0, *keys);
}

mha_status mha_internal_run_stage(Call* call, const mha_stage* stage) {
  StageRun run;
  run.call = call;
  run.stage = stage;
  run.begun = 0;
  run.next = 0;
  run.done = 0;
  bool valid = stage->operand_count <= MHA_MAX_OPERANDS && set_grid(&run);
  for (uint64_t i = 0; valid && i < stage->operand_count; ++i) {
    valid = set_argument(*call, stage->operands[i], &run.arguments()[i]);
  }
  if (!valid) {
    return mha_internal_fail(
        MHA_INTERNAL, "the table of stage '%s' of kernel '%s' makes no sense: please report this",
        stage->name, call->kernel->info.name);
  }
  if (run.tasks == 0) return MHA_OK;  // none of a prefix that is not there
  const mha_context& context = *call->context;
  run.shares = run.tasks < context.threads ? static_cast<int32_t>(run.tasks) : context.threads;
  // Where sequences are ragged most tasks may be absent, too short to be handed out one by one.
  const bool ragged = stage->query_axis >= 0 || stage->key_axis >= 0;
  const int64_t chunk = ragged ? run.tasks / (int64_t{context.threads} * kChunksPerThread) : 0;
  run.chunk = chunk < 1 ? 1 : chunk;
  if (run.shares <= 1) {
    run_share(&run, 0);
  } else if (context.parallel_for != nullptr) {
    context.parallel_for(context.parallel_for_user, run.shares, run_share, &run);
  } else {
    mha_internal_pool_run(context.pool, run.shares, run_share, &run);
  }
  if (__atomic_load_n(&run.done, __ATOMIC_ACQUIRE) != run.tasks) {
    mha_internal_record(&call->failure, mha::kHookIncomplete,
                        "the parallel_for hook returned before its iterations were done", nullptr);
  }
  return call->failure.code == 0 ? MHA_OK : stage_failed(*call, *stage);
}

}  // extern "C"
