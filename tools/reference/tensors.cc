#include "tools/reference/tensors.h"

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
      {"Lk", lengths.key},
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
  for (std::string axis; std::getline(words, axis, ',');) tensor.shape.push_back(sizes.at(axis));
  return tensor;
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
  if (spec.op == Op::kBlock) {
    add("x", spec.dtype, spec.packed ? "T,M" : "B,Lq,M");
    if (spec.cross) add("memory", spec.dtype, spec.packed ? "T,M" : "B,Lk,M");
  } else {
    add("query", spec.dtype, spec.packed ? "T,H,D" : bhsd ? "B,H,Lq,D" : "B,Lq,H,D");
    add("key", spec.dtype, spec.packed ? "T,G,D" : bhsd ? "B,G,Lk,D" : "B,Lk,G,D");
    add("value", spec.dtype, spec.packed ? "T,G,Dv" : bhsd ? "B,G,Lk,Dv" : "B,Lk,G,Dv");
  }
  if (spec.mask.tensor != MaskTensor::kNone) {
    add("mask", spec.mask.tensor == MaskTensor::kBool ? Dtype::kBool : Dtype::kF32, "B,H,Lq,Lk");
  }
  if (spec.mask.key_lengths) add("key_lengths", Dtype::kI32, "B");
  if (spec.mask.key_starts) add("key_starts", Dtype::kI32, "B");
  if (spec.query_offset == QueryOffset::kInput) add("query_offset", Dtype::kI32, "B");
  if (spec.packed) add("sequence_starts", Dtype::kI32, "B+1");
  return tensors;
}

std::vector<TensorDecl> weight_tensors(const Spec& spec) {
  std::vector<TensorDecl> tensors;
  if (spec.op != Op::kBlock) return tensors;
  auto add = [&](const char* name, const char* axes) {
    tensors.push_back(declare(spec, {}, name, spec.weights, axes));
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
  return tensors;
}

CallLengths max_lengths(const Spec& spec) {
  CallLengths lengths{spec.batch.max, spec.query_length.max,
                      spec.key_length_given ? spec.key_length.max : spec.query_length.max, 0};
  if (spec.packed) lengths.total = lengths.batch * lengths.query;
  return lengths;
}

}  // namespace mha
