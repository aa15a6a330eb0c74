#include "generator/ir/read_plan.h"

#include <fmt/format.h>

#include <array>

#include "generator/ir/rules.h"
#include "generator/spec/error.h"

namespace mha::ir {

using mlir::Value;

namespace {

class Reader {
 public:
  explicit Reader(KernelOp kernel) : kernel_(kernel) {}

  Plan run() {
    plan_.name = kernel_.getSymName().str();
    plan_.batch = range(kernel_.getBatch());
    plan_.query_length = range(kernel_.getQueries());
    plan_.key_length = range(kernel_.getKeys());
    plan_.self_length = kernel_.getSelf();
    plan_.packed = kernel_.getPacked();

    AttentionOp attention_op = only<AttentionOp>("attention");
    attention(attention_op);
    auto out = llvm::to_vector(kernel_.getBody().getOps<ProjectOutOp>());
    const bool block = !row_chain(attention_op.getQ()).source.getDefiningOp<InputOp>();
    plan_.op = block ? Op::kBlock : Op::kAttention;
    if (block) {
      projections();
      operands_are_projected(attention_op);
    } else {
      operands_are_inputs(attention_op);
    }
    if (out.empty()) {
      // Of a block that does not return its output, the last projection is dead and gone.
      returned(block ? Value() : attention_op.getOutput(), attention_op);
    } else {
      ProjectOutOp project = only<ProjectOutOp>("project_out");
      if (project.getHeads() != attention_op.getOutput())
        refuse("project_out must read the attention's output");
      plan_.out_weight = weight_name(project.getWeight());
      matrix(project.getWeight());
      if (project.getBias()) plan_.out_bias = weight_name(project.getBias());
      returned(project.getY(), attention_op);
    }
    return plan_;
  }

 private:
  [[noreturn]] void refuse(const std::string& why) {
    throw UserError(fmt::format("kernel @{} is not a plan: {}", kernel_.getSymName().str(), why));
  }

  static Range range(RangeAttr range) { return {range.getMin(), range.getMax()}; }

  template <typename OpType>
  OpType only(const char* what) {
    auto ops = llvm::to_vector(kernel_.getBody().template getOps<OpType>());
    if (ops.size() != 1)
      refuse(fmt::format("it has {} operations mha.{}, not one", ops.size(), what));
    return ops.front();
  }

  Dtype dtype_of(Value value) {
    mlir::Type type = llvm::cast<mlir::RankedTensorType>(value.getType()).getElementType();
    if (type.isF32()) return Dtype::kF32;
    if (type.isBF16()) return Dtype::kBF16;
    if (type.isF16()) return Dtype::kF16;
    if (type.isInteger(8)) return Dtype::kInt8;
    refuse("a tensor is of a type that back ends do not know");
  }
  // Matrices of one kernel are stored alike.
  void matrix(Value weight) {
    const Dtype dtype = dtype_of(weight);
    if (seen_matrix_ && dtype != plan_.weights) refuse("its weights are of several types");
    seen_matrix_ = true;
    plan_.weights = dtype;
  }

  std::string input_name(Value value) {
    auto op = value.getDefiningOp<InputOp>();
    if (!op) refuse("an operand that must be an input is none");
    return op.getName().str();
  }
  std::string weight_name(Value value) {
    auto op = value.getDefiningOp<WeightOp>();
    if (!op) refuse("an operand that must be a weight is none");
    return op.getName().str();
  }

  // Of a kernel with a cache what a call adds to it, else all keys or values.
  static Value new_rows(Value rows) {
    auto append = rows.getDefiningOp<AppendOp>();
    return append ? append.getRows() : rows;
  }

  void attention(AttentionOp op) {
    const HeadAxes q = head_axes(op.getQ(), op.getLayout()),
                   v = head_axes(op.getV(), op.getLayout());
    Attention& attention = plan_.attention;
    plan_.dtype = dtype_of(op.getQ());
    attention.all_heads = q.heads;
    attention.all_kv_heads = v.heads;
    computed_heads(op.getPruned().value_or(llvm::ArrayRef<int64_t>()));
    attention.d_head = q.width;
    attention.d_value = v.width;
    attention.score_scale = op.getScale().convertToDouble();
    if (op.getSoftcap()) attention.softcap = op.getSoftcap()->convertToDouble();
    if (op.getAlibi()) attention.alibi_slopes.assign(op.getAlibi()->begin(), op.getAlibi()->end());
    attention.sink = static_cast<bool>(op.getSink());
    if (op.getSink() && named(op.getSink()) != "sink")
      refuse("its operand sink must be the input or weight \"sink\"");
    if (!op.getScoreRule().empty()) attention.score_rule = read_rule(op.getScoreRule()).expression;
    if (!op.getMaskRule().empty()) attention.mask_rule = read_rule(op.getMaskRule()).expression;
    for (Value value : op.getTables()) tables(value);
    if (op.getLeft()) attention.left = static_cast<int64_t>(*op.getLeft());
    if (op.getRight()) attention.right = static_cast<int64_t>(*op.getRight());
    if (op.getCausal()) attention.right = 0;
    attention.key_lengths = static_cast<bool>(op.getKeyLengths());
    attention.key_starts = static_cast<bool>(op.getKeyStarts());
    if (op.getMask()) {
      const bool additive =
          llvm::cast<mlir::RankedTensorType>(op.getMask().getType()).getElementType().isF32();
      attention.mask = additive ? MaskTensor::kAdditive : MaskTensor::kBool;
    }
    if (op.getTopWeights()) {
      plan_.top_k = llvm::cast<mlir::RankedTensorType>(op.getTopWeights().getType()).getDimSize(3);
    }
    attention.query_offset = op.getOffset() == Offset::kStart ? QueryOffset::kStart
                             : op.getOffset() == Offset::kEnd ? QueryOffset::kEnd
                                                              : QueryOffset::kInput;
    if (AppendOp append = op.appended()) {
      KvCache cache;
      cache.capacity = static_cast<int64_t>(append.getCapacity());
      cache.paged = append.getPage().has_value();
      if (cache.paged) cache.page = static_cast<int64_t>(*append.getPage());
      plan_.cache = cache;
      if (append.getOrNone()) plan_.new_keys = Plan::NewKeys::kOfQueriesOrNone;
      if (append.getBrings()) {
        plan_.new_keys = Plan::NewKeys::kOwn;
        plan_.new_key_length = range(*append.getBrings());
      }
    }
    plan_.layout = op.getLayout() == AxisOrder::kBshd ? Layout::kBshd : Layout::kBhsd;
    rows(op);
    const std::pair<Value, const char*> inputs[] = {{op.getKeyLengths(), "key_lengths"},
                                                    {op.getKeyStarts(), "key_starts"},
                                                    {op.getQueryOffset(), "query_offset"},
                                                    {op.getSequenceStarts(), "sequence_starts"},
                                                    {op.getMask(), "mask"}};
    for (const auto& [value, name] : inputs) {
      if (value && input_name(value) != name)
        refuse(fmt::format("its operand {0} must be the input \"{0}\"", name));
    }
  }

  void tables(Value value) {
    Table table;
    table.name = input_name(value);
    auto input = value.getDefiningOp<InputOp>();
    if (!input.getAxes()) refuse(fmt::format("its table {} has no axes", table.name));
    for (auto axis : input.getAxes()->getAsRange<mlir::StringAttr>())
      table.shape.push_back(axis.getValue().str());
    const bool real = llvm::cast<mlir::RankedTensorType>(value.getType()).getElementType().isF32();
    table.dtype = real ? Dtype::kF32 : Dtype::kI32;
    plan_.attention.tables.push_back(std::move(table));
  }

  // The heads that are not pruned, and the KV heads that one of them reads.
  void computed_heads(llvm::ArrayRef<int64_t> pruned) {
    Attention& attention = plan_.attention;
    attention.heads = attention.all_heads;
    attention.kv_heads = attention.all_kv_heads;
    if (pruned.empty()) return;
    const int64_t group = attention.all_heads / attention.all_kv_heads;
    for (int64_t head = 0; head < attention.all_heads; ++head) {
      if (llvm::is_contained(pruned, head)) continue;
      std::vector<int64_t>& kept = attention.kept_kv_heads;
      if (kept.empty() || kept.back() != head / group) kept.push_back(head / group);
      attention.kept_heads.push_back(head);
      attention.kv_head_of.push_back(static_cast<int64_t>(kept.size()) - 1);
    }
    attention.heads = static_cast<int64_t>(attention.kept_heads.size());
    attention.kv_heads = static_cast<int64_t>(attention.kept_kv_heads.size());
  }

  // Norm and rotation of q and k: the same of both, but for the weights' names.
  void rows(AttentionOp op) {
    const Rows of_q = rows_of(op.getQ(), "q_norm", op.getLayout()),
               of_k = rows_of(new_rows(op.getK()), "k_norm", op.getLayout());
    if (of_q != of_k) refuse("q and k must have the same norm and the same rotation");
    plan_.attention.norm = of_q.norm;
    plan_.attention.rotation = of_q.rotation;
  }

  struct Rows {
    std::optional<QkNorm> norm;
    std::optional<Rotation> rotation;
    bool operator==(const Rows&) const = default;
  };
  Rows rows_of(Value operand, const char* weight, AxisOrder layout) {
    Rows found;
    for (mlir::Operation* row : row_chain(operand).ops) {
      if (auto op = llvm::dyn_cast<RmsNormOp>(row)) {
        if (found.norm || op.getLayout() != layout)
          refuse("q and k have one norm, in the attention's layout");
        if (named(op.getWeight()) != weight)
          refuse(fmt::format("the norm must read \"{}\"", weight));
        found.norm = QkNorm{op.getEps().convertToDouble(), static_cast<int>(op.getWeightOffset()),
                            op.getAll(), !found.rotation};
      } else {
        auto rotate = llvm::cast<RotateOp>(row);
        if (found.rotation) refuse("q and k are rotated once");
        found.rotation = Rotation{rotate.getInterleaved(), rotate.getInvFreq().vec(),
                                  rotate.getAttentionFactor().convertToDouble()};
      }
    }
    return found;
  }

  // An input or a weight.
  std::string named(Value value) {
    return value.getDefiningOp<InputOp>() ? input_name(value) : weight_name(value);
  }

  // Op attention: back ends find q, k and v by these names.
  void operands_are_inputs(AttentionOp op) {
    const std::array<Value, 3> values = {
        row_chain(op.getQ()).source, row_chain(new_rows(op.getK())).source, new_rows(op.getV())};
    const std::array<const char*, 3> names = {"query", "key", "value"};
    for (auto [value, name] : llvm::zip(values, names)) {
      if (input_name(value) != name)
        refuse(fmt::format("the attention must read the input \"{}\"", name));
    }
  }

  // Op block: back ends find the parts by the names of their weights.
  void operands_are_projected(AttentionOp op) {
    const std::array<Value, 3> values = {
        row_chain(op.getQ()).source, row_chain(new_rows(op.getK())).source, new_rows(op.getV())};
    const std::array<const char*, 3> names = {"w_q", "w_k", "w_v"};
    for (auto [value, name] : llvm::zip(values, names)) {
      Value weight;
      if (auto one = value.getDefiningOp<ProjectOp>()) weight = one.getWeight();
      if (auto merged = value.getDefiningOp<ProjectMergedOp>()) {
        weight = merged.getWeights()[llvm::cast<mlir::OpResult>(value).getResultNumber()];
      }
      if (!weight || weight_name(weight) != name) {
        refuse(fmt::format("the attention must read a projection by {}", name));
      }
    }
    if (op.getLayout() != AxisOrder::kBshd) refuse("the heads of a block lie in the order bshd");
  }

  // How many heads of a part are computed. The squares of all heads are in a norm of that width.
  int64_t part_heads(const std::string& weight, int64_t all) {
    const Attention& attention = plan_.attention;
    const bool normed = attention.norm && attention.norm->all_width && weight != "w_v";
    if (attention.kept_heads.empty() || normed) return all;
    return weight == "w_q" ? attention.heads : attention.kv_heads;
  }

  void add_part(Projection& projection, Value weight, Value bias, Value y, double scale) {
    const HeadAxes axes = head_axes(y);
    matrix(weight);
    const std::string name = weight_name(weight);
    projection.parts.push_back(
        {name, bias ? weight_name(bias) : "", part_heads(name, axes.heads), axes.width, scale});
  }

  void projections() {
    for (mlir::Operation& op : kernel_.getBody().front()) {
      Projection projection;
      Value x;
      if (auto one = llvm::dyn_cast<ProjectOp>(op)) {
        x = one.getX();
        add_part(projection, one.getWeight(), one.getBias(), one.getY(),
                 one.getWeightScale().convertToDouble());
      } else if (auto merged = llvm::dyn_cast<ProjectMergedOp>(op)) {
        x = merged.getX();
        for (unsigned p = 0; p < merged.getParts().size(); ++p) {
          add_part(projection, merged.getWeights()[p], merged.bias(p), merged.getParts()[p],
                   merged.getWeightScales()[p]);
        }
      } else {
        continue;
      }
      projection.input = input_name(x);
      plan_.d_model = llvm::cast<mlir::RankedTensorType>(x.getType()).getDimSize(2);
      plan_.projections.push_back(projection);
    }
  }

  void returned(Value output, AttentionOp op) {
    auto results = llvm::cast<ReturnOp>(kernel_.getBody().front().back());
    for (auto [value, name] :
         llvm::zip(results.getValues(), results.getNames().getAsRange<mlir::StringAttr>())) {
      const std::string text = name.getValue().str();
      const Value want = text == "output" ? output : other_result(op, text);
      if (!want || value != want) refuse(fmt::format("it returns something else as \"{}\"", text));
      plan_.outputs.push_back(text);
    }
  }

  KernelOp kernel_;
  Plan plan_;
  bool seen_matrix_ = false;
};

}  // namespace

Plan read_plan(KernelOp kernel) { return Reader(kernel).run(); }

}  // namespace mha::ir
