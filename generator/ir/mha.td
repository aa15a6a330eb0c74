// The `mha` dialect: what one attention kernel computes, with no word about how. docs/ir.md explains it.
//
// Axes: B batch, H query heads, G key/value heads, Lq queries, Lk keys, D head width, Dv value width,
// M model width. A length that each call chooses is a dynamic dimension; its bounds stand in the kernel.
#ifndef MHA_GENERATOR_IR_MHA_TD_
#define MHA_GENERATOR_IR_MHA_TD_

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Mha_Dialect : Dialect {
  let name = "mha";
  let cppNamespace = "::mha::ir";
  let summary = "Multi-head attention, as the spec says it";
  let description = [{
    One `mha.kernel` for each spec. Its body names the tensors and weights that the caller gives, computes on
    them, and names what it returns. All values are tensors; all operations but the terminator are pure.
    Canonicalisation decides what is computed together; the Plan is read off its result.
  }];
  let useDefaultAttributePrinterParser = 1;
}

class Mha_Op<string mnemonic, list<Trait> traits = []> : Op<Mha_Dialect, mnemonic, traits>;
// What stands in a kernel.
class Mha_KernelPart<string mnemonic, list<Trait> traits = []>
    : Mha_Op<mnemonic, traits # [HasParent<"KernelOp">, Pure]>;
// Its results get the names that people know them by: %q, %lse.
def Mha_NamesResults : DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmResultNames"]>;

//--- attributes ---

def Mha_RangeAttr : AttrDef<Mha_Dialect, "Range"> {
  let mnemonic = "range";
  let summary = "A length: fixed when min = max, else given by each call within [min, max]";
  let parameters = (ins "int64_t":$min, "int64_t":$max);
  let assemblyFormat = "`<` $min `,` $max `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    bool fixed() const { return getMin() == getMax(); }
    /// The dimension that a tensor has along this axis.
    int64_t dim() const { return fixed() ? getMin() : ::mlir::ShapedType::kDynamic; }
  }];
}

class Mha_Enum<string name, string summary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::mha::ir";
  let genSpecializedAttr = 0;  // the attributes below print as #mha.layout<bhsd>
}
def Mha_AxisOrder : Mha_Enum<"AxisOrder", "Order of the axes of q, k, v and output", [
  I32EnumAttrCase<"kBshd", 0, "bshd">, I32EnumAttrCase<"kBhsd", 1, "bhsd">
]>;
def Mha_AxisOrderAttr : EnumAttr<Mha_Dialect, Mha_AxisOrder, "layout"> {
  let assemblyFormat = "`<` $value `>`";
}
def Mha_Offset : Mha_Enum<"Offset", "Where query 0 stands among the keys", [
  I32EnumAttrCase<"kStart", 0, "start">, I32EnumAttrCase<"kEnd", 1, "end">,
  I32EnumAttrCase<"kInput", 2, "input">
]>;
def Mha_OffsetAttr : EnumAttr<Mha_Dialect, Mha_Offset, "offset"> {
  let assemblyFormat = "`<` $value `>`";
}

//--- types ---

def Mha_Float : AnyTypeOf<[F32, BF16, F16]>;
def Mha_Activation : TensorRankOf<[Mha_Float], [3]>;  // [B, S, M]
def Mha_Heads : TensorRankOf<[Mha_Float], [4]>;       // [B, S, H, D] or [B, H, S, D]
def Mha_Matrix : TensorRankOf<[Mha_Float, I8], [2]>;  // [rows, columns]
def Mha_Vector : TensorRankOf<[Mha_Float], [1]>;      // [rows]
def Mha_Indices : TensorRankOf<[I32], [1]>;           // [B], or [B + 1]
def Mha_Mask : TensorRankOf<[I1, F32], [4]>;          // [B, H, Lq, Lk]
def Mha_Rows : TensorRankOf<[F32], [3]>;              // [B, H, Lq] or [B, Lq, Lk]
def Mha_Pairs : TensorRankOf<[F32], [4]>;             // [B, H, Lq, Lk] or [B, H, Lq, top_k]
def Mha_TopIndices : TensorRankOf<[I32], [4]>;        // [B, H, Lq, top_k]

//--- the kernel and what it exchanges with its caller ---

def KernelOp : Mha_Op<"kernel", [HasParent<"::mlir::ModuleOp">, IsolatedFromAbove, NoRegionArguments,
                                 SingleBlock, Symbol]> {
  let summary = "One kernel family: its lengths and its computation";
  let description = [{
    `self` says that Lk is Lq in every call. Lengths are B in `batch`, Lq in `queries`, Lk in `keys`.
    `packed` says that the sequences of a batch lie end to end, sequence b from row sequence_starts[b] on: types show
    the batch as if it were padded, [B, Lq, ...], and Lq bounds the length of each sequence.
    Of a kernel with a cache `keys` are those that its attention reads: cached ones and new ones.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, Mha_RangeAttr:$batch, Mha_RangeAttr:$queries,
                       Mha_RangeAttr:$keys, UnitAttr:$self, UnitAttr:$packed);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `batch` $batch `queries` $queries `keys` $keys (`self` $self^)? (`packed` $packed^)? attr-dict-with-keyword $body
  }];
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    /// Lk is Lq in every call, because the spec says so or because both are the same fixed number.
    bool equalLengths() {
      return getSelf() || (getQueries().fixed() && getQueries() == getKeys());
    }
  }];
}

def InputOp : Mha_KernelPart<"input", [Mha_NamesResults]> {
  let summary = "A tensor that each call passes";
  let arguments = (ins StrAttr:$name);
  let results = (outs AnyRankedTensor:$value);
  let assemblyFormat = "$name attr-dict `:` type($value)";
}

def WeightOp : Mha_KernelPart<"weight", [Mha_NamesResults]> {
  let summary = "A weight that is packed once, before any call";
  let description = [{
    Row-major, as models store it: a matrix is [rows of the product, columns], a bias [rows]. The element type
    is the one it is packed in; i8 comes with one scale for each row.
  }];
  let arguments = (ins StrAttr:$name);
  let results = (outs AnyTypeOf<[Mha_Matrix, Mha_Vector]>:$value);
  let assemblyFormat = "$name attr-dict `:` type($value)";
  let hasVerifier = 1;
}

def ReturnOp : Mha_KernelPart<"return", [Terminator]> {
  let summary = "Names the tensors that a call fills";
  let arguments = (ins Variadic<AnyRankedTensor>:$values, StrArrayAttr:$names);
  let assemblyFormat = "$values `as` $names attr-dict `:` type($values)";
  let hasVerifier = 1;
}

//--- projections ---

def ProjectOp : Mha_KernelPart<"project", [Mha_NamesResults]> {
  let summary = "One linear map into heads: y = weight_scale * (x W^T + b)";
  let description = [{
    x [B, S, M], W [H*D, M], b [H*D] -> y [B, S, H, D]: row h*D + d of W makes y[.., h, d].
    `weight_scale` is applied to W and b when they are packed, and costs nothing in a call.
  }];
  let arguments = (ins Mha_Activation:$x, Mha_Matrix:$weight, Optional<Mha_Vector>:$bias,
                       DefaultValuedAttr<F64Attr, "1.0">:$weight_scale);
  let results = (outs Mha_Heads:$y);
  let assemblyFormat = [{
    $x `,` $weight (`,` $bias^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def ProjectMergedOp : Mha_KernelPart<"project_merged", [AttrSizedOperandSegments, Mha_NamesResults]> {
  let summary = "Several projections of one input in a single pass over it";
  let description = [{
    y_p = weight_scales[p] * (x W_p^T + b_p) for each part p: what `mha.project` computes, for parts that have
    the same D and may differ in their number of heads. `biased[p]` says whether part p has a bias; `biases`
    holds those that exist, in order.
  }];
  let arguments = (ins Mha_Activation:$x, Variadic<Mha_Matrix>:$weights, Variadic<Mha_Vector>:$biases,
                       DenseBoolArrayAttr:$biased, DenseF64ArrayAttr:$weight_scales);
  let results = (outs Variadic<Mha_Heads>:$parts);
  let assemblyFormat = [{
    $x `weights` `(` $weights `)` (`biases` `(` $biases^ `)`)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The bias of part `p`, or a null value.
    ::mlir::Value bias(unsigned p);
  }];
}

def ProjectOutOp : Mha_KernelPart<"project_out", [Mha_NamesResults]> {
  let summary = "Concatenates the heads and maps them back: y = concat(o) W^T + b";
  let description = [{
    o [B, S, H, Dv], W [M, H*Dv], b [M] -> y [B, S, M]; column h*Dv + d of W takes o[.., h, d].
  }];
  let arguments = (ins Mha_Heads:$heads, Mha_Matrix:$weight, Optional<Mha_Vector>:$bias);
  let results = (outs Mha_Activation:$y);
  let assemblyFormat = [{
    $heads `,` $weight (`,` $bias^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

//--- rows of q and k ---

def RmsNormOp : Mha_KernelPart<"rms_norm", [AllTypesMatch<["x", "y"]>, Mha_NamesResults]> {
  let summary = "RMS norm of the rows of q or k, with a learned weight";
  let description = [{
    y[d] = x[d] / sqrt(mean(x^2) + eps) * (weight_offset + w[d]) of each row of each head: w [D]. With `all` the mean
    is over all heads of the row, and w is [H*D]. `layout` is the order of the axes of x.
  }];
  let arguments = (ins Mha_Heads:$x, Mha_Vector:$weight, F64Attr:$eps,
                       DefaultValuedAttr<I64Attr, "0">:$weight_offset, UnitAttr:$all,
                       DefaultValuedAttr<Mha_AxisOrderAttr, "::mha::ir::AxisOrder::kBshd">:$layout);
  let results = (outs Mha_Heads:$y);
  let assemblyFormat = "$x `,` $weight attr-dict `:` type($x) `,` type($weight)";
  let hasVerifier = 1;
}

def RotateOp : Mha_KernelPart<"rotate", [AllTypesMatch<["x", "y"]>, Mha_NamesResults]> {
  let summary = "Rotary position embedding of the rows of q or k";
  let description = [{
    Turns pair i of each row by the angle a = position * inv_freq[i]:

        y[i] = factor * (x[i] cos a - x[i'] sin a),  y[i'] = factor * (x[i'] cos a + x[i] sin a)

    with i' = i + n, n the number of frequencies, or, `interleaved`, with the elements 2i and 2i + 1 as a pair; factor is
    `attention_factor`. What lies behind the first 2n elements stays. Row i of what becomes the attention's q stands at
    i + offset, with the attention's offset; row j of what becomes its k at j.
  }];
  let arguments = (ins Mha_Heads:$x, DenseF64ArrayAttr:$inv_freq,
                       DefaultValuedAttr<F64Attr, "1.0">:$attention_factor, UnitAttr:$interleaved);
  let results = (outs Mha_Heads:$y);
  let assemblyFormat = "$x attr-dict `:` type($x)";
  let hasVerifier = 1;
}

//--- caches ---

def AppendOp : Mha_KernelPart<"append", [Mha_NamesResults]> {
  let summary = "Rows of new keys or values behind those that a cache holds";
  let description = [{
    rows [B, Lq, G, D] -> all [B, Lk, G, D]: what the cache of a sequence holds, and the call's rows of that sequence behind
    it. Each sequence has a length of its own, which the cache knows, and at most `capacity` keys. `page` is the
    number of keys that lie together in a paged cache; without it a sequence's keys are all in one place.
  }];
  let arguments = (ins Mha_Heads:$rows, I64Attr:$capacity, OptionalAttr<I64Attr>:$page,
                       DefaultValuedAttr<Mha_AxisOrderAttr, "::mha::ir::AxisOrder::kBshd">:$layout);
  let results = (outs Mha_Heads:$all);
  let assemblyFormat = "$rows attr-dict `:` type($rows) `->` type($all)";
  let hasVerifier = 1;
}

//--- attention ---

def AttentionOp : Mha_KernelPart<"attention", [AttrSizedOperandSegments, AttrSizedResultSegments,
                                              Mha_NamesResults]> {
  let summary = "softmax(scale * Q K^T over the visible keys) V, for every head";
  let description = [{
    Query head h reads key/value head h / (H / G). Key j is visible to query i of sequence b when all hold:

        j < key_lengths[b]         if key_lengths is given
        j >= key_starts[b]         if key_starts is given
        j <= i + offset            if causal
        j <= i + offset + right    if right is given
        j >= i + offset - left     if left is given
        mask[b, h, i, j]           if a mask of i1 is given
        mask[b, h, i, j] > -inf    if a mask of f32 is given, which is added to the score

    with offset 0 (`start`), (key_lengths[b] or Lk) - Lq (`end`), or query_offset[b] (`input`). Where k and v come out of
    `mha.append` the offset is `end` and stands for the number of keys that the cache of sequence b held before the call.
    A row that sees no key has output 0, weights 0 and lse -inf. What the heads in `pruned` would give is left out:
    their places in the results are 0, mean_weights has nothing of them, and back ends do not compute them.

    q [B, Lq, H, D], k [B, Lk, G, D], v [B, Lk, G, Dv] -> output [B, Lq, H, Dv]; with layout bhsd the second
    and third axes change places. The other results are f32: lse [B, H, Lq], the natural logarithm of the sum of
    exp(score); weights [B, H, Lq, Lk], the softmax; mean_weights [B, Lq, Lk], its mean over the heads; scores
    [B, H, Lq, Lk], scale * Q K^T of every pair; scores_masked, the same with masks applied. top_weights and
    top_indices (i32) [B, H, Lq, top_k] are the strongest keys of each row, 0 and -1 where it sees fewer.
  }];
  let arguments = (ins Mha_Heads:$q, Mha_Heads:$k, Mha_Heads:$v, Optional<Mha_Indices>:$key_lengths,
                       Optional<Mha_Indices>:$key_starts, Optional<Mha_Indices>:$query_offset,
                       Optional<Mha_Indices>:$sequence_starts, Optional<Mha_Mask>:$mask,
                       F64Attr:$scale, UnitAttr:$causal, OptionalAttr<I64Attr>:$left, OptionalAttr<I64Attr>:$right,
                       OptionalAttr<DenseI64ArrayAttr>:$pruned,
                       DefaultValuedAttr<Mha_OffsetAttr, "::mha::ir::Offset::kStart">:$offset,
                       DefaultValuedAttr<Mha_AxisOrderAttr, "::mha::ir::AxisOrder::kBshd">:$layout);
  let results = (outs Mha_Heads:$output, Optional<Mha_Rows>:$lse, Optional<Mha_Pairs>:$weights,
                      Optional<Mha_Rows>:$mean_weights, Optional<Mha_Pairs>:$scores,
                      Optional<Mha_Pairs>:$scores_masked, Optional<Mha_Pairs>:$top_weights,
                      Optional<Mha_TopIndices>:$top_indices);
  let assemblyFormat = [{
    $q `,` $k `,` $v (`key_lengths` `(` $key_lengths^ `:` type($key_lengths) `)`)?
    (`key_starts` `(` $key_starts^ `:` type($key_starts) `)`)?
    (`query_offset` `(` $query_offset^ `:` type($query_offset) `)`)?
    (`sequence_starts` `(` $sequence_starts^ `:` type($sequence_starts) `)`)?
    (`mask` `(` $mask^ `:` type($mask) `)`)? attr-dict
    `:` type($q) `,` type($k) `,` type($v) `->` type($output)
    (`lse` type($lse)^)? (`weights` type($weights)^)? (`mean_weights` type($mean_weights)^)?
    (`scores` type($scores)^)? (`scores_masked` type($scores_masked)^)?
    (`top_weights` type($top_weights)^)? (`top_indices` type($top_indices)^)?
  }];
  let hasVerifier = 1;
  let hasCanonicalizer = 1;
  let extraClassDeclaration = [{
    /// Where the keys come from a cache, the operation that appends the call's own; else null.
    AppendOp appended();
    /// Something compares the places of query and key.
    bool comparesPlaces();
  }];
}

#endif  // MHA_GENERATOR_IR_MHA_TD_
