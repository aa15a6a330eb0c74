#include "tools/reference/tensors.h"

#include <algorithm>
#include <map>
#include <sstream>

#include "generator/spec/error.h"

namespace mha {
namespace {

TensorDecl declare(const Spec& spec, const CallLengths& lengths, const std::string& name,
                   Dtype dtype, const std::string& axes) {
  const std::map<std::string, int64_t> sizes = {
      {"B", lengths.batch},
      {"B+1", lengths.batch + 1},
      {"T", lengths.total},
      {"Lq", lengths.query},
      {"Lk", lengths.all_keys()},
      {"Ln", lengths.key},  // new keys, behind a cache
      {"P", lengths.past},
      {"pages", lengths.pages},
      {"n", lengths.blocks},
      {"page", spec.kv_cache ? spec.kv_cache->page : 0},
      {"H", spec.heads},
      {"G", spec.kv_heads},
      {"D", spec.d_head},
      {"Dv", spec.d_value},
      {"M", spec.d_model},
      {"H*D", spec.heads * spec.d_head},
      {"G*D", spec.kv_heads * spec.d_head},
      {"G*Dv", spec.kv_heads * spec.d_value},
      {"H*Dv", spec.heads * spec.d_value},
      {"k", spec.top_k},
  };
  TensorDecl tensor{name, dtype, axes, {}};
  std::istringstream words(axes);
  for (std::string axis; std::getline(words, axis, ',');) {
    const bool number = axis.find_first_not_of("0123456789") == std::string::npos;
    tensor.shape.push_back(number ? std::stoll(axis) : sizes.at(axis));
  }
  return tensor;
}

// Of a block among its weights, of op attention among its inputs.
template <typename Add>
void add_small_weights(Add add, const Spec& spec, Dtype dtype) {
  if (spec.sink) add("sink", dtype, "H");
  if (!spec.qk_norm) return;
  const bool all = spec.qk_norm->all_width;
  add("q_norm", dtype, all ? "H*D" : "D");
  add("k_norm", dtype, all ? "G*D" : "D");
}

}  // namespace

int64_t TensorDecl::elements() const {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ",";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

std::vector<TensorDecl> input_tensors(const Spec& spec, const CallLengths& lengths) {
  std::vector<TensorDecl> tensors;
  auto add = [&](const char* name, Dtype dtype, const char* axes) {
    tensors.push_back(declare(spec, lengths, name, dtype, axes));
  };
  const bool bhsd = spec.layout == Layout::kBhsd;
  const bool cache = spec.kv_cache.has_value();
  const std::string keys = cache ? "Ln" : "Lk";
  const std::string packed_memory = cache && lengths.key == 0 ? "0,M" : "T,M";
  auto add_rows = [&](const char* name, const std::string& length, const std::string& heads,
                      const std::string& width) {
    const std::string axes =
        bhsd ? heads + "," + length + "," + width : length + "," + heads + "," + width;
    add(name, spec.dtype, ("B," + axes).c_str());
  };
  if (spec.op == Op::kBlock) {
    add("x", spec.dtype, spec.packed ? "T,M" : "B,Lq,M");
    const std::string memory = spec.packed ? packed_memory : "B," + keys + ",M";
    if (spec.cross) add("memory", spec.dtype, memory.c_str());
  } else if (spec.packed) {
    add("query", spec.dtype, "T,H,D");
    add("key", spec.dtype, "T,G,D");
    add("value", spec.dtype, "T,G,Dv");
  } else {
    add_rows("query", "Lq", "H", "D");
    add_rows("key", keys, "G", "D");
    add_rows("value", keys, "G", "Dv");
  }
  if (spec.mask.tensor != MaskTensor::kNone) {
    add("mask", spec.mask.tensor == MaskTensor::kBool ? Dtype::kBool : Dtype::kF32, "B,H,Lq,Lk");
  }
  if (spec.mask.key_lengths) add("key_lengths", Dtype::kI32, "B");
  if (spec.mask.key_starts) add("key_starts", Dtype::kI32, "B");
  if (spec.query_offset == QueryOffset::kInput) add("query_offset", Dtype::kI32, "B");
  if (spec.op == Op::kAttention) add_small_weights(add, spec, Dtype::kF32);
  if (cache && lengths.pages > 0) {
    add("past_key", spec.dtype, "pages,page,G,D");
    add("past_value", spec.dtype, "pages,page,G,Dv");
    add("block_table", Dtype::kI32, "B,n");
  } else if (cache) {
    add_rows("past_key", "P", "G", "D");
    add_rows("past_value", "P", "G", "Dv");
  }
  if (cache) add("cache_lengths", Dtype::kI32, "B");
  if (spec.packed) add("sequence_starts", Dtype::kI32, "B+1");
  for (const Table& table : spec.tables) {
    std::string axes;
    for (const std::string& axis : table.shape) axes += (axes.empty() ? "" : ",") + axis;
    add(table.name.c_str(), table.dtype, axes.c_str());
  }
  return tensors;
}

std::vector<TensorDecl> weight_tensors(const Spec& spec) {
  std::vector<TensorDecl> tensors;
  if (spec.op != Op::kBlock) return tensors;
  auto add = [&](const char* name, const char* axes) {
    tensors.push_back(declare(spec, {}, name, Dtype::kF32, axes));
  };
  add("w_q", "H*D,M");
  add("w_k", "G*D,M");
  add("w_v", "G*Dv,M");
  const bool output = spec.wants("output");  // else nothing reads w_o
  if (output) add("w_o", "M,H*Dv");
  if (spec.projection_bias.q) add("b_q", "H*D");
  if (spec.projection_bias.k) add("b_k", "G*D");
  if (spec.projection_bias.v) add("b_v", "G*Dv");
  if (output && spec.projection_bias.out) add("b_o", "M");
  add_small_weights([&](const char* name, Dtype, const char* axes) { add(name, axes); }, spec,
                    Dtype::kF32);
  return tensors;
}

std::vector<TensorDecl> output_tensors(const Spec& spec, const CallLengths& lengths) {
  std::vector<TensorDecl> tensors;
  const bool bhsd = spec.layout == Layout::kBhsd;
  // Rows of queries, and what stands before them.
  const std::string rows = spec.packed ? "T" : "B,Lq";
  const std::string head_rows = spec.packed ? "H,T" : "B,H,Lq";
  auto add = [&](const std::string& name, Dtype dtype, const std::string& axes) {
    tensors.push_back(declare(spec, lengths, name, dtype, axes));
  };
  for (const std::string& name : spec.outputs) {
    if (name == "output") {
      add(name, spec.dtype,
          spec.op == Op::kBlock ? rows + ",M"
          : bhsd                ? head_rows + ",Dv"
                                : rows + ",H,Dv");
    } else if (name == "weights" || name.starts_with("scores")) {
      add(name, Dtype::kF32, head_rows + ",Lk");
    } else if (name == "mean_weights") {
      add(name, Dtype::kF32, rows + ",Lk");
    } else if (name == "lse") {
      add(name, Dtype::kF32, head_rows);
    } else {
      throw InternalError("no shape is known for the output '" + name + "'");
    }
  }
  if (spec.top_k > 0) {
    add("top_weights", Dtype::kF32, head_rows + ",k");
    add("top_indices", Dtype::kI32, head_rows + ",k");
  }
  if (spec.kv_cache) {
    add("present_key", spec.dtype, bhsd ? "B,G,Lk,D" : "B,Lk,G,D");
    add("present_value", spec.dtype, bhsd ? "B,G,Lk,Dv" : "B,Lk,G,Dv");
  }
  return tensors;
}

bool may_bring_none(const Spec& spec) {
  return spec.kv_cache && (spec.cross || spec.key_length_given);
}

bool is_table(const Spec& spec, const std::string& name) {
  return std::any_of(spec.tables.begin(), spec.tables.end(),
                     [&](const Table& table) { return table.name == name; });
}

bool is_pruned(const Spec& spec, int64_t head) {
  return std::binary_search(spec.pruned_heads.begin(), spec.pruned_heads.end(), head);
}

bool is_kv_pruned(const Spec& spec, int64_t kv_head) {
  const int64_t group = spec.heads / spec.kv_heads;
  for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
    if (!is_pruned(spec, h)) return false;
  }
  return true;
}

CallLengths max_lengths(const Spec& spec) {
  CallLengths lengths{spec.batch.max, spec.query_length.max,
                      spec.key_length_given ? spec.key_length.max : spec.query_length.max, 0};
  if (spec.packed) lengths.total = lengths.batch * lengths.query;
  if (spec.kv_cache) lengths.past = std::max<int64_t>(spec.kv_cache->capacity - lengths.key, 0);
  return lengths;
}

}  // namespace mha
