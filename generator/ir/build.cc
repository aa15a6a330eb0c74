#include "generator/ir/build.h"

#include <fmt/format.h>

#include <map>
#include <string>
#include <vector>

#include "generator/ir/rotation.h"
#include "generator/ir/rules.h"
#include "generator/spec/error.h"
#include "generator/spec/expression_text.h"

namespace mha::ir {

using llvm::StringRef;
using mlir::Location;
using mlir::RankedTensorType;
using mlir::Value;

namespace {

class Builder {
 public:
  Builder(const Spec& spec, mlir::MLIRContext& context)
      : spec_(spec),
        builder_(&context),
        batch_(range(spec.batch, "batch")),
        queries_(range(spec.query_length, "query_length")),
        keys_(range(attended(spec), spec.kv_cache ? "kv_cache.capacity" : "key_length")) {
    for (int64_t size : {spec.heads, spec.kv_heads, spec.d_head, spec.d_value}) {
      if (size < 1)
        throw InternalError(fmt::format("spec {}: a head count or width of {}", spec.name, size));
    }
    if (spec.op == Op::kBlock && spec.d_model < 1) {
      throw InternalError(fmt::format("spec {}: d_model of {}", spec.name, spec.d_model));
    }
    element_ = element_type(spec.dtype);
    weight_element_ = spec.op == Op::kBlock ? element_type(spec.weights) : element_;
  }

  mlir::OwningOpRef<mlir::ModuleOp> run() {
    mlir::OwningOpRef<mlir::ModuleOp> module = mlir::ModuleOp::create(place({"name"}));
    builder_.setInsertionPointToStart(module->getBody());
    auto kernel = builder_.create<KernelOp>(
        place({"name", "batch", "query_length", "key_length"}), spec_.name, batch_, queries_, keys_,
        !spec_.key_length_given && !spec_.kv_cache, spec_.packed);
    builder_.setInsertionPointToStart(&kernel.getBody().emplaceBlock());
    spec_.op == Op::kBlock ? block() : attention_alone();
    return module;
  }

 private:
  // The keys of a sequence that attention may read.
  static Range attended(const Spec& spec) {
    if (!spec.kv_cache) return spec.key_length;
    // A call may bring none, and sequences of a packed one are of any length.
    const bool few = spec.key_length_given || spec.cross || spec.packed;
    return {few ? 1 : spec.query_length.min, spec.kv_cache->capacity};
  }

  // Rows of K and V that a call brings.
  RangeAttr new_keys() {
    return spec_.kv_cache && !spec_.key_length_given ? queries_
                                                     : range(spec_.key_length, "key_length");
  }

  RangeAttr range(const Range& range, StringRef key) {
    if (range.min < 1 || range.max < range.min || range.max > INT32_MAX) {
      throw InternalError(
          fmt::format("spec {}: {} of {} to {}", spec_.name, key.str(), range.min, range.max));
    }
    return RangeAttr::get(builder_.getContext(), range.min, range.max);
  }

  mlir::Type element_type(Dtype dtype) {
    switch (dtype) {
      case Dtype::kF32:
        return builder_.getF32Type();
      case Dtype::kBF16:
        return builder_.getBF16Type();
      case Dtype::kF16:
        return builder_.getF16Type();
      case Dtype::kInt8:
        return builder_.getI8Type();
      case Dtype::kI32:
      case Dtype::kBool:
        break;
    }
    throw InternalError(fmt::format("spec {}: a dtype that the IR cannot hold", spec_.name));
  }

  // The places of those keys that the spec gives, under their names; where it gives none, the
  // file's start.
  Location place(std::initializer_list<StringRef> keys) {
    if (spec_.file.empty()) return builder_.getUnknownLoc();
    llvm::SmallVector<Location> places;
    for (StringRef key : keys) {
      if (spec_.locations.count(key.str()) == 0) continue;
      places.push_back(
          mlir::NameLoc::get(builder_.getStringAttr(key), file_place(spec_.where(key.str()))));
    }
    if (places.empty()) return file_place(spec_.where(""));
    return builder_.getFusedLoc(places);
  }

  Location file_place(const SourceLocation& where) {
    return mlir::FileLineColLoc::get(builder_.getContext(), spec_.file, where.line, where.column);
  }

  RankedTensorType tensor(std::initializer_list<int64_t> shape) {
    return RankedTensorType::get(shape, element_);
  }

  // [B, S, heads, width] in the order of the layout.
  RankedTensorType heads_type(RangeAttr length, int64_t heads, int64_t width) {
    if (order() == AxisOrder::kBshd) return tensor({batch_.dim(), length.dim(), heads, width});
    return tensor({batch_.dim(), heads, length.dim(), width});
  }

  // Inside a block q, k and v are our own: their order is not the spec's to choose.
  AxisOrder order() const {
    const bool bhsd = spec_.op == Op::kAttention && spec_.layout == Layout::kBhsd;
    return bhsd ? AxisOrder::kBhsd : AxisOrder::kBshd;
  }

  Value input(StringRef name, RankedTensorType type, std::initializer_list<StringRef> keys) {
    return builder_.create<InputOp>(place(keys), type, name, mlir::ArrayAttr());
  }
  Value weight(const std::string& name, int64_t rows, int64_t columns,
               std::initializer_list<StringRef> keys) {
    return builder_.create<WeightOp>(place(keys),
                                     RankedTensorType::get({rows, columns}, weight_element_), name);
  }
  Value bias(const std::string& name, bool given, int64_t rows, StringRef key) {
    if (!given) return {};
    return builder_.create<WeightOp>(place({key, "projection_bias"}),
                                     RankedTensorType::get({rows}, builder_.getF32Type()), name);
  }

  Value project(Value x, RangeAttr length, const std::string& part, int64_t heads, int64_t width,
                bool biased, std::initializer_list<StringRef> keys) {
    const std::string bias_key = "projection_bias." + part;
    Value w = weight("w_" + part, heads * width, spec_.d_model, keys);
    Value b = bias("b_" + part, biased, heads * width, bias_key);
    return builder_.create<ProjectOp>(place(keys),
                                      tensor({batch_.dim(), length.dim(), heads, width}), x, w, b,
                                      builder_.getF64FloatAttr(1));
  }

  // Learned numbers, f32 whatever the dtype.
  Value sink_logits() {
    auto type = RankedTensorType::get({spec_.heads}, builder_.getF32Type());
    if (spec_.op == Op::kAttention) return input("sink", type, {"sink"});
    return builder_.create<WeightOp>(place({"sink"}), type, "sink");
  }

  // Norm and rotation of q and k, in the spec's order. The weights of the norm are inputs where
  // nothing else is learned.
  void transform_rows(Value& q, Value& k) {
    const std::optional<QkNorm>& norm = spec_.qk_norm;
    Value q_weight, k_weight;
    if (norm) {
      q_weight = norm_weight("q_norm", spec_.heads);
      k_weight = norm_weight("k_norm", spec_.kv_heads);
    }
    const auto normed = [&] {
      q = rms_norm(q, q_weight);
      k = rms_norm(k, k_weight);
    };
    if (norm && norm->before_rope) normed();
    if (spec_.rope) {
      const Rotation rotation = rotation_of(*spec_.rope);
      q = rotate(q, rotation);
      k = rotate(k, rotation);
    }
    if (norm && !norm->before_rope) normed();
  }

  Value norm_weight(StringRef name, int64_t heads) {
    const int64_t width = spec_.qk_norm->all_width ? heads * spec_.d_head : spec_.d_head;
    auto type = RankedTensorType::get({width}, builder_.getF32Type());
    if (spec_.op == Op::kAttention) return input(name, type, {"qk_norm"});
    return builder_.create<WeightOp>(place({"qk_norm"}), type, name);
  }

  Value rms_norm(Value x, Value weight) {
    const QkNorm& norm = *spec_.qk_norm;
    return builder_.create<RmsNormOp>(place({"qk_norm", "qk_norm.eps", "qk_norm.weight_offset"}),
                                      x.getType(), x, weight, builder_.getF64FloatAttr(norm.eps),
                                      builder_.getI64IntegerAttr(norm.weight_offset),
                                      norm.all_width ? builder_.getUnitAttr() : nullptr,
                                      AxisOrderAttr::get(builder_.getContext(), order()));
  }

  Value rotate(Value x, const Rotation& rotation) {
    return builder_.create<RotateOp>(
        place({"rope", "rope.dims", "rope.scaling", "rope.scaling.attention_factor"}), x.getType(),
        x, builder_.getDenseF64ArrayAttr(rotation.inv_freq),
        builder_.getF64FloatAttr(rotation.attention_factor),
        rotation.interleaved ? builder_.getUnitAttr() : nullptr);
  }

  // The new rows behind those of the cache, where there is one.
  Value appended(Value rows, int64_t width) {
    if (!spec_.kv_cache) return rows;
    const KvCache& cache = *spec_.kv_cache;
    return builder_.create<AppendOp>(
        place({"kv_cache", "kv_cache.capacity", "kv_cache.page", "batch", "query_length",
               "key_length"}),
        heads_type(keys_, spec_.kv_heads, width), rows, builder_.getI64IntegerAttr(cache.capacity),
        cache.paged ? builder_.getI64IntegerAttr(cache.page) : mlir::IntegerAttr(),
        spec_.key_length_given ? new_keys() : RangeAttr(),
        spec_.cross && !spec_.key_length_given ? builder_.getUnitAttr() : nullptr,
        AxisOrderAttr::get(builder_.getContext(), order()));
  }

  AttentionOp attention(Value q, Value k, Value v) {
    transform_rows(q, k);
    k = appended(k, spec_.d_head);
    v = appended(v, spec_.d_value);
    const Mask& masks = spec_.mask;
    mlir::Type f32 = builder_.getF32Type(), i32 = builder_.getI32Type();
    const int64_t b = batch_.dim(), lq = queries_.dim(), lk = keys_.dim(), h = spec_.heads;
    auto indices = RankedTensorType::get({b}, i32);
    Value key_lengths, key_starts, query_offset, sequence_starts, mask;
    if (masks.key_lengths) key_lengths = input("key_lengths", indices, {"mask.key_lengths"});
    if (masks.key_starts) key_starts = input("key_starts", indices, {"mask.key_starts"});
    if (spec_.query_offset == QueryOffset::kInput) {
      query_offset = input("query_offset", indices, {"query_offset"});
    }
    if (spec_.packed) {
      const int64_t starts = batch_.fixed() ? b + 1 : b;
      sequence_starts = input("sequence_starts", RankedTensorType::get({starts}, i32), {"packed"});
    }
    if (masks.tensor != MaskTensor::kNone) {
      mlir::Type element = masks.tensor == MaskTensor::kBool ? builder_.getI1Type() : f32;
      mask = input("mask", RankedTensorType::get({b, h, lq, lk}, element), {"mask.tensor"});
    }
    llvm::SmallVector<Value> tables;
    for (const Table& table : spec_.tables) tables.push_back(table_input(table));
    Value sink;
    if (spec_.sink) sink = sink_logits();
    const mlir::FloatAttr softcap =
        spec_.softcap ? builder_.getF64FloatAttr(*spec_.softcap) : mlir::FloatAttr();
    const mlir::DenseF64ArrayAttr alibi =
        spec_.alibi ? builder_.getDenseF64ArrayAttr(spec_.alibi_slopes) : mlir::DenseF64ArrayAttr();
    auto side = [&](int64_t Window::* member) {
      const int64_t reach = masks.window ? (*masks.window).*member : -1;
      return reach < 0 ? mlir::IntegerAttr() : builder_.getI64IntegerAttr(reach);
    };
    auto result = [&](bool wanted, std::initializer_list<int64_t> shape, mlir::Type element) {
      return wanted ? mlir::Type(RankedTensorType::get(shape, element)) : mlir::Type();
    };
    const bool top = spec_.top_k > 0;
    const Offset offset = spec_.kv_cache                              ? Offset::kEnd
                          : spec_.query_offset == QueryOffset::kStart ? Offset::kStart
                          : spec_.query_offset == QueryOffset::kEnd   ? Offset::kEnd
                                                                      : Offset::kInput;
    auto op = builder_.create<AttentionOp>(
        place({"heads",        "kv_heads",         "d_model",         "d_head",      "d_value",
               "batch",        "query_length",     "key_length",      "scale",       "mask.causal",
               "mask.window",  "mask.key_lengths", "mask.key_starts", "mask.tensor", "query_offset",
               "packed",       "outputs",          "top_k",           "layout",      "dtype",
               "pruned_heads", "softcap",          "alibi",           "sink"}),
        heads_type(queries_, spec_.heads, spec_.d_value),
        result(spec_.wants("lse"), {b, h, lq}, f32),
        result(spec_.wants("weights"), {b, h, lq, lk}, f32),
        result(spec_.wants("mean_weights"), {b, lq, lk}, f32),
        result(spec_.wants("scores"), {b, h, lq, lk}, f32),
        result(spec_.wants("scores_capped"), {b, h, lq, lk}, f32),
        result(spec_.wants("scores_masked"), {b, h, lq, lk}, f32),
        result(top, {b, h, lq, spec_.top_k}, f32), result(top, {b, h, lq, spec_.top_k}, i32), q, k,
        v, key_lengths, key_starts, query_offset, sequence_starts, mask, sink, tables,
        builder_.getF64FloatAttr(spec_.scale), softcap, alibi,
        masks.causal ? builder_.getUnitAttr() : nullptr, side(&Window::left), side(&Window::right),
        spec_.pruned_heads.empty() ? nullptr : builder_.getDenseI64ArrayAttr(spec_.pruned_heads),
        OffsetAttr::get(builder_.getContext(), offset),
        AxisOrderAttr::get(builder_.getContext(), order()));
    rule(op.getScoreRule(), spec_.score_rule, "score_rule");
    rule(op.getMaskRule(), spec_.mask.rule, "mask.rule");
    return op;
  }

  // An input that rules read.
  Value table_input(const Table& table) {
    llvm::SmallVector<int64_t> shape;
    llvm::SmallVector<StringRef> axes;
    for (const std::string& axis : table.shape) {
      axes.push_back(axis);
      shape.push_back(axis == "B"    ? batch_.dim()
                      : axis == "H"  ? spec_.heads
                      : axis == "G"  ? spec_.kv_heads
                      : axis == "Lq" ? queries_.dim()
                      : axis == "Lk" ? keys_.dim()
                      : axis == "D"  ? spec_.d_head
                                     : std::stoll(axis));
    }
    const mlir::Type element =
        table.dtype == Dtype::kF32 ? mlir::Type(builder_.getF32Type()) : builder_.getI32Type();
    return builder_.create<InputOp>(place({"table." + table.name}),
                                    RankedTensorType::get(shape, element), table.name,
                                    builder_.getStrArrayAttr(axes));
  }

  void rule(mlir::Region& region, const std::string& text, const std::string& key) {
    if (text.empty()) return;
    ExpressionContext context;
    context.is_score = key == "score_rule";
    context.tables = &spec_.tables;
    ExpressionError error;
    const auto expression = parse_expression(text, context, &error);
    if (!expression) throw InternalError(fmt::format("spec {}: {}", spec_.name, error.message));
    std::map<std::string, Value> tables;
    for (Value table : llvm::cast<AttentionOp>(region.getParentOp()).getTables())
      tables[table.getDefiningOp<InputOp>().getName().str()] = table;
    build_rule(builder_, region, *expression, tables, [&](size_t offset) -> Location {
      if (spec_.file.empty()) return builder_.getUnknownLoc();
      return file_place(spec_.where(rule_place(key, offset)));
    });
  }

  // x -> Q, K, V -> attention -> concat -> W_O.
  void block() {
    auto input_type = [&](RangeAttr length) {
      return tensor({batch_.dim(), length.dim(), spec_.d_model});
    };
    Value x = input("x", input_type(queries_), {"d_model", "query_length", "batch"});
    const RangeAttr new_keys = this->new_keys();
    Value memory = spec_.cross ? input("memory", input_type(new_keys), {"cross"}) : x;
    const Bias& biased = spec_.projection_bias;
    Value q = project(x, queries_, "q", spec_.heads, spec_.d_head, biased.q,
                      {"heads", "d_head", "d_model"});
    Value k = project(memory, new_keys, "k", spec_.kv_heads, spec_.d_head, biased.k,
                      {"kv_heads", "heads", "d_head", "d_model"});
    Value v = project(memory, new_keys, "v", spec_.kv_heads, spec_.d_value, biased.v,
                      {"d_value", "kv_heads", "heads", "d_head", "d_model"});
    AttentionOp op = attention(q, k, v);
    Value w =
        weight("w_o", spec_.d_model, spec_.heads * spec_.d_value, {"d_model", "heads", "d_value"});
    Value b = bias("b_o", biased.out, spec_.d_model, "projection_bias.out");
    Value y = builder_.create<ProjectOutOp>(
        place({"d_model", "heads", "d_value", "batch", "query_length", "projection_bias"}),
        input_type(queries_), op.getOutput(), w, b);
    finish(y, op);
  }

  void attention_alone() {
    Value q = input("query", heads_type(queries_, spec_.heads, spec_.d_head), {"heads", "d_head"});
    const RangeAttr new_keys = this->new_keys();
    Value k =
        input("key", heads_type(new_keys, spec_.kv_heads, spec_.d_head), {"kv_heads", "heads"});
    Value v = input("value", heads_type(new_keys, spec_.kv_heads, spec_.d_value),
                    {"d_value", "kv_heads"});
    AttentionOp op = attention(q, k, v);
    finish(op.getOutput(), op);
  }

  void finish(Value output, AttentionOp op) {
    llvm::SmallVector<Value> values;
    llvm::SmallVector<StringRef> names;
    std::vector<std::string> wanted = spec_.outputs;
    if (spec_.top_k > 0) wanted.insert(wanted.end(), {"top_weights", "top_indices"});
    for (const std::string& name : wanted) {
      Value value = name == "output" ? output : other_result(op, name);
      if (!value)
        throw InternalError(fmt::format("spec {}: nothing makes the output {}", spec_.name, name));
      values.push_back(value);
      names.push_back(name);
    }
    builder_.create<ReturnOp>(place({"outputs"}), values, builder_.getStrArrayAttr(names));
  }

  const Spec& spec_;
  mlir::OpBuilder builder_;
  RangeAttr batch_, queries_, keys_;
  mlir::Type element_, weight_element_;
};

}  // namespace

mlir::OwningOpRef<mlir::ModuleOp> build_module(const Spec& spec, mlir::MLIRContext& context) {
  return Builder(spec, context).run();
}

}  // namespace mha::ir
