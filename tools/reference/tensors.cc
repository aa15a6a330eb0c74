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
  bool bshd = spec.layout == Layout::kBshd;
  if (spec.op == Op::kBlock) {
    add("x", spec.dtype, "B,Lq,M");
  } else {
    add("query", spec.dtype, bshd ? "B,Lq,H,D" : "B,H,Lq,D");
    add("key", spec.dtype, bshd ? "B,Lk,G,D" : "B,G,Lk,D");
    add("value", spec.dtype, bshd ? "B,Lk,G,Dv" : "B,G,Lk,Dv");
  }
  if (spec.mask.key_lengths) add("key_lengths", Dtype::kI32, "B");
  if (spec.query_offset == QueryOffset::kInput) add("query_offset", Dtype::kI32, "B");
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
  add("w_o", "M,H*Dv");
  if (spec.projection_bias.q) add("b_q", "H*D");
  if (spec.projection_bias.k) add("b_k", "G*D");
  if (spec.projection_bias.v) add("b_v", "G*Dv");
  if (spec.projection_bias.out) add("b_o", "M");
  return tensors;
}

std::vector<TensorDecl> output_tensors(const Spec& spec, const CallLengths& lengths) {
  std::vector<TensorDecl> tensors;
  for (const std::string& name : spec.outputs) {
    const char* axes = nullptr;
    Dtype dtype = Dtype::kF32;
    if (name == "output") {
      dtype = spec.dtype;
      axes = spec.op == Op::kBlock          ? "B,Lq,M"
             : spec.layout == Layout::kBshd ? "B,Lq,H,Dv"
                                            : "B,H,Lq,Dv";
    } else if (name == "weights") {
      axes = "B,H,Lq,Lk";
    } else if (name == "lse") {
      axes = "B,H,Lq";
    } else {
      throw InternalError("no shape is known for the output '" + name + "'");
    }
    tensors.push_back(declare(spec, lengths, name, dtype, axes));
  }
  return tensors;
}

CallLengths max_lengths(const Spec& spec) {
  return {spec.batch.max, spec.query_length.max,
          spec.key_length_given ? spec.key_length.max : spec.query_length.max};
}

}  // namespace mha
