// Which stages a plan becomes, which buffers lie between them, and how weights are packed for them.
#include "generator/pipeline/program.h"

#include <numeric>

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
  Builder(const Plan& plan, const Blocking& blocking) : plan_(plan), blocking_(blocking) {}

  Program build() {
    key_symbol_ = plan_.self_length ? Symbol::kQuery : Symbol::kKey;
    if (plan_.op == Op::kBlock) {
      add_tensor({"x", false, Dtype::kF32, {batch(), queries(), fixed(plan_.d_model)}});
      for (const Projection& projection : plan_.projections) add_projection(projection);
    } else {
      add_attention_tensors();
    }
    add_sequence_tensors();
    add_attention();
    if (plan_.op == Op::kBlock) add_output_projection();
    return std::move(program_);
  }

 private:
  static Extent fixed(int64_t n) { return {n, Symbol::kOne, 1}; }
  static Extent batch() { return {1, Symbol::kBatch, 1}; }
  static Extent queries(int round = 1) { return {1, Symbol::kQuery, round}; }
  Extent keys(int round = 1) const { return {1, key_symbol_, round}; }
  int64_t padded(int64_t width) const { return padded_width(width, blocking_.lanes); }

  Operand add_tensor(TensorInfo tensor, std::vector<int> axes = {}) {
    if (axes.empty()) {
      axes.resize(tensor.axes.size());
      std::iota(axes.rbegin(), axes.rend(), 0);
    }
    program_.tensors.push_back(std::move(tensor));
    return {Operand::kTensor, static_cast<int>(program_.tensors.size()) - 1, std::move(axes)};
  }
  Operand add_buffer(std::string name, std::vector<Extent> extents) {
    program_.buffers.push_back({std::move(name), Dtype::kF32, std::move(extents)});
    return {Operand::kBuffer, static_cast<int>(program_.buffers.size()) - 1, {}};
  }

  // A tensor of heads as the caller has it; the stage sees (d, t, h, b) whatever the layout.
  Operand add_heads_tensor(const std::string& name, bool output, int64_t heads, int64_t width,
                           Extent rows) {
    TensorInfo tensor{name, output, Dtype::kF32, {batch(), rows, fixed(heads), fixed(width)}};
    if (plan_.layout == Layout::kBshd) return add_tensor(std::move(tensor), {3, 1, 2, 0});
    std::swap(tensor.axes[1], tensor.axes[2]);
    return add_tensor(std::move(tensor), {3, 2, 1, 0});
  }

  void add_attention_tensors() {
    const Attention& a = plan_.attention;
    q_ = {ImageParam(Float(32), 4, "query"),
          add_heads_tensor("query", false, a.heads, a.d_head, queries())};
    k_ = {ImageParam(Float(32), 4, "key"),
          add_heads_tensor("key", false, a.kv_heads, a.d_head, keys())};
    v_ = {ImageParam(Float(32), 4, "value"),
          add_heads_tensor("value", false, a.kv_heads, a.d_value, keys())};
    if (blocking_.attention.pack_keys) k_ = add_pack("pack_keys", k_, a.d_head);
    if (blocking_.attention.pack_values) v_ = add_pack("pack_values", v_, a.d_value);
  }

  HeadSource add_pack(const std::string& name, const HeadSource& source, int64_t width) {
    const int64_t wide = padded(width);
    Operand buffer = add_buffer(name, {fixed(wide), keys(blocking_.attention.key_tile),
                                       fixed(plan_.attention.kv_heads), batch()});
    program_.stages.push_back(build_pack(name, plan_, source, buffer, width, wide));
    return {buffer_input(name + "_packed", wide), buffer, 0, true};
  }

  // Rows of a buffer of ours are dense.
  static ImageParam buffer_input(const std::string& name, int64_t width) {
    ImageParam input(Float(32), 4, name);
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
    matrix.columns = plan_.d_model;
    matrix.col_groups = 1;
    matrix.col_width = matrix.col_padded = plan_.d_model;
    bias.vector = true;
    bias.panel = block.panel;
    int64_t heads = 0;
    for (const ProjectionPart& part : projection.parts) {
      const int64_t rows = part.heads * part.width;
      PackPart packed{weight_index(part.weight, {rows, plan_.d_model}),
                      heads * wide,
                      part.heads,
                      part.width,
                      wide,
                      part.weight_scale};
      matrix.parts.push_back(packed);
      if (!part.bias.empty()) {
        packed.weight = weight_index(part.bias, {rows});
        bias.parts.push_back(packed);
      }
      heads += part.heads;
    }
    matrix.rows = bias.rows = heads * wide;
    const int round = std::lcm(block.row_tile, blocking_.attention.key_tile);
    Operand buffer = add_buffer(
        name, {fixed(wide), of_keys ? keys(round) : queries(round), fixed(heads), batch()});

    ProjectionInputs in;
    in.input = ImageParam(Float(32), 3, projection.input);
    in.operand = {Operand::kTensor, tensor_index(projection.input), {2, 1, 0}};
    in.columns = plan_.d_model;
    add_packs(in, std::move(matrix), std::move(bias));
    in.rows = of_keys && !plan_.self_length ? plan_.key_length : plan_.query_length;
    in.rows_symbol = of_keys ? key_symbol_ : Symbol::kQuery;
    in.output = buffer;
    in.output_heads = heads;
    in.output_width = wide;
    program_.stages.push_back(build_projection(name, blocking_, in));

    ImageParam input = buffer_input(name + "_heads", wide);
    int64_t first = 0;
    for (const ProjectionPart& part : projection.parts) {
      HeadSource source{input, buffer, first, true};
      (part.weight == "w_q" ? q_ : part.weight == "w_k" ? k_ : v_) = source;
      first += part.heads;
    }
  }

  void add_packs(ProjectionInputs& in, PackInfo matrix, PackInfo bias) {
    program_.packs.push_back(std::move(matrix));
    in.weights_pack = static_cast<int>(program_.packs.size()) - 1;
    if (bias.parts.empty()) return;
    program_.packs.push_back(std::move(bias));
    in.bias_pack = static_cast<int>(program_.packs.size()) - 1;
  }

  int tensor_index(const std::string& name) const {
    for (size_t i = 0; i < program_.tensors.size(); i++) {
      if (program_.tensors[i].name == name) return static_cast<int>(i);
    }
    throw InternalError("no tensor " + name + " in the program");
  }

  // Read by the runtime, which hands each task its own sequence's numbers.
  void add_sequence_tensors() {
    if (plan_.attention.key_lengths) {
      add_tensor({"key_lengths", false, Dtype::kI32, {batch()}, ValueCheck::kKeyLengths});
    }
    if (plan_.attention.query_offset == QueryOffset::kInput) {
      add_tensor({"query_offset", false, Dtype::kI32, {batch()}, ValueCheck::kInt32Offset});
    }
  }

  void add_attention() {
    const Attention& a = plan_.attention;
    AttentionInputs in;
    in.q = q_;
    in.k = k_;
    in.v = v_;
    in.lse.index = in.row_max.index = in.row_scale.index = -1;
    if (plan_.op == Op::kBlock) {
      // Dense rows per head, padded to the row tile of the projection that reads them.
      const int round = blocking_.projections.at("project_out").row_tile;
      in.output_width = padded(a.d_value);
      concat_ =
          add_buffer("concat", {fixed(in.output_width), queries(round), fixed(a.heads), batch()});
      in.output = concat_;
    } else {
      in.output_width = a.d_value;
      in.output = add_heads_tensor("output", true, a.heads, a.d_value, queries());
    }
    Operand output_tensor;
    if (plan_.op == Op::kBlock) output_tensor = add_tensor(block_output());
    Operand weights;
    if (a.want_weights) {
      weights =
          add_tensor({"weights", true, Dtype::kF32, {batch(), fixed(a.heads), queries(), keys()}});
      in.row_max = add_buffer("row_max", {queries(), fixed(a.heads), batch()});
      in.row_scale = add_buffer("row_scale", {queries(), fixed(a.heads), batch()});
    }
    if (a.want_lse)
      in.lse = add_tensor({"lse", true, Dtype::kF32, {batch(), fixed(a.heads), queries()}});
    block_output_ = output_tensor;
    program_.stages.push_back(build_attention(plan_, blocking_, in));
    if (!a.want_weights) return;
    WeightsInputs w{q_, k_, in.row_max, in.row_scale, weights};
    program_.stages.push_back(build_weights(plan_, blocking_, w));
  }

  TensorInfo block_output() const {
    return {"output", true, Dtype::kF32, {batch(), queries(), fixed(plan_.d_model)}};
  }

  void add_output_projection() {
    const Attention& a = plan_.attention;
    const ProjectionBlocking& block = blocking_.projections.at("project_out");
    const int64_t wide = padded(a.d_value);
    PackInfo matrix, bias;
    matrix.panel = bias.panel = block.panel;
    matrix.rows = bias.rows = (plan_.d_model + block.panel - 1) / block.panel * block.panel;
    matrix.columns = a.heads * wide;
    matrix.col_groups = a.heads;
    matrix.col_width = a.d_value;
    matrix.col_padded = wide;
    PackPart part{weight_index(plan_.out_weight, {plan_.d_model, a.heads * a.d_value}),
                  0,
                  1,
                  plan_.d_model,
                  plan_.d_model,
                  1.0};
    matrix.parts = {part};
    bias.vector = true;
    if (!plan_.out_bias.empty()) {
      part.weight = weight_index(plan_.out_bias, {plan_.d_model});
      bias.parts = {part};
    }
    ProjectionInputs in;
    in.input = buffer_input("concat", wide);
    in.operand = concat_;
    in.heads = a.heads;
    in.width = wide;
    in.columns = matrix.columns;
    add_packs(in, std::move(matrix), std::move(bias));
    in.rows = plan_.query_length;
    in.rows_symbol = Symbol::kQuery;
    in.output = block_output_;
    in.output_width = plan_.d_model;
    program_.stages.push_back(build_projection("project_out", blocking_, in));
  }

  const Plan& plan_;
  const Blocking& blocking_;
  Program program_;
  Symbol key_symbol_ = Symbol::kKey;
  HeadSource q_, k_, v_;
  Operand concat_, block_output_;
};

}  // namespace

Program build_program(const Plan& plan, const Blocking& blocking) {
  return Builder(plan, blocking).build();
}

}  // namespace mha
