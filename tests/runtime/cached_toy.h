// A kernel with a cache, made by hand: what a generated one does with pages, in plain loops.
//
// y[b, i] = sum over keys j of sequence b and heads g of (j + 1) * (sum_d (d + 1) k[j, g, d]
//           + 10 * sum_d (d + 1) v[j, g, d]), the same for every i
//   append  k and v of the new rows into their pages   grid (G, B), also in mha_append
//   prefix  partial[c] = the sum over shared keys of tile c   grid (SHARED / 16)
//   sums    partial of each sequence's own tiles   grid (Lk / 16, B), by key_axis
//   merge   y = the sum of both   grid (B)
// Numbers are integers from -2 to 2, so that all sums are exact, in any order and dtype.
#ifndef MHA_TESTS_RUNTIME_CACHED_TOY_H_
#define MHA_TESTS_RUNTIME_CACHED_TOY_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "mha/kernel.h"
#include "mha/mha.h"

namespace mha {

inline constexpr int64_t kCachedHead = 3, kCachedValue = 5;  // D and Dv

struct CachedToyOptions {
  mha_dtype dtype = MHA_F32;
  int64_t kv_heads = 2;
  int64_t capacity = 80, page = 32;  // page 0: contiguous
  bool packed = false;
  bool key_lengths = false;
  // Calls bring as many keys as `own_keys` allows, whatever their queries; or none.
  std::optional<mha_length_range> own_keys = {};
};

// K and V of one key, of all heads: [G, D] and [G, Dv].
struct CachedRow {
  std::vector<float> key, value;
  bool operator==(const CachedRow&) const = default;
};

class CachedToy {
 public:
  enum Tensor { kKey, kValue, kY, kIndex };  // kIndex: sequence_starts or key_lengths

  explicit CachedToy(const CachedToyOptions& options);
  CachedToy(const CachedToy&) = delete;

  // A call's arguments, as a generated header would have them.
  struct Args {
    mha_call call;
    mha_tensor key, value, y, index;
  };

  // Continues each sequence by its rows: the same number for all, unless the toy is packed. With
  // own_keys there is one query.
  // Fills *y with one number a sequence where the entry is not mha_append.
  enum Entry { kRun, kAppend, kShared };
  mha_status call(mha_context* context, mha_cache* cache, int32_t layer,
                  const std::vector<int32_t>& sequences,
                  const std::vector<std::vector<CachedRow>>& rows, Entry entry,
                  std::vector<float>* y, const std::vector<int32_t>& key_lengths = {}) const;

  // What y is for a sequence with these rows.
  static float expected(const std::vector<CachedRow>& rows);

  // Rows of a sequence as mha_cache_read gives them.
  mha_status read(mha_cache* cache, int32_t layer, int32_t sequence, int64_t first, int64_t count,
                  std::vector<CachedRow>* rows) const;

  const CachedToyOptions options;
  mha_cache_info info = {};
  mha_tensor_info tensors[4] = {};
  mha_buffer_info buffers[1] = {};
  std::vector<mha_operand> operands[4];
  mha_stage stages[4] = {};
  mha_variant variant = {};
  mha_kernel kernel = {};

  // Called by every task of stage `append`; what it returns is what the task returns.
  static std::function<int()> on_append;
  // Tasks that the stages prefix and sums ran.
  static int64_t prefix_tasks, own_tasks;
};

}  // namespace mha

#endif  // MHA_TESTS_RUNTIME_CACHED_TOY_H_
