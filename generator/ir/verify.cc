// What must hold of each operation. Errors name axes by their letters and point at the key of the
// spec that decides, where the operation came from one.
#include <llvm/ADT/StringSet.h>
#include <llvm/ADT/Twine.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "generator/ir/dialect.h"
#include "generator/ir/rules.h"

namespace mha::ir {

using llvm::StringRef;
using mlir::failure;
using mlir::LogicalResult;
using mlir::RankedTensorType;
using mlir::ShapedType;
using mlir::success;
using mlir::Value;

namespace {

// Indices into a tensor are 32-bit integers in every kernel.
constexpr int64_t kMostElements = std::numeric_limits<int32_t>::max();

RankedTensorType type_of(Value value) { return llvm::cast<RankedTensorType>(value.getType()); }

std::string dim_text(int64_t dim) { return ShapedType::isDynamic(dim) ? "?" : std::to_string(dim); }

std::string range_text(RangeAttr range) {
  if (range.fixed()) return std::to_string(range.getMin());
  return std::to_string(range.getMin()) + ".." + std::to_string(range.getMax());
}

bool too_large(std::initializer_list<int64_t> extents) {
  int64_t elements = 1;
  for (int64_t extent : extents) {
    if (extent > kMostElements || __builtin_mul_overflow(elements, extent, &elements)) return true;
  }
  return elements > kMostElements;
}

// y[.., h, d] = x W^T + b: W [H*D, M], b [H*D]. `part` is the name of y in messages.
LogicalResult verify_part(mlir::Operation* op, Value x, Value weight, Value bias, Value y) {
  const RankedTensorType x_type = type_of(x), w = type_of(weight);
  const HeadAxes axes = head_axes(y);
  if (ShapedType::isDynamic(axes.heads) || ShapedType::isDynamic(axes.width)) {
    return error_at(op, {}) << "the heads and the width of a projection must be fixed numbers";
  }
  if (x_type.getElementType() != type_of(y).getElementType()) {
    return error_at(op, {"dtype"}) << "the projection reads " << x_type.getElementType()
                                   << " but makes " << type_of(y).getElementType();
  }
  if (x_type.getDimSize(0) != axes.batch || x_type.getDimSize(1) != axes.length) {
    return error_at(op, {"batch"})
           << "the projection reads B = " << dim_text(x_type.getDimSize(0))
           << ", S = " << dim_text(x_type.getDimSize(1))
           << " but makes B = " << dim_text(axes.batch) << ", S = " << dim_text(axes.length);
  }
  if (w.getDimSize(1) != x_type.getDimSize(2)) {
    return error_at(op, {"d_model"})
           << "the weight has " << w.getDimSize(1)
           << " columns but the input has M = " << dim_text(x_type.getDimSize(2));
  }
  if (w.getDimSize(0) != axes.heads * axes.width) {
    return error_at(op, {"kv_heads", "heads"})
           << "the weight has " << w.getDimSize(0) << " rows but the projection makes "
           << axes.heads << " heads of " << axes.width << ", which needs "
           << axes.heads * axes.width;
  }
  if (bias && type_of(bias).getDimSize(0) != w.getDimSize(0)) {
    return error_at(op, {"projection_bias"})
           << "the bias has " << type_of(bias).getDimSize(0) << " elements but the weight has "
           << w.getDimSize(0) << " rows";
  }
  return success();
}

}  // namespace

LogicalResult RangeAttr::verify(llvm::function_ref<mlir::InFlightDiagnostic()> error, int64_t min,
                                int64_t max) {
  if (min >= 1 && min <= max && max <= kMostElements) return success();
  return error() << "a range needs 1 <= min <= max < 2^31, not " << min << " and " << max;
}

// --- the kernel and what it exchanges with its caller ---

LogicalResult KernelOp::verifyRegions() {
  if (getSelf() && getQueries() != getKeys()) {
    return error_at(*this, {"key_length"})
           << "keys are " << range_text(getKeys()) << " but `self` says that"
           << " they are the queries: " << range_text(getQueries());
  }
  mlir::Block& block = getBody().front();
  if (!llvm::isa<ReturnOp>(block.back())) {
    return error_at(*this, {}) << "a kernel must end with mha.return";
  }
  llvm::StringSet<> names;
  for (mlir::Operation& op : block) {
    StringRef name;
    if (auto input = llvm::dyn_cast<InputOp>(op)) name = input.getName();
    if (auto weight = llvm::dyn_cast<WeightOp>(op)) name = weight.getName();
    if (!name.empty() && !names.insert(name).second) {
      return error_at(&op, {}) << "the name \"" << name
                               << "\" is taken by an earlier input or weight";
    }
  }
  return success();
}

LogicalResult WeightOp::verify() {
  const RankedTensorType type = type_of(getValue());
  if (!type.hasStaticShape()) return error_at(*this, {}) << "the shape of a weight must be fixed";
  const int64_t rows = type.getDimSize(0), columns = type.getRank() == 2 ? type.getDimSize(1) : 1;
  if (rows < 1 || columns < 1 || too_large({rows, columns})) {
    return error_at(*this, {}) << "weight \"" << getName() << "\" is " << rows << " x " << columns
                               << "; a tensor has at least 1 and fewer than 2^31 elements";
  }
  return success();
}

LogicalResult ReturnOp::verify() {
  if (getNames().size() != getValues().size()) {
    return error_at(*this, {"outputs"})
           << getValues().size() << " tensors are returned under " << getNames().size() << " names";
  }
  llvm::StringSet<> names;
  for (auto name : getNames().getAsRange<mlir::StringAttr>()) {
    if (!names.insert(name.getValue()).second) {
      return error_at(*this, {"outputs"})
             << "two tensors are returned as \"" << name.getValue() << "\"";
    }
  }
  return success();
}

// --- projections ---

LogicalResult ProjectOp::verify() {
  return verify_part(*this, getX(), getWeight(), getBias(), getY());
}

LogicalResult ProjectMergedOp::verify() {
  const size_t count = getParts().size();
  if (count < 1 || getWeights().size() != count || getBiased().size() != count ||
      getWeightScales().size() != count) {
    return error_at(*this, {})
           << "a merged projection needs one weight, one entry of `biased` and one of "
           << "`weight_scales` for each of its " << count << " results, and at least one";
  }
  if (llvm::count(getBiased(), true) != static_cast<int64_t>(getBiases().size())) {
    return error_at(*this, {"projection_bias"})
           << "`biased` does not count the " << getBiases().size() << " biases";
  }
  const int64_t width = head_axes(getParts()[0]).width;
  for (unsigned p = 0; p < count; ++p) {
    if (failed(verify_part(*this, getX(), getWeights()[p], bias(p), getParts()[p])))
      return failure();
    if (head_axes(getParts()[p]).width != width) {
      return error_at(*this, {"d_value", "d_head"})
             << "parts of a merged projection have one width, not " << width << " and "
             << head_axes(getParts()[p]).width;
    }
  }
  return success();
}

LogicalResult ProjectOutOp::verify() {
  const HeadAxes heads = head_axes(getHeads());
  const RankedTensorType w = type_of(getWeight()), y = type_of(getY());
  if (heads.batch != y.getDimSize(0) || heads.length != y.getDimSize(1)) {
    return error_at(*this, {"batch"})
           << "the projection reads B = " << dim_text(heads.batch)
           << ", S = " << dim_text(heads.length) << " but makes B = " << dim_text(y.getDimSize(0))
           << ", S = " << dim_text(y.getDimSize(1));
  }
  if (ShapedType::isDynamic(heads.heads) || ShapedType::isDynamic(heads.width) ||
      w.getDimSize(1) != heads.heads * heads.width) {
    return error_at(*this, {"d_value", "d_head", "heads"})
           << "the weight has " << w.getDimSize(1) << " columns but " << dim_text(heads.heads)
           << " heads of " << dim_text(heads.width) << " are laid end to end";
  }
  if (w.getDimSize(0) != y.getDimSize(2)) {
    return error_at(*this, {"d_model"})
           << "the weight has " << w.getDimSize(0)
           << " rows but the output has M = " << dim_text(y.getDimSize(2));
  }
  if (getBias() && type_of(getBias()).getDimSize(0) != w.getDimSize(0)) {
    return error_at(*this, {"projection_bias"})
           << "the bias has " << type_of(getBias()).getDimSize(0) << " elements but the weight has "
           << w.getDimSize(0) << " rows";
  }
  auto kernel = (*this)->getParentOfType<KernelOp>();
  if (too_large({kernel.getBatch().getMax(), kernel.getQueries().getMax(), w.getDimSize(0)})) {
    return error_at(*this, {"query_length", "batch"})
           << "the output has 2^31 elements or more at B = " << kernel.getBatch().getMax()
           << ", Lq = " << kernel.getQueries().getMax() << ", M = " << w.getDimSize(0);
  }
  return success();
}

// --- rows of q and k ---

LogicalResult RmsNormOp::verify() {
  const HeadAxes axes = head_axes(getX(), getLayout());
  const int64_t width = getAll() ? axes.heads * axes.width : axes.width;
  if (axes.heads < 1 || axes.width < 1 || type_of(getWeight()).getDimSize(0) != width) {
    return error_at(*this, {"qk_norm"})
           << "the weight of the norm has " << type_of(getWeight()).getDimSize(0)
           << " elements but it is of " << dim_text(axes.heads) << " heads of "
           << dim_text(axes.width) << (getAll() ? ", all of them" : ", each by itself");
  }
  if (!(getEps().convertToDouble() > 0)) {
    return error_at(*this, {"qk_norm.eps", "qk_norm"}) << "eps of a norm must be above 0";
  }
  if (getWeightOffset() != 0 && getWeightOffset() != 1) {
    return error_at(*this, {"qk_norm.weight_offset", "qk_norm"})
           << "weight_offset must be 0 or 1, not " << static_cast<int64_t>(getWeightOffset());
  }
  return success();
}

LogicalResult RotateOp::verify() {
  const int64_t dims = 2 * static_cast<int64_t>(getInvFreq().size()),
                width = type_of(getX()).getDimSize(3);
  if (dims < 2 || dims > width) {
    return error_at(*this, {"rope.dims", "rope"})
           << getInvFreq().size() << " frequencies turn " << dims << " elements of a row of "
           << dim_text(width);
  }
  for (double frequency : getInvFreq()) {
    if (std::isfinite(frequency) && frequency >= 0) continue;
    return error_at(*this, {"rope.scaling", "rope"})
           << "an inverse frequency is " << frequency << "; it must be finite and at least 0";
  }
  const double factor = getAttentionFactor().convertToDouble();
  if (std::isfinite(factor) && factor > 0) return success();
  return error_at(*this, {"rope.scaling.attention_factor", "rope"})
         << "attention_factor is " << factor << "; it must be finite and above 0";
}

// --- caches ---

LogicalResult AppendOp::verify() {
  const HeadAxes rows = head_axes(getRows(), getLayout()), all = head_axes(getAll(), getLayout());
  auto kernel = (*this)->getParentOfType<KernelOp>();
  if (rows.batch != all.batch || rows.heads != all.heads || rows.width != all.width ||
      type_of(getRows()).getElementType() != type_of(getAll()).getElementType()) {
    return error_at(*this, {"kv_cache"}) << "rows of " << getRows().getType()
                                         << " do not go behind those of " << getAll().getType();
  }
  if (getBrings() && (getOrNone() || kernel.getPacked())) {
    return error_at(*this, {"key_length", "kv_cache"})
           << (getOrNone() ? "where a call brings rows of its own number, it may bring none anyway"
                           : "a packed call brings one row for each query, or none");
  }
  const RangeAttr brought = getBrings() ? *getBrings() : kernel.getQueries();
  if (rows.length != brought.dim()) {
    auto error = error_at(*this, {"key_length", "kv_cache"});
    if (getBrings()) {
      return error << "a call appends Ln = " << range_text(brought) << " rows, not "
                   << dim_text(rows.length);
    }
    return error << "a call appends one row for each of its Lq = " << range_text(brought)
                 << " queries, not " << dim_text(rows.length);
  }
  if (brought.getMax() > static_cast<int64_t>(getCapacity())) {
    return error_at(*this, {"kv_cache.capacity", "kv_cache"})
           << "a cache of " << static_cast<int64_t>(getCapacity()) << " keys has no room for "
           << brought.getMax() << " new ones";
  }
  const int64_t capacity = static_cast<int64_t>(getCapacity());
  if (kernel.getSelf() || capacity != kernel.getKeys().getMax() ||
      all.length != kernel.getKeys().dim()) {
    return error_at(*this, {"kv_cache.capacity", "kv_cache"})
           << "a cache of " << capacity << " keys needs a kernel whose keys are at most as many, "
           << "not " << (kernel.getSelf() ? "its queries" : range_text(kernel.getKeys()));
  }
  if (getPage() && (static_cast<int64_t>(*getPage()) < 16 || *getPage() % 16 != 0)) {
    return error_at(*this, {"kv_cache.page", "kv_cache"})
           << "a page of " << static_cast<int64_t>(*getPage())
           << " keys: it must be a multiple of 16";
  }
  return success();
}

// --- attention ---

namespace {

// Checks one attention, a group of rules at a time.
class AttentionVerifier {
 public:
  explicit AttentionVerifier(AttentionOp op)
      : op_(op),
        kernel_(op->getParentOfType<KernelOp>()),
        q_(head_axes(op.getQ(), op.getLayout())),
        k_(head_axes(op.getK(), op.getLayout())),
        v_(head_axes(op.getV(), op.getLayout())),
        output_(head_axes(op.getOutput(), op.getLayout())) {}

  LogicalResult run() {
    if (failed(heads()) || failed(lengths()) || failed(offset()) || failed(masks()) ||
        failed(scores()) || failed(packed()) || failed(cache()) || failed(pruned()) ||
        failed(results()))
      return failure();
    return sizes();
  }

 private:
  LogicalResult heads() {
    for (const HeadAxes& axes : {q_, k_, v_, output_}) {
      if (axes.heads < 1 || axes.width < 1) {  // kDynamic is negative
        return error_at(op_, {"heads"})
               << "the heads and the width of q, k, v and output must be fixed and >= 1";
      }
    }
    if (k_.heads != v_.heads) {
      return error_at(op_, {"kv_heads", "heads"})
             << "k has G = " << k_.heads << " heads but v has " << v_.heads;
    }
    if (q_.heads % k_.heads != 0) {
      return error_at(op_, {"kv_heads", "heads"})
             << "the G = " << k_.heads << " key/value heads do not divide "
             << "the H = " << q_.heads << " query heads";
    }
    if (q_.width != k_.width) {
      return error_at(op_, {"d_head"})
             << "q has heads of D = " << q_.width << " but k of " << k_.width;
    }
    if (output_.heads != q_.heads || output_.width != v_.width) {
      return error_at(op_, {"d_value", "heads"})
             << "the output has " << output_.heads << " heads of " << output_.width
             << "; it needs H = " << q_.heads << " of Dv = " << v_.width;
    }
    mlir::Type element = type_of(op_.getQ()).getElementType();
    const std::array<Value, 3> others = {op_.getK(), op_.getV(), op_.getOutput()};
    for (Value other : others) {
      if (type_of(other).getElementType() != element) {
        return error_at(op_, {"dtype"}) << "q, k, v and output must have one element type, not "
                                        << element << " and " << type_of(other).getElementType();
      }
    }
    return success();
  }

  LogicalResult axis(StringRef tensor, StringRef letters, StringRef key, int64_t dim,
                     RangeAttr range) {
    if (dim == range.dim()) return success();
    return error_at(op_, {key}) << tensor << " has " << letters << " = " << dim_text(dim)
                                << " but the kernel is for " << letters << " = "
                                << range_text(range);
  }

  LogicalResult lengths() {
    const RangeAttr b = kernel_.getBatch(), lq = kernel_.getQueries(), lk = kernel_.getKeys();
    if (failed(axis("q", "B", "batch", q_.batch, b)) ||
        failed(axis("k", "B", "batch", k_.batch, b)) ||
        failed(axis("v", "B", "batch", v_.batch, b)) ||
        failed(axis("output", "B", "batch", output_.batch, b)) ||
        failed(axis("q", "Lq", "query_length", q_.length, lq)) ||
        failed(axis("k", "Lk", "key_length", k_.length, lk)) ||
        failed(axis("v", "Lk", "key_length", v_.length, lk)) ||
        failed(axis("output", "Lq", "query_length", output_.length, lq))) {
      return failure();
    }
    if (op_.getKeyLengths() && failed(axis("key_lengths", "B", "mask.key_lengths",
                                           type_of(op_.getKeyLengths()).getDimSize(0), b))) {
      return failure();
    }
    if (op_.getKeyStarts() && failed(axis("key_starts", "B", "mask.key_starts",
                                          type_of(op_.getKeyStarts()).getDimSize(0), b))) {
      return failure();
    }
    if (op_.getQueryOffset()) {
      return axis("query_offset", "B", "query_offset", type_of(op_.getQueryOffset()).getDimSize(0),
                  b);
    }
    return success();
  }

  LogicalResult offset() {
    const bool wants_tensor = op_.getOffset() == Offset::kInput;
    if (wants_tensor == static_cast<bool>(op_.getQueryOffset())) return success();
    return error_at(op_, {"query_offset"})
           << (wants_tensor ? "the offset is an input but no tensor gives it"
                            : "a query_offset tensor needs the offset `input`");
  }

  LogicalResult masks() {
    const std::pair<std::optional<uint64_t>, const char*> sides[] = {{op_.getLeft(), "left"},
                                                                     {op_.getRight(), "right"}};
    for (const auto& [reach, name] : sides) {
      if (reach && std::abs(static_cast<int64_t>(*reach)) > kMostElements) {
        return error_at(op_, {"mask.window"})
               << "the window's " << name << " is " << static_cast<int64_t>(*reach)
               << ": its size must be below 2^31";
      }
    }
    return shape(op_.getMask(), "mask", {q_.batch, q_.heads, q_.length, k_.length}, "mask.tensor");
  }

  LogicalResult scores() {
    if (op_.getSoftcap() && !(op_.getSoftcap()->convertToDouble() > 0)) {
      return error_at(op_, {"softcap"})
             << "softcap is " << op_.getSoftcap()->convertToDouble() << "; it must be above 0";
    }
    if (op_.getAlibi() && static_cast<int64_t>(op_.getAlibi()->size()) != q_.heads) {
      return error_at(op_, {"alibi"})
             << op_.getAlibi()->size() << " slopes for H = " << q_.heads << " heads";
    }
    return shape(op_.getSink(), "sink", {q_.heads}, "sink");
  }

  LogicalResult packed() {
    if (kernel_.getPacked() != static_cast<bool>(op_.getSequenceStarts())) {
      return error_at(op_, {"packed"})
             << (kernel_.getPacked() ? "the kernel is packed but no tensor gives sequence_starts"
                                     : "only a packed kernel has sequence_starts");
    }
    if (!kernel_.getPacked()) return success();
    const bool lengths = kernel_.getSelf() || op_.appended();
    if (!lengths || op_.getLayout() != AxisOrder::kBshd) {
      return error_at(op_, {"packed"}) << "packed sequences need Lk = Lq and the layout bshd";
    }
    const RangeAttr b = kernel_.getBatch();
    return axis("sequence_starts", "B + 1", "packed",
                type_of(op_.getSequenceStarts()).getDimSize(0),
                RangeAttr::get(op_.getContext(), b.getMin() + 1, b.getMax() + 1));
  }

  LogicalResult pruned() {
    const llvm::ArrayRef<int64_t> pruned =
        op_.getPrunedAttr() ? op_.getPrunedAttr().asArrayRef() : llvm::ArrayRef<int64_t>();
    int64_t before = -1;
    for (int64_t head : pruned) {
      if (head <= before || head >= q_.heads) {
        return error_at(op_, {"pruned_heads"})
               << "pruned heads ascend from 0 to below H = " << q_.heads << "; " << head
               << " comes after " << before;
      }
      before = head;
    }
    if (static_cast<int64_t>(pruned.size()) < q_.heads) return success();
    return error_at(op_, {"pruned_heads"}) << "no head is left";
  }

  LogicalResult cache() {
    AppendOp k = op_.appended();
    auto v = op_.getV().getDefiningOp<AppendOp>();
    if (!k && !v) return success();
    if (!k || !v || k.getCapacity() != v.getCapacity() || k.getPage() != v.getPage() ||
        k.getBrings() != v.getBrings() || k.getOrNone() != v.getOrNone() ||
        k.getLayout() != op_.getLayout() || v.getLayout() != op_.getLayout()) {
      return error_at(op_, {"kv_cache"}) << "k and v come from one cache, or neither from any";
    }
    if (op_.getOffset() == Offset::kEnd) return success();
    return error_at(op_, {"query_offset"}) << "with a cache the queries stand behind what it holds";
  }

  LogicalResult shape(Value value, StringRef name, llvm::ArrayRef<int64_t> want,
                      StringRef key = "outputs") {
    if (!value || type_of(value).getShape() == want) return success();
    std::string text;
    for (int64_t dim : want) text += (text.empty() ? "" : ", ") + dim_text(dim);
    return error_at(op_, {key}) << name << " must be [" << text << "], not " << value.getType();
  }

  LogicalResult results() {
    for (StringRef name : {"weights", "scores", "scores_capped", "scores_masked"}) {
      if (failed(shape(other_result(op_, name), name, {q_.batch, q_.heads, q_.length, k_.length})))
        return failure();
    }
    if (failed(shape(op_.getLse(), "lse", {q_.batch, q_.heads, q_.length})) ||
        failed(shape(op_.getMeanWeights(), "mean_weights", {q_.batch, q_.length, k_.length})))
      return failure();
    if (!op_.getTopWeights() && !op_.getTopIndices()) return success();
    if (!op_.getTopWeights() || !op_.getTopIndices())
      return error_at(op_, {"top_k"}) << "top_weights and top_indices come together";
    const int64_t top = type_of(op_.getTopWeights()).getDimSize(3);
    if (top < 1 || top > kernel_.getKeys().getMax()) {
      return error_at(op_, {"top_k"}) << "top_k is " << dim_text(top) << " of at most "
                                      << kernel_.getKeys().getMax() << " keys";
    }
    if (failed(shape(op_.getTopWeights(), "top_weights", {q_.batch, q_.heads, q_.length, top},
                     "top_k")))
      return failure();
    return shape(op_.getTopIndices(), "top_indices", {q_.batch, q_.heads, q_.length, top}, "top_k");
  }

  LogicalResult size(StringRef name, StringRef key, StringRef letters,
                     std::initializer_list<int64_t> extents) {
    if (!too_large(extents)) return success();
    auto error = error_at(op_, {key, "batch", "heads"});
    error << name << " " << letters << " has 2^31 elements or more: ";
    llvm::interleave(extents, [&](int64_t extent) { error << extent; }, [&] { error << " * "; });
    return error;
  }

  LogicalResult sizes() {
    const int64_t b = kernel_.getBatch().getMax(), lq = kernel_.getQueries().getMax(),
                  lk = kernel_.getKeys().getMax();
    if (failed(size("q", "query_length", "[B, Lq, H, D]", {b, lq, q_.heads, q_.width})) ||
        failed(size("k", "key_length", "[B, Lk, G, D]", {b, lk, k_.heads, k_.width})) ||
        failed(size("v", "key_length", "[B, Lk, G, Dv]", {b, lk, v_.heads, v_.width})) ||
        failed(size("output", "query_length", "[B, Lq, H, Dv]", {b, lq, q_.heads, v_.width}))) {
      return failure();
    }
    for (StringRef name : {"weights", "scores", "scores_capped", "scores_masked"}) {
      if (other_result(op_, name) &&
          failed(size(name, "outputs", "[B, H, Lq, Lk]", {b, q_.heads, lq, lk})))
        return failure();
    }
    if (op_.getMeanWeights() && failed(size("mean_weights", "outputs", "[B, Lq, Lk]", {b, lq, lk})))
      return failure();
    if (!op_.getTopWeights()) return success();
    return size("top_weights", "top_k", "[B, H, Lq, top_k]",
                {b, q_.heads, lq, type_of(op_.getTopWeights()).getDimSize(3)});
  }

  AttentionOp op_;
  KernelOp kernel_;
  HeadAxes q_, k_, v_, output_;
};

}  // namespace

LogicalResult AttentionOp::verify() { return AttentionVerifier(*this).run(); }

// After what stands in the regions.
LogicalResult AttentionOp::verifyRegions() {
  for (mlir::Region* region : {&getScoreRule(), &getMaskRule()}) {
    if (region->empty()) continue;
    const bool score = region == &getScoreRule();
    auto yield = llvm::dyn_cast<YieldOp>(region->front().back());
    if (!region->hasOneBlock() || !yield || region->front().getNumArguments() != 0) {
      return error_at(*this, {}) << "a rule is one block without arguments that ends in mha.yield";
    }
    if (yield.getValue().getType().isInteger(1) == score) {
      return error_at(yield, {}) << (score ? "a score_rule yields a number"
                                           : "a mask_rule yields a condition");
    }
    const RegionRule rule = read_rule(*region);
    const std::vector<WholeRange> ranges = whole_ranges(rule.expression, variable_ranges(*this));
    for (size_t i = 0; i < ranges.size(); ++i) {
      const bool whole = rule.expression.nodes[i].type == Expression::Type::kInt;
      if (whole && (ranges[i].low <= -WholeRange::kMost || ranges[i].high >= WholeRange::kMost)) {
        return error_at(rule.operations[i], {})
               << "this whole number may be too large for 62 bits; multiply by 1.0 for a real one";
      }
    }
    for (mlir::Operation& op : region->front()) {
      auto lookup = llvm::dyn_cast<LookupOp>(op);
      if (lookup && !llvm::is_contained(getTables(), lookup.getTable()))
        return error_at(&op, {}) << "a rule reads a table that is none of the attention's";
    }
    if (failed(verify_indices(*this, *region))) return failure();
  }
  return success();
}

}  // namespace mha::ir
