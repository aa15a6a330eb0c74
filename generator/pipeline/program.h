// A Program: the stages that one Plan becomes, with everything that a library around them must
// know. It holds the algorithm alone; schedules/ finds the Funcs of a stage by name and arranges
// them.
#ifndef MHA_GENERATOR_PIPELINE_PROGRAM_H_
#define MHA_GENERATOR_PIPELINE_PROGRAM_H_

#include <Halide.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "generator/ir/plan.h"

namespace mha {

// The same notions as in runtime/include/mha/kernel.h, before they are emitted as constants.
enum class Symbol {
  kOne = 0,
  kBatch = 1,
  kQuery = 2,
  kKey = 3,
  kRows = 4,
  kStarts = 5,
  kShared = 6,
  kNewKeys = 7,  // that a call brings to each sequence, where Plan::has_own_keys()
  kTask0 = 8,
  kTask1 = 9,
  kTask2 = 10,
  kTask3 = 11,  // scalars only, as are all that follow
  kSequenceKeys = 12,
  kSequenceOffset = 13,
  kSequenceFirstKey = 14,
  kSequenceFirstRow = 15,
  kSequenceQueries = 16,
  kSequenceSlot = 17,  // these three with a cache alone
  kSequenceCached = 18,
  kSequenceNewKeys = 19
};
struct Extent {
  int64_t scale = 1;
  Symbol symbol = Symbol::kOne;
  int round = 1;
  int per = 1;  // divides what round has made of it, rounded up
  bool operator==(const Extent&) const = default;
};
enum class ValueCheck { kNone, kKeys, kInt32Offset, kStarts };

struct TensorInfo {
  std::string name;
  bool output = false;
  Dtype dtype = Dtype::kF32;
  std::vector<Extent> axes;  // outermost first
  ValueCheck check = ValueCheck::kNone;
  bool may_repeat = false;   // the innermost axis may be one element that stands for all
  bool of_new_keys = false;  // left out by a call that brings no keys, where calls may
  bool operator==(const TensorInfo&) const = default;
};
struct WeightInfo {
  std::string name;
  std::vector<int64_t> shape;
  bool operator==(const WeightInfo&) const = default;
};
struct PackPart {
  int weight = 0;
  int64_t first_row = 0, row_groups = 1, row_width = 0, row_padded = 0;
  double scale = 1;
  std::vector<int64_t> row_sources = {};  // the weight's group that is group g; empty: g
  bool operator==(const PackPart&) const = default;
};
enum class PackKind { kMatrix, kVector, kScales };
struct PackInfo {
  PackKind kind = PackKind::kMatrix;
  Dtype dtype = Dtype::kF32;
  int panel = 1;
  int pair = 1;  // columns that lie together, of each row of a panel
  int64_t rows = 0, columns = 1;
  int64_t col_groups = 1, col_width = 1, col_padded = 1;
  std::vector<int64_t> col_sources = {};  // the weight's group that is group g; empty: g
  std::vector<PackPart> parts;
  bool operator==(const PackInfo&) const = default;
};
struct BufferInfo {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<Extent> extents;  // innermost first
};
constexpr int kNoAxis = 255;  // a dimension of one element that the tensor lacks
struct Operand {
  enum Kind {
    kTensor,
    kPack,
    kBuffer,
    kScalar,
    kCacheKeys,
    kCacheValues,
    kPageTable,
    kSequences
  } kind = kTensor;
  int index = 0;  // into the lists below; for scalars the Symbol
  // Tensors: axes[i] is the tensor's axis that is dimension i. Packed matrices: one entry for each
  // dimension that the stage sees, of whatever value.
  std::vector<int> axes;
};

// One axis of a stage's grid of tasks: ceil(scale * symbol / tile) of them.
struct GridAxis {
  int64_t scale = 1;
  Symbol symbol = Symbol::kOne;
  int tile = 1;
};

// How a projection multiplies a row x by weights: number by number, x[k] W[k]; the same, of weights
// whose columns k and k + 1 are the halves of one word; or by the machine's own products of pairs
// of bfloat16, x[k] W[k] + x[k + 1] W[k + 1]. The domain "rk" of the last two begins with the place
// in the pair.
enum class Products { kSingles, kHalves, kPairs };

// One ahead-of-time compiled function. It has no parallel loop: a call computes one task of the
// grid, which it learns from scalar operands kTask0...
struct Stage {
  std::string name;  // "project_qkv", "attention", ... unique in the program
  Halide::Pipeline pipeline;
  std::vector<Halide::Argument> arguments;  // inputs, in the order of `operands`; outputs follow
  std::vector<Operand> operands;            // inputs, then the pipeline's outputs
  std::vector<GridAxis> grid;               // at most 4; axis 0 runs fastest
  int reverse_axis = -1;                    // handed out from its end
  int batch_axis = -1;
  int query_axis = -1;   // of blocks of a sequence's queries; those it does not have are left out
  int key_axis = -1;     // the same of its keys; those within kShared are left out too
  bool appends = false;  // leads to new keys and values in the cache: all that NAME_append runs
  std::map<std::string, Halide::Func> funcs;  // by the names that schedules use
  std::map<std::string, Halide::RDom> domains;
  std::map<std::string, Halide::ImageParam> streams;  // what a task reads row by row: k, v, weights
  Products products = Products::kSingles;             // of a projection
  bool batch_rows = false;  // the rows of a projection are the sequences of the batch, one of each
  bool pairs = false;       // of the pack_... stages: two rows lie as one
  // Where there is a mask: whether its keys lie next to each other, which vector loads need.
  Halide::Expr dense_mask;
};

// How pages of the cache hold K and V (mha_cache_info); keys of a pool: the dimensions of the form,
// innermost first, then (kv_heads, pages). By dtype alone, so that one cache serves all targets:
// f32, f16: keys (16, d, panel), values (d, key)
// bf16:     keys (16 * 2, d / 2, panel), values (d * 2, key / 2)
struct CacheInfo {
  Dtype dtype = Dtype::kF32;
  int64_t kv_heads = 0, d_head = 0, d_value = 0;
  int64_t d_head_padded = 0, d_value_padded = 0;
  int64_t capacity = 0, page = 0;
  int64_t pages_per_sequence() const { return (capacity + page - 1) / page; }
  bool pairs() const { return dtype == Dtype::kBF16; }
  bool operator==(const CacheInfo&) const = default;
};
// The fields of Operand::kSequences: MHA_SEQUENCE_*.
enum class SequenceField {
  kSlot = 0,
  kCached = 1,
  kQueries = 2,
  kFirstRow = 3,
  kKeys = 4,
  kFirstKey = 5,
  kNewKeys = 6
};
constexpr int kCachePanel = 16;
CacheInfo cache_info(const Plan& plan);

struct Program {
  std::vector<TensorInfo> tensors;  // order of the fields of NAME_args
  std::vector<WeightInfo> weights;
  std::vector<PackInfo> packs;
  std::vector<BufferInfo> buffers;
  std::vector<Stage> stages;
  std::optional<CacheInfo> cache;
};

}  // namespace mha

#endif  // MHA_GENERATOR_PIPELINE_PROGRAM_H_
