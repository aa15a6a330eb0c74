// The spec of one kernel family as a plain struct: what a YAML config says, checked, with defaults
// filled in.
//
// Axes: B batch, H query heads, G key/value heads, Lq queries, Lk keys, D head width, Dv value
// width, M model width.
#ifndef MHA_GENERATOR_SPEC_SPEC_H_
#define MHA_GENERATOR_SPEC_SPEC_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mha {

// A place in a config file; line and column count from 1. line 0 means "no place".
struct SourceLocation {
  std::string file;
  int line = 0;
  int column = 0;
};

// A length that is fixed (min == max) or given by each call within [min, max].
struct Range {
  int64_t min = 1;
  int64_t max = 1;
  bool fixed() const { return min == max; }
  bool operator==(const Range&) const = default;
};

enum class Op { kBlock, kAttention };
enum class Layout { kBshd, kBhsd };
enum class Dtype { kF32, kBF16, kF16, kInt8, kI32, kBool };
const char* dtype_name(Dtype dtype);  // as configs say it: "bf16"
int64_t dtype_bytes(Dtype dtype);     // of one element
// Where query 0 stands among the keys: 0; (key length of the sequence) - Lq; a tensor [B].
enum class QueryOffset { kStart, kEnd, kInput };
enum class MaskTensor { kNone, kBool, kAdditive };

struct Bias {
  bool q = false, k = false, v = false, out = false;
};

// Inclusive on both sides; -1 is unlimited.
struct Window {
  int64_t left = -1, right = -1;
};

struct Mask {
  bool causal = false;
  std::optional<Window> window;
  MaskTensor tensor = MaskTensor::kNone;
  bool key_lengths = false;  // right padding
  bool key_starts = false;   // left padding
  std::string rule;          // expression; empty: none
};

struct QkNorm {
  double eps = 1e-6;
  int weight_offset = 0;
  bool all_width = false;  // true: width over all heads
  bool before_rope = true;
  bool operator==(const QkNorm&) const = default;
};

struct RopeScaling {
  std::string type;  // linear, llama3, yarn; empty: none
  std::map<std::string, double> numbers;
  std::vector<double> inv_freq;
};

struct Rope {
  bool interleaved = false;
  double theta = 10000.0;
  int64_t dims = 0;  // of D
  RopeScaling scaling;
};

struct KvCache {
  int64_t capacity = 0;
  bool paged = false;
  int64_t page = 64;
  bool operator==(const KvCache&) const = default;
};

struct Table {
  std::string name;
  std::vector<std::string> shape;  // axes by letter-names or numbers
  Dtype dtype = Dtype::kI32;
  bool operator==(const Table&) const = default;
};

// Where a weight lies in a model's file.
struct WeightSource {
  std::string name;  // may hold {layer}
  bool transpose = false;
  std::optional<Range> rows;  // [from, to)
};

struct Spec {
  std::string file;  // as the user wrote it
  int version = 1;
  std::string name;
  Op op = Op::kBlock;
  int64_t d_model = 0;  // block only
  int64_t heads = 0, kv_heads = 0;
  int64_t d_head = 0, d_value = 0;
  Range batch, query_length, key_length;
  bool key_length_given = false;  // false: Lk = Lq, also at run time
  bool cross = false;
  Layout layout = Layout::kBshd;
  Dtype dtype = Dtype::kF32;
  Dtype weights = Dtype::kF32;
  std::map<std::string, WeightSource> weights_from;  // by tensor name: w_q, w_k, w_v, w_o, b_q, ...
  Bias projection_bias;
  double scale = 0;  // resolved: 1/sqrt(D) unless given
  std::optional<QkNorm> qk_norm;
  QueryOffset query_offset = QueryOffset::kStart;
  std::optional<Rope> rope;
  std::optional<double> softcap;
  bool alibi = false;
  std::vector<double> alibi_slopes;  // [H] when alibi; the paper's when the config says true
  std::string score_rule;
  Mask mask;
  std::vector<Table> tables;
  bool sink = false;
  std::optional<KvCache> kv_cache;
  bool packed = false;
  std::vector<std::string> outputs;  // in the order of SPEC section 4; default {"output"}
  int64_t top_k = 0;
  std::vector<int64_t> pruned_heads;
  std::vector<std::string> targets;  // default {"host"}

  // Where each key stands, by dotted path ("heads", "mask.causal"); keys left out have no entry.
  std::map<std::string, SourceLocation> locations;
  // The location of a key, of its nearest given parent, or the file's first line.
  SourceLocation where(const std::string& key) const;
  bool wants(const std::string& output) const;
};

}  // namespace mha

#endif  // MHA_GENERATOR_SPEC_SPEC_H_
