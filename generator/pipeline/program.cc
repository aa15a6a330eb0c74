// Which stages a plan becomes, which buffers lie between them, and how weights are packed for them.
#include "generator/pipeline/program.h"

#include <numeric>

#include "generator/pipeline/head_groups.h"
#include "generator/pipeline/head_rows.h"
#include "generator/pipeline/precision.h"
#include "generator/pipeline/stages.h"
#include "generator/spec/error.h"

namespace mha {

using Halide::Float;
using Halide::ImageParam;

std::string projection_stage_name(const Projection& projection) {
  std::string name = "project_";
  for (const ProjectionPart& part : projection.parts)
    name += part.weight.substr(part.weight.find('_') + 1);
  return name;
}

namespace {

class Builder {
 public:
  Builder(const Plan& plan, const Blocking& blocking) : plan_(plan), blocking_(blocking) {
    blocking_.attention.pairs = takes_pairs(plan, blocking.bf16_dot);
  }

  Program build() {
    key_symbol_ = plan_.self_length ? Symbol::kQuery : Symbol::kKey;
    if (plan_.op == Op::kBlock) {
      inputs_["x"] =
          add_rows_tensor("x", false, queries(), {fixed(plan_.d_model)}, {2, 1, 0}, plan_.dtype);
      for (const Projection& projection : plan_.projections) {
        if (projection.input != "memory" || inputs_.count("memory")) continue;
        inputs_["memory"] = of_new_keys(add_rows_tensor(
            "memory", false, keys(), {fixed(plan_.d_model)}, {2, 1, 0}, plan_.dtype));
      }
      for (const Projection& projection : plan_.projections) add_projection(projection);
      add_norm_weights();
    } else {
      add_attention_tensors();
      add_norm_weights();
    }
    add_norms();
    add_packs_of_heads();
    add_sequence_tensors();
    if (plan_.cache) add_cache();
    for (const Table& table : plan_.attention.tables) add_table(table);
    add_outputs();
    add_attention();
    add_zeros();
    if (plan_.wants("output") && plan_.op == Op::kBlock) add_output_projection();
    return std::move(program_);
  }

 private:
  static Extent fixed(int64_t n) { return {n, Symbol::kOne, 1}; }
  // Rows of all sequences where they are packed: the batch has one element then.
  Extent batch() const { return {1, plan_.packed ? Symbol::kOne : Symbol::kBatch, 1}; }
  Extent queries(int round = 1) const {
    return {1, plan_.packed ? Symbol::kRows : Symbol::kQuery, round};
  }
  // Rows of K and V that the call brings.
  Extent keys(int round = 1) const {
    if (plan_.has_own_keys()) return {1, Symbol::kNewKeys, round};
    return plan_.packed || plan_.cache ? queries(round) : all_keys(round);
  }
  // Lk of the call; of a packed batch, and with a cache, that of its longest sequence.
  Extent all_keys(int round = 1) const { return {1, key_symbol_, round}; }
  // Buffers between stages hold bf16 where products of pairs read them, else f32.
  Dtype head_dtype() const {
    return takes_pairs(plan_, blocking_.bf16_dot) ? Dtype::kBF16 : Dtype::kF32;
  }
  Dtype concat_dtype() const {
    const auto out = blocking_.projections.find("project_out");
    const bool pairs =
        plan_.weights == Dtype::kBF16 || (out != blocking_.projections.end() &&
                                          loop_products(out->second, false) == Products::kPairs);
    return pairs ? head_dtype() : Dtype::kF32;
  }
  // Of a projection's inner loop.
  bool converts(const ProjectionBlocking& block, bool of_memory) const {
    return converts_panels(plan_, blocking_.bf16_dot, expected_rows(plan_, of_memory),
                           block.row_tile);
  }
  Products loop_products(const ProjectionBlocking& block, bool of_memory) const {
    return converts(block, of_memory) ? converted_products(plan_, blocking_.bf16_dot)
                                      : products_of(plan_, blocking_.bf16_dot);
  }
  int64_t padded(int64_t width) const { return padded_width(width, blocking_.lanes); }

  Operand add_tensor(TensorInfo tensor, std::vector<int> axes = {}) {
    if (axes.empty()) {
      axes.resize(tensor.axes.size());
      std::iota(axes.rbegin(), axes.rend(), 0);
    }
    program_.tensors.push_back(std::move(tensor));
    return {Operand::kTensor, static_cast<int>(program_.tensors.size()) - 1, std::move(axes)};
  }
  Operand of_new_keys(Operand tensor) {
    program_.tensors[static_cast<size_t>(tensor.index)].of_new_keys = plan_.may_bring_none();
    return tensor;
  }
  Operand add_buffer(std::string name, std::vector<Extent> extents, Dtype dtype = Dtype::kF32) {
    program_.buffers.push_back({std::move(name), dtype, std::move(extents)});
    return {Operand::kBuffer, static_cast<int>(program_.buffers.size()) - 1, {}};
  }

  // A tensor of the caller with the axes [B, rows, inner...], or [rows, inner...] where sequences
  // are packed. The stage sees the order that `dimensions` says, by those four or fewer axes.
  Operand add_rows_tensor(const std::string& name, bool output, Extent rows,
                          std::vector<Extent> inner, std::vector<int> dimensions = {2, 1, 0},
                          Dtype dtype = Dtype::kF32) {
    TensorInfo tensor{name, output, dtype, {batch(), rows}};
    tensor.axes.insert(tensor.axes.end(), inner.begin(), inner.end());
    return add_sequence_tensor(std::move(tensor), std::move(dimensions));
  }
  // `tensor` has the batch as its first axis, which packed tensors lack.
  Operand add_sequence_tensor(TensorInfo tensor, std::vector<int> dimensions) {
    if (plan_.packed) {
      tensor.axes.erase(tensor.axes.begin());
      for (int& axis : dimensions) axis = axis == 0 ? kNoAxis : axis - 1;
    }
    return add_tensor(std::move(tensor), std::move(dimensions));
  }

  // A tensor of heads as the caller has it, in the plan's dtype; the stage sees (d, t, h, b)
  // whatever the layout.
  Operand add_heads_tensor(const std::string& name, bool output, int64_t heads, int64_t width,
                           Extent rows) {
    if (plan_.layout == Layout::kBshd)
      return add_rows_tensor(name, output, rows, {fixed(heads), fixed(width)}, {3, 1, 2, 0},
                             plan_.dtype);
    return add_tensor({name, output, plan_.dtype, {batch(), fixed(heads), rows, fixed(width)}},
                      {3, 2, 1, 0});
  }

  void add_attention_tensors() {
    const Attention& a = plan_.attention;
    const Halide::Type type = halide_type(plan_.dtype);
    const auto add = [&](const char* name, int64_t heads, int64_t width, Extent rows,
                         const std::vector<int64_t>& kept) {
      return HeadSource{ImageParam(type, 4, name),
                        add_heads_tensor(name, false, heads, width, rows),
                        0,
                        false,
                        false,
                        kept};
    };
    score_.q = add("query", a.all_heads, a.d_head, queries(), a.kept_heads);
    score_.k = add("key", a.all_kv_heads, a.d_head, keys(), a.kept_kv_heads);
    v_ = add("value", a.all_kv_heads, a.d_value, keys(), a.kept_kv_heads);
    of_new_keys(score_.k.operand);
    of_new_keys(v_.operand);
  }

  // The learned weights of the norms: inputs of op attention, packed as they are for a block.
  void add_norm_weights() {
    const Attention& a = plan_.attention;
    if (!a.norm) return;
    const auto add = [&](const std::string& name, int64_t heads) {
      const int64_t count = a.norm->all_width ? heads * a.d_head : a.d_head;
      NormSource source;
      source.weight = ImageParam(Float(32), 1, name);
      if (plan_.op == Op::kAttention) {
        source.weight_operand = add_tensor({name, false, Dtype::kF32, {fixed(count)}});
      } else {
        PackInfo vector;
        vector.kind = PackKind::kVector;
        vector.rows = count;
        vector.parts = {{weight_index(name, {count}), 0, 1, count, count}};
        program_.packs.push_back(std::move(vector));
        source.weight_operand = {Operand::kPack, static_cast<int>(program_.packs.size()) - 1, {}};
      }
      return source;
    };
    score_.q_norm = add("q_norm", a.all_heads);
    k_norm_ = add("k_norm", a.all_kv_heads);
  }

  // Norms over all heads: a number for each row, before anything reads it.
  void add_norms() {
    const Attention& a = plan_.attention;
    if (!a.norm || !a.norm->all_width) return;
    const auto add = [&](const std::string& name, const HeadSource& rows, int64_t heads,
                         bool of_keys, NormSource& norm) {
      norm.roots_operand = add_buffer(name, {of_keys ? keys() : queries(), batch()});
      norm.roots = ImageParam(Float(32), 2, name + "_roots");
      const Range range = plan_.packed ? plan_.rows()
                          : of_keys    ? new_keys(plan_)
                                       : plan_.query_length;
      const Symbol symbol = of_keys ? keys().symbol : queries().symbol;
      program_.stages.push_back(
          build_norms(name, plan_, rows, heads, range, symbol, norm.roots_operand));
    };
    add("norm_q", score_.q, a.all_heads, false, score_.q_norm);
    add("norm_k", score_.k, a.all_kv_heads, true, k_norm_);
  }

  void add_packs_of_heads() {
    if (plan_.cache) return;  // what goes into the cache is packed and transformed on its way
    const Attention& a = plan_.attention;
    const bool transforms = transforms_heads(plan_), bare = plan_.op == Op::kAttention;
    if (transforms || (bare && blocking_.attention.pack_keys)) {
      score_.k = add_pack("pack_keys", score_.k, a.d_head, transforms ? &k_norm_ : nullptr);
    }
    if (blocking_.attention.pairs) {
      v_ = add_pack_pairs("pack_values", v_, a.d_value);
    } else if (bare && blocking_.attention.pack_values) {
      v_ = add_pack("pack_values", v_, a.d_value);
    }
  }

  HeadSource add_pack(const std::string& name, const HeadSource& source, int64_t width,
                      const NormSource* norm = nullptr) {
    const int64_t wide = padded(width);
    Operand buffer = add_buffer(
        name,
        {fixed(wide), keys(blocking_.attention.key_tile), fixed(plan_.attention.kv_heads), batch()},
        head_dtype());
    program_.stages.push_back(
        build_pack(name, plan_, source, buffer, width, wide, halide_type(head_dtype()), norm));
    return {buffer_input(name + "_packed", wide, head_dtype()), buffer, 0, !plan_.packed};
  }

  // Two rows as one; a packed sequence may begin at any row, so that there every row begins a pair.
  HeadSource add_pack_pairs(const std::string& name, const HeadSource& source, int64_t width) {
    const int64_t wide = padded(width);
    Extent rows = keys(plan_.packed ? 1 : std::lcm(blocking_.attention.key_tile, 2));
    if (!plan_.packed) rows.per = 2;
    Operand buffer = add_buffer(
        name, {fixed(2 * wide), rows, fixed(plan_.attention.kv_heads), batch()}, Dtype::kBF16);
    program_.stages.push_back(build_pack_pairs(name, plan_, source, buffer, width, wide));
    return {buffer_input(name + "_packed", 2 * wide, Dtype::kBF16), buffer, 0, !plan_.packed, true};
  }

  // Rows of a buffer of ours are dense.
  static ImageParam buffer_input(const std::string& name, int64_t width,
                                 Dtype dtype = Dtype::kF32) {
    ImageParam input(halide_type(dtype), 4, name);
    input.dim(0).set_bounds(0, static_cast<int>(width));
    input.dim(1).set_stride(static_cast<int>(width));
    return input;
  }

  int weight_index(const std::string& name, std::vector<int64_t> shape) {
    program_.weights.push_back({name, std::move(shape)});
    return static_cast<int>(program_.weights.size()) - 1;
  }

  void add_projection(const Projection& projection) {
    const std::string name = projection_stage_name(projection);
    const ProjectionBlocking& block = blocking_.projections.at(name);
    const int64_t width = projection.parts.front().width, wide = padded(width);
    const bool of_keys = projection.parts.front().weight != "w_q";
    PackInfo matrix, bias;
    matrix.panel = block.panel;
    matrix.columns = matrix.col_width = plan_.d_model;
    int64_t heads = 0;
    for (const ProjectionPart& part : projection.parts) {
      const int64_t rows = all_heads(part) * part.width;
      PackPart packed{weight_index(part.weight, {rows, plan_.d_model}),
                      heads * wide,
                      part.heads,
                      part.width,
                      wide,
                      part.weight_scale};
      if (part.heads != all_heads(part)) packed.row_sources = kept(part);
      matrix.parts.push_back(packed);
      if (!part.bias.empty()) {
        packed.weight = weight_index(part.bias, {rows});
        bias.parts.push_back(packed);
      }
      heads += part.heads;
    }
    matrix.rows = heads * wide;
    const int round = std::lcm(block.row_tile, blocking_.attention.key_tile);
    Extent sequences = batch();
    const bool of_memory = of_keys && keys().symbol != queries().symbol;
    if (batch_rows() && !of_memory) sequences.round = block.row_tile;
    Operand buffer = add_buffer(
        name, {fixed(wide), of_keys ? keys(round) : queries(round), fixed(heads), sequences},
        head_dtype());

    ProjectionInputs in;
    in.input = ImageParam(halide_type(plan_.dtype), 3, projection.input);
    in.operand = inputs_.at(projection.input);
    in.columns = plan_.d_model;
    set_rows(in, of_memory);
    add_packs(in, block, of_memory, std::move(matrix), std::move(bias));
    if (plan_.dtype != Dtype::kF32 && loop_products(block, of_memory) != Products::kPairs &&
        converts_once(expected_rows(plan_, of_memory), block.row_tile)) {
      in.operand = widened_rows(projection.input, in.input, of_memory);
      in.input = ImageParam(Float(32), 3, projection.input + "_f32");
    }
    in.output = buffer;
    in.output_type = halide_type(head_dtype());
    in.output_heads = heads;
    in.output_width = wide;
    program_.stages.push_back(build_projection(name, blocking_, in));

    ImageParam input = buffer_input(name + "_heads", wide, head_dtype());
    int64_t first = 0;
    for (const ProjectionPart& part : projection.parts) {
      // Behind the last row of a packed sequence stands the next one, or nothing.
      HeadSource source{input, buffer, first, !plan_.packed};
      if (part.heads == all_heads(part)) source.picked = kept(part);
      (part.weight == "w_q" ? score_.q : part.weight == "w_k" ? score_.k : v_) = source;
      first += part.heads;
    }
  }

  // x or memory in f32, which panels of weights read again and again; made once.
  Operand widened_rows(const std::string& name, const ImageParam& input, bool of_memory) {
    const auto [found, made] = widened_.try_emplace(name);
    if (!made) return found->second;
    const bool of_keys = name == "memory";
    found->second = add_buffer(
        name + "_f32", {fixed(plan_.d_model), of_keys ? keys() : queries(), batch()}, Dtype::kF32);
    const Range rows = of_memory      ? new_keys(plan_)
                       : plan_.packed ? plan_.rows()
                                      : plan_.query_length;
    const Symbol symbol = of_memory ? keys().symbol : queries().symbol;
    program_.stages.push_back(build_widen("widen_" + name, input, inputs_.at(name), found->second,
                                          plan_.d_model, rows, symbol,
                                          plan_.packed ? Symbol::kOne : Symbol::kBatch));
    return found->second;
  }

  int64_t all_heads(const ProjectionPart& part) const {
    return part.weight == "w_q" ? plan_.attention.all_heads : plan_.attention.all_kv_heads;
  }
  const std::vector<int64_t>& kept(const ProjectionPart& part) const {
    return part.weight == "w_q" ? plan_.attention.kept_heads : plan_.attention.kept_kv_heads;
  }

  // The matrix, whose columns are padded here where they lie in pairs, its scales, and the biases.
  void add_packs(ProjectionInputs& in, const ProjectionBlocking& block, bool of_memory,
                 PackInfo matrix, PackInfo bias) {
    in.weights = matrix.dtype = plan_.weights;
    in.products = products_of(plan_, blocking_.bf16_dot);
    if (converts(block, of_memory)) in.converted = converted_products(plan_, blocking_.bf16_dot);
    if (in.products != Products::kSingles) matrix.pair = 2;
    const auto even = [&](int64_t n) { return (n + matrix.pair - 1) / matrix.pair * matrix.pair; };
    matrix.columns = even(matrix.columns);
    matrix.col_padded = even(std::max(matrix.col_padded, matrix.col_width));
    const auto add = [&](PackInfo pack) {
      program_.packs.push_back(std::move(pack));
      return static_cast<int>(program_.packs.size()) - 1;
    };
    PackInfo scales = matrix;
    in.weights_pack = add(std::move(matrix));
    if (plan_.weights == Dtype::kInt8) {
      scales.kind = PackKind::kScales;
      scales.dtype = Dtype::kF32;
      in.scales_pack = add(scales);
    }
    if (bias.parts.empty()) return;
    bias.kind = PackKind::kVector;
    bias.panel = scales.panel;
    bias.rows = scales.rows;
    in.bias_pack = add(std::move(bias));
  }

  // Sequences of one row: they are the rows of one product, lest each of them read the weights.
  bool batch_rows() const {
    return !plan_.packed && plan_.query_length.max == 1 && plan_.batch.max > 1;
  }

  // The rows that a projection reads: of each sequence, or of all as one.
  void set_rows(ProjectionInputs& in, bool of_keys) const {
    if (!of_keys && batch_rows()) {
      in.rows = plan_.batch;
      in.rows_symbol = Symbol::kBatch;
      in.batch_symbol = Symbol::kOne;
      in.batch_rows = true;
      return;
    }
    in.rows = of_keys ? new_keys(plan_) : plan_.packed ? plan_.rows() : plan_.query_length;
    in.rows_symbol = of_keys ? keys().symbol : queries().symbol;
    in.batch_symbol = plan_.packed ? Symbol::kOne : Symbol::kBatch;
  }

  // The new rows go into the cache, and attention reads it.
  void add_cache() {
    program_.cache = cache_info(plan_);
    for (Stage& stage : program_.stages) {
      // Where keys come from a second input, x makes queries alone.
      const bool of_queries = stage.name == "project_q" || stage.name == "norm_q" ||
                              (plan_.may_bring_none() && stage.name == "widen_x");
      stage.appends = !of_queries;
    }
    const ImageParam table(Halide::Int(32), 2, "page_table");
    for (HeadSource* rows : {&score_.k, &v_}) {
      const bool keys = rows == &score_.k;
      HeadSource cache = cache_source(*program_.cache, keys, table);
      program_.stages.push_back(build_append(keys ? "append_keys" : "append_values", plan_, *rows,
                                             cache,
                                             keys && transforms_heads(plan_) ? &k_norm_ : nullptr));
      *rows = cache;
    }
  }

  // Read by the runtime, which hands each task its own sequence's numbers.
  void add_sequence_tensors() {
    const Attention& a = plan_.attention;
    if (a.mask != MaskTensor::kNone) {
      const bool additive = a.mask == MaskTensor::kAdditive;
      TensorInfo tensor{
          "mask",
          false,
          additive ? Dtype::kF32 : Dtype::kBool,
          {{1, Symbol::kBatch, 1}, fixed(a.all_heads), {1, Symbol::kQuery, 1}, all_keys()}};
      tensor.may_repeat = true;
      // Any byte but 0 is true, so that it is read as a number.
      score_.mask = {ImageParam(additive ? Float(32) : Halide::UInt(8), 4, "mask"),
                     add_tensor(std::move(tensor))};
      score_.mask.input.dim(0).set_stride(Halide::Expr());
    }
    const auto add = [&](const char* name, bool given, Symbol extent, ValueCheck check) {
      if (given) add_tensor({name, false, Dtype::kI32, {{1, extent, 1}}, check});
    };
    add("key_lengths", a.key_lengths, Symbol::kBatch, ValueCheck::kKeys);
    add("key_starts", a.key_starts, Symbol::kBatch, ValueCheck::kKeys);
    add("query_offset", a.query_offset == QueryOffset::kInput, Symbol::kBatch,
        ValueCheck::kInt32Offset);
    if (a.sink) add_sink();
    add("sequence_starts", plan_.packed, Symbol::kStarts, ValueCheck::kStarts);
  }

  // One logit a head: an input, or a weight of a block.
  void add_sink() {
    const int64_t heads = plan_.attention.all_heads;
    sink_.input = ImageParam(Float(32), 1, "sink");
    if (plan_.op == Op::kAttention) {
      sink_.operand = add_tensor({"sink", false, Dtype::kF32, {fixed(heads)}});
      return;
    }
    PackInfo pack;
    pack.kind = PackKind::kVector;
    pack.rows = heads;
    pack.parts = {{weight_index("sink", {heads}), 0, 1, heads, heads}};
    program_.packs.push_back(std::move(pack));
    sink_.operand = {Operand::kPack, static_cast<int>(program_.packs.size()) - 1, {}};
  }

  // What rules read; of the whole batch, packed or not.
  void add_table(const Table& table) {
    const Attention& a = plan_.attention;
    TensorInfo tensor{table.name, false, table.dtype, {}};
    for (const std::string& axis : table.shape) {
      tensor.axes.push_back(axis == "B"    ? Extent{1, Symbol::kBatch, 1}
                            : axis == "H"  ? fixed(a.all_heads)
                            : axis == "G"  ? fixed(a.all_kv_heads)
                            : axis == "Lq" ? Extent{1, Symbol::kQuery, 1}
                            : axis == "Lk" ? all_keys()
                            : axis == "D"  ? fixed(a.d_head)
                                           : fixed(std::stoll(axis)));
    }
    const Halide::Type type =
        table.dtype == Dtype::kF32 ? Halide::Type(Float(32)) : Halide::Int(32);
    ImageParam input(type, static_cast<int>(table.shape.size()), "table_" + table.name);
    score_.tables.push_back({table, input, add_tensor(std::move(tensor))});
  }

  // The tensors that a call fills, in the order of the plan.
  void add_outputs() {
    const Attention& a = plan_.attention;
    const Extent heads = fixed(a.all_heads);
    for (const std::string& name : plan_.outputs) {
      const bool top = name.starts_with("top_");
      if (name == "output" && plan_.op == Op::kAttention) {
        outputs_[name] = add_heads_tensor(name, true, a.all_heads, a.d_value, queries());
      } else if (name == "output") {
        outputs_[name] =
            add_rows_tensor(name, true, queries(), {fixed(plan_.d_model)}, {2, 1, 0}, plan_.dtype);
      } else if (name == "mean_weights") {
        outputs_[name] = add_rows_tensor(name, true, queries(), {all_keys()});
      } else {
        TensorInfo tensor{name, true, Dtype::kF32, {batch(), heads, queries()}};
        if (name == "top_indices") tensor.dtype = Dtype::kI32;
        if (name != "lse") tensor.axes.push_back(top ? fixed(plan_.top_k) : all_keys());
        outputs_[name] =
            add_sequence_tensor(std::move(tensor), name == "lse" ? std::vector<int>{2, 1, 0}
                                                                 : std::vector<int>{3, 2, 1, 0});
      }
    }
  }

  void add_attention() {
    const Attention& a = plan_.attention;
    const bool rows_wanted =
        plan_.wants("weights") || plan_.wants("mean_weights") || plan_.top_k > 0;
    PairInputs pairs{score_, {}, {}, {}};
    pairs.row_max.index = pairs.row_scale.index = -1;
    if (rows_wanted) {
      pairs.row_max = add_buffer("row_max", {queries(), fixed(a.all_heads), batch()});
      pairs.row_scale = add_buffer("row_scale", {queries(), fixed(a.all_heads), batch()});
    }
    if (rows_wanted || plan_.wants("output") || plan_.wants("lse")) add_attention_stage(pairs);
    for (const std::string& name : plan_.outputs) {
      if (name == "output" || name == "lse" || name == "top_indices") continue;
      pairs.output = outputs_.at(name);
      if (name == "mean_weights") {
        program_.stages.push_back(build_mean_weights(plan_, blocking_, pairs));
      } else if (name == "top_weights") {
        program_.stages.push_back(build_top(plan_, blocking_, pairs, outputs_.at("top_indices")));
      } else {
        program_.stages.push_back(build_pairs(name, plan_, blocking_, pairs));
      }
    }
  }

  void add_attention_stage(const PairInputs& pairs) {
    const Attention& a = plan_.attention;
    AttentionInputs in{score_, v_, sink_};
    in.row_max = pairs.row_max;
    in.row_scale = pairs.row_scale;
    in.lse.index = -1;
    if (plan_.wants("lse")) in.lse = outputs_.at("lse");
    const auto projection = blocking_.projections.find("project_out");
    if (plan_.op == Op::kAttention && plan_.wants("output")) {
      in.output_width = a.d_value;
      in.output_type = halide_type(plan_.dtype);
      in.output = outputs_.at("output");
    } else {
      // Dense rows per head, padded to the row tile of the projection that reads them.
      const int round = projection == blocking_.projections.end() ? 1 : projection->second.row_tile;
      in.output_width = padded(a.d_value);
      in.output_dense = true;
      in.output_type = halide_type(concat_dtype());
      concat_ =
          add_buffer("concat", {fixed(in.output_width), queries(round), fixed(a.heads), batch()},
                     concat_dtype());
      in.output = concat_;
    }
    if (decodes(plan_)) {
      add_decode_stages(in);
      return;
    }
    if (blocking_.attention.textbook) {
      program_.stages.push_back(build_textbook_attention(plan_, blocking_, in));
    } else if (blocking_.attention.split_keys) {
      add_split_stages(in);
    } else {
      program_.stages.push_back(build_attention(plan_, blocking_, in));
    }
  }

  // The partial results of splits of `keys` keys, of `heads` heads and `group` rows for each query.
  void add_splits(DecodeInputs& splits, int64_t width, int64_t group, int keys, int64_t heads) {
    const Extent rows{group, Symbol::kRows, 1}, count{1, Symbol::kKey, keys, keys};
    splits.partial_width = width;
    splits.partial = add_buffer("splits", {fixed(width), rows, count, fixed(heads)});
    splits.split_max = add_buffer("split_max", {rows, count, fixed(heads)});
    splits.split_sum = add_buffer("split_sum", {rows, count, fixed(heads)});
  }

  // Every block of keys a task, and all of a row merged.
  void add_split_stages(const AttentionInputs& in) {
    const Attention& a = plan_.attention;
    DecodeInputs splits{score_, v_};
    splits.of_blocks = true;
    add_splits(splits, padded(a.d_value), 1, blocking_.attention.key_block, a.heads);
    program_.stages.push_back(build_attention(plan_, blocking_, in, &splits));
    program_.stages.push_back(build_merge(plan_, blocking_, splits, in));
  }

  // The pruned heads' places in what the caller gets.
  void add_zeros() {
    const Attention& a = plan_.attention;
    if (a.kept_heads.empty()) return;
    for (const std::string& name : plan_.outputs) {
      ZeroInputs in{name, outputs_.at(name)};
      if (name == "mean_weights" || (name == "output" && plan_.op == Op::kBlock)) continue;
      if (name == "output") in.innermost = a.d_value;
      if (name.starts_with("top_")) in.innermost = plan_.top_k;
      in.dtype = program_.tensors[static_cast<size_t>(in.operand.index)].dtype;
      in.over_keys = in.innermost == 0 && name != "lse";
      program_.stages.push_back(build_zero(plan_, in));
    }
  }

  void add_decode_stages(const AttentionInputs& in) {
    const Attention& a = plan_.attention;
    DecodeInputs splits{score_, v_};
    add_splits(splits, program_.cache->d_value_padded, head_groups(a).rows, blocking_.decode.split,
               a.kv_heads);
    for (const bool shared : {true, false})
      program_.stages.push_back(build_decode(plan_, blocking_, splits, shared));
    program_.stages.push_back(build_merge(plan_, blocking_, splits, in));
  }

  void add_output_projection() {
    const Attention& a = plan_.attention;
    const ProjectionBlocking& block = blocking_.projections.at("project_out");
    const int64_t wide = padded(a.d_value);
    PackInfo matrix, bias;
    matrix.panel = block.panel;
    matrix.rows = (plan_.d_model + block.panel - 1) / block.panel * block.panel;
    matrix.columns = a.heads * wide;
    matrix.col_groups = a.heads;
    matrix.col_width = a.d_value;
    matrix.col_padded = wide;
    matrix.col_sources = a.kept_heads;
    PackPart part{weight_index(plan_.out_weight, {plan_.d_model, a.all_heads * a.d_value}),
                  0,
                  1,
                  plan_.d_model,
                  plan_.d_model,
                  1.0};
    matrix.parts = {part};
    if (!plan_.out_bias.empty()) {
      part.weight = weight_index(plan_.out_bias, {plan_.d_model});
      bias.parts = {part};
    }
    ProjectionInputs in;
    in.input = buffer_input("concat", wide, concat_dtype());
    in.operand = concat_;
    in.heads = a.heads;
    in.width = wide;
    in.columns = matrix.columns;
    add_packs(in, block, false, std::move(matrix), std::move(bias));
    set_rows(in, false);
    in.output = outputs_.at("output");
    in.output_type = halide_type(plan_.dtype);
    in.output_width = plan_.d_model;
    program_.stages.push_back(build_projection("project_out", blocking_, in));
  }

  const Plan& plan_;
  Blocking blocking_;
  Program program_;
  Symbol key_symbol_ = Symbol::kKey;
  ScoreInputs score_;
  HeadSource v_;
  NormSource k_norm_;
  SinkSource sink_;
  Operand concat_;
  std::map<std::string, Operand> inputs_, outputs_, widened_;
};

}  // namespace

Program build_program(const Plan& plan, const Blocking& blocking) {
  return Builder(plan, blocking).build();
}

}  // namespace mha
