#include "generator/emit/header.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "generator/emit/cache_text.h"
#include "mha/mha.h"

namespace mha {
namespace {

Range range_of(Symbol symbol, const Plan& plan) {
  switch (symbol) {
    case Symbol::kBatch:
      return plan.batch;
    case Symbol::kQuery:
      return plan.query_length;
    case Symbol::kKey:
      return plan.self_length ? plan.query_length : plan.key_length;
    case Symbol::kRows:
      return {1, INT32_MAX};
    case Symbol::kStarts:
      return {plan.batch.min + 1, plan.batch.max + 1};
    case Symbol::kNewKeys:
      return plan.new_key_length;
    default:
      return {1, 1};
  }
}

std::string letter_of(Symbol symbol, const Plan& plan) {
  if (symbol == Symbol::kBatch) return "B";
  if (symbol == Symbol::kStarts) return "B + 1";
  if (symbol == Symbol::kRows) return "T";
  if (symbol == Symbol::kNewKeys) return "Ln";
  return symbol == Symbol::kQuery || plan.self_length ? "Lq" : "Lk";
}

std::string extent_text(const Extent& extent, const Plan& plan) {
  const Range range = range_of(extent.symbol, plan);
  if (range.fixed()) return std::to_string(extent.scale * range.min);
  const std::string letter = letter_of(extent.symbol, plan);
  return extent.scale == 1 ? letter : fmt::format("{}*{}", extent.scale, letter);
}

std::string range_text(const std::string& letter, const Range& range) {
  if (range.fixed()) return fmt::format("{} = {}", letter, range.min);
  return fmt::format("{} in [{}, {}], given by each call", letter, range.min, range.max);
}

const char* dtype_text(Dtype dtype) {
  switch (dtype) {
    case Dtype::kBF16:
      return "bfloat16";
    case Dtype::kF16:
      return "float16";
    case Dtype::kI32:
      return "int32";
    case Dtype::kBool:
      return "bool";
    default:
      return "float";
  }
}

// What the kernel computes, one fact a line.
std::string facts(const Plan& plan) {
  const Attention& a = plan.attention;
  std::string text;
  const auto line = [&](const std::string& fact) { text += " * " + fact + "\n"; };
  if (plan.op == Op::kBlock) {
    line(
        "Multi-head attention block: projections, attention, concatenation of the heads, output "
        "projection.");
    line(fmt::format("d_model M = {}", plan.d_model));
  } else {
    line(fmt::format("Attention over query, key and value in {} order.",
                     plan.layout == Layout::kBshd ? "[B, L, H, D]" : "[B, H, L, D]"));
  }
  line(fmt::format("heads H = {}, key/value heads G = {}, head width D = {}, value width Dv = {}",
                   a.all_heads, a.all_kv_heads, a.d_head, a.d_value));
  if (!a.kept_heads.empty()) {
    line(fmt::format("heads that are not pruned: {}; the places of the others are 0",
                     fmt::join(a.kept_heads, ", ")));
  }
  if (plan.dtype == Dtype::kBF16) line("bfloat16: the upper two bytes of a float");
  if (plan.dtype == Dtype::kF16) line("float16: IEEE 754 binary16");
  line(range_text("batch B", plan.batch));
  line(range_text("queries Lq", plan.query_length));
  if (plan.cache) {
    const CacheInfo cache = cache_info(plan);
    line(fmt::format("keys Lk: those that the longest sequence of the call has, at most {}",
                     cache.capacity));
    line(fmt::format("cache: {} bytes a key in each layer, in pages of {} keys; the rows of a call",
                     cache_key_bytes(cache), cache.page));
    line("  follow the keys that their sequence has");
    if (plan.has_own_keys())
      line(range_text("new keys Ln", plan.new_key_length) + "; 0 in new_keys: none");
    if (plan.new_keys == Plan::NewKeys::kOfQueriesOrNone)
      line("new keys: none where new_keys is 0, one a query where it is query_length");
  } else {
    line(plan.self_length ? "keys Lk = Lq" : range_text("keys Lk", plan.keys()));
  }
  if (plan.packed) {
    line("packed: sequence b is rows sequence_starts[b] to sequence_starts[b + 1] of T in all, at");
    line("  most Lq of them");
  }
  if (a.norm) {
    line(fmt::format("norm of q and k over {}, {} the rotation: x / sqrt(mean(x^2) + {}) * {}",
                     a.norm->all_width ? "all heads" : "each head",
                     a.norm->before_rope ? "before" : "after", a.norm->eps,
                     a.norm->weight_offset == 1 ? "(1 + weight)" : "weight"));
  }
  if (a.rotation) {
    line(fmt::format(
        "rotary position embedding of the first {} elements, pairs ({}): query i is at",
        2 * a.rotation->inv_freq.size(),
        a.rotation->interleaved ? std::string("2i, 2i + 1")
                                : fmt::format("i, i + {}", a.rotation->inv_freq.size())));
    line("  i + offset, key j at j");
  }
  if (a.right == 0) line("causal: key j is visible to query i when j <= i + offset");
  if (a.right && *a.right != 0)
    line(fmt::format("window: key j is visible to query i when j <= i + offset + {}", *a.right));
  if (a.left)
    line(fmt::format("window: key j is visible to query i when j >= i + offset - {}", *a.left));
  if (a.key_lengths) line("key_lengths: key j of sequence b is there when j < key_lengths[b]");
  if (a.key_starts) line("key_starts: key j of sequence b is there when j >= key_starts[b]");
  if (a.mask == MaskTensor::kBool) line("mask: a byte that is not 0 attends");
  if (a.mask == MaskTensor::kAdditive) line("mask: is added to the score; -inf hides");
  if (a.mask != MaskTensor::kNone) {
    line("  An axis of the mask is repeated by the stride 0, the innermost by MHA_REPEATED.");
  }
  if (plan.cache) line("offset = keys of sequence b in the cache before the call");
  if (a.query_offset == QueryOffset::kEnd && !plan.cache)
    line("offset = key_lengths[b] (or Lk) - Lq");
  if (a.query_offset == QueryOffset::kInput) line("offset = query_offset[b]");
  return text;
}

}  // namespace

std::string shape_text(const TensorInfo& tensor, const Plan& plan) {
  std::string text;
  for (const Extent& axis : tensor.axes)
    text += (text.empty() ? "" : ", ") + extent_text(axis, plan);
  return "[" + text + "]";
}

std::string c_header(const Plan& plan, const Program& program, const std::string& variant) {
  const std::string& name = plan.name;
  const bool block = !program.weights.empty();
  const std::string guard = "MHA_GENERATED_" + name + "_H_";
  std::string fields, example;
  for (const TensorInfo& tensor : program.tensors) {
    fields += fmt::format("  mha_tensor {}; /* {} {}, {} */\n", tensor.name,
                          tensor.output ? "output" : "input", dtype_text(tensor.dtype),
                          shape_text(tensor, plan));
    example += fmt::format(" *   args.{}.data = {};\n", tensor.name, tensor.name);
  }
  const bool lengths = !plan.batch.fixed() || !plan.query_length.fixed() ||
                       (!plan.self_length && !plan.key_length.fixed());

  std::string text = fmt::format(
      "/* {0}: generated by mha-gen {1}.{2}.{3} for {4}. Do not edit.\n"
      " *\n"
      "{5}",
      name, MHA_VERSION_MAJOR, MHA_VERSION_MINOR, MHA_VERSION_PATCH, variant, facts(plan));
  if (block) {
    text += " *\n * Weights, row-major, y = x W^T + b:\n";
    for (const WeightInfo& weight : program.weights) {
      text += fmt::format(" *   {} [{}]\n", weight.name, fmt::join(weight.shape, ", "));
    }
  }
  text += fmt::format(
      " *\n"
      " * Link lib{0}.a and the runtime libmha.a. A call, with its statuses left unchecked:\n"
      " *\n"
      " *   mha_context* context;\n"
      " *   mha_context_create(NULL, &context);\n",
      name);
  if (block) {
    text += fmt::format(
        " *   mha_weights* weights;\n"
        " *   {0}_weights_load(\"model.safetensors\", 0, &weights);\n",
        name);
  }
  if (program.cache) {
    text += fmt::format(
        " *   mha_cache_options options = {{sizeof options, 8, 1, 0}}; (8 sequences, 1 layer)\n"
        " *   mha_cache* cache;\n"
        " *   {0}_cache_create(&options, &cache);\n"
        " *   int32_t sequences[{1}]; (mha_sequence_create(cache, &sequences[b]) for each)\n",
        name, plan.batch.max);
  }
  text += fmt::format(
      " *   {0}_args args;\n"
      " *   memset(&args, 0, sizeof args);\n"
      " *   args.call.size = sizeof args;\n"
      "{1}{2}"
      " *   size_t bytes;\n"
      " *   {0}_workspace_size(&args, mha_context_threads(context), &bytes);\n"
      " *   args.call.workspace = aligned_alloc(MHA_WORKSPACE_ALIGNMENT, bytes);\n"
      " *   args.call.workspace_size = bytes;\n"
      "{3}"
      " *   {0}_{4}(context, &args);\n"
      " */\n",
      name,
      std::string(block ? " *   args.call.weights = weights;\n" : "") +
          (program.cache ? " *   args.call.cache = cache;\n"
                           " *   args.call.sequences = sequences;\n"
                         : ""),
      !lengths ? ""
      : program.cache
          ? std::string(" *   (args.call.batch, query_length: 0 stands for the largest)\n") +
                (plan.may_bring_none() ? " *   (args.call.new_keys: 0 stands for none)\n" : "")
          : " *   (args.call.batch, query_length, key_length: 0 stands for the largest)\n",
      example, program.cache ? "decode" : "run");
  text += fmt::format(
      "#ifndef {1}\n"
      "#define {1}\n"
      "\n"
      "#include <mha/mha.h>\n"
      "\n"
      "#ifdef __cplusplus\n"
      "extern \"C\" {{\n"
      "#endif\n"
      "\n"
      "extern const mha_kernel {0}_kernel;\n"
      "\n"
      "/* Zero it before filling it in. Tensors are dense unless flags has MHA_STRIDED. */\n"
      "typedef struct {0}_args {{\n"
      "  mha_call call;\n"
      "{2}"
      "}} {0}_args;\n"
      "\n"
      "/* Bytes of workspace that a call with the lengths of `args` takes with a context of "
      "`threads` threads. */\n"
      "mha_status {0}_workspace_size(const {0}_args* args, int32_t threads, size_t* bytes);\n"
      "/* Checks the arguments, then computes. Allocates nothing; many threads may call it, each "
      "with a\n"
      " * workspace of its own. */\n"
      "mha_status {0}_run(mha_context* context, const {0}_args* args);\n",
      name, guard, fields);
  if (block) {
    text += fmt::format(
        "/* Packs weights from memory; or from a safetensors file, with `layer` for {{layer}} in "
        "their names. Free\n"
        " * them with mha_weights_destroy(). */\n"
        "mha_status {0}_weights_create(const mha_weight_array* arrays, size_t count, mha_weights** "
        "weights);\n"
        "mha_status {0}_weights_load(const char* path, int32_t layer, mha_weights** weights);\n",
        name);
  }
  if (program.cache) {
    text += fmt::format(
        "/* A cache for the sequences of this kernel, as of every one with the same kv_cache, "
        "dtype "
        "and heads. */\n"
        "mha_status {0}_cache_create(const mha_cache_options* options, mha_cache** cache);\n"
        "/* K and V of the new tokens go into the cache, nothing attends: outputs are not looked "
        "at{1}. */\n"
        "mha_status {0}_append(mha_context* context, const {0}_args* args);\n"
        "/* The same, and then the queries attend to all that their sequence has: one token or a "
        "part of a\n"
        " * prompt. {0}_run is another name for it. */\n"
        "mha_status {0}_decode(mha_context* context, const {0}_args* args);\n"
        "/* The same result within rounding; keys that all sequences of the call share are read "
        "once. */\n"
        "mha_status {0}_decode_shared(mha_context* context, const {0}_args* args);\n",
        name, plan.may_bring_none() ? ".\n * new_keys 0 stands for the most" : "");
  }
  text += fmt::format(
      "\n"
      "#ifdef __cplusplus\n"
      "}}\n"
      "#endif\n"
      "\n"
      "#endif /* {} */\n",
      guard);
  return text;
}

std::string cmake_config(const std::string& name) {
  return fmt::format(
      "# find_package({0} CONFIG) or include() of this file: defines the target {0}::{0}.\n"
      "if(NOT TARGET mha::runtime)\n"
      "  include(CMakeFindDependencyMacro)\n"
      "  find_dependency(mha)\n"
      "endif()\n"
      "if(NOT TARGET {0}::{0})\n"
      "  add_library({0}::{0} STATIC IMPORTED)\n"
      "  set_target_properties({0}::{0} PROPERTIES\n"
      "    IMPORTED_LOCATION \"${{CMAKE_CURRENT_LIST_DIR}}/lib{0}.a\"\n"
      "    IMPORTED_LINK_INTERFACE_LANGUAGES C\n"
      "    INTERFACE_INCLUDE_DIRECTORIES \"${{CMAKE_CURRENT_LIST_DIR}}\"\n"
      "    INTERFACE_LINK_LIBRARIES mha::runtime)\n"
      "endif()\n",
      name);
}

std::string pkg_config(const std::string& name, const std::string& version) {
  return fmt::format(
      "Name: {0}\n"
      "Description: Attention kernel {0}, generated by mha-gen\n"
      "Version: {1}\n"
      "Requires: mha\n"
      "Libs: -L${{pcfiledir}} -l{0}\n"
      "Cflags: -I${{pcfiledir}}\n",
      name, version);
}

}  // namespace mha
