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
  let hasConstantMaterializer = 1;
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
def Mha_Table : RankedTensorOf<[I32, F32]>;
def Mha_Sink : TensorRankOf<[F32], [1]>;              // [H]
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
  let description = [{
    `axes` are those of a table that rules read, each by its letters (B, H, G, Lq, Lk, D) or as a number.
  }];
  let arguments = (ins StrAttr:$name, OptionalAttr<StrArrayAttr>:$axes);
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
    A call brings one row for each query. With `or_none` it may bring none at all. With `brings` rows are [B, Ln, G, D]:
    their number is in that range whatever Lq is, or again none.
  }];
  let arguments = (ins Mha_Heads:$rows, I64Attr:$capacity, OptionalAttr<I64Attr>:$page,
                       OptionalAttr<Mha_RangeAttr>:$brings, UnitAttr:$or_none,
                       DefaultValuedAttr<Mha_AxisOrderAttr, "::mha::ir::AxisOrder::kBshd">:$layout);
  let results = (outs Mha_Heads:$all);
  let assemblyFormat = "$rows attr-dict `:` type($rows) `->` type($all)";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Sequences need not have a key for each query of the call, nor any at all.
    bool mayBringNone() { return getOrNone() || getBrings(); }
  }];
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
    `left` and `right` may be negative. A row that sees no key has output 0, weights 0 and lse -inf. What the heads in
    `pruned` would give is left out: their places in the results are 0, mean_weights has nothing of them, and back ends do
    not compute them.

    Before masks, the scaled product s becomes softcap * tanh(s / softcap) where softcap is given, then
    s - alibi[h] * |i + offset - j|, then what the region `score_rule` yields, where it is not empty. The region
    `mask_rule` yields whether a key is visible. The regions read `tables`. `sink` [H] is a logit of each head that
    joins the softmax's denominator, and so lse; a row that sees no key then has lse sink[h].

    q [B, Lq, H, D], k [B, Lk, G, D], v [B, Lk, G, Dv] -> output [B, Lq, H, Dv]; with layout bhsd the second
    and third axes change places. The other results are f32: lse [B, H, Lq], the natural logarithm of the sum of
    exp(score); weights [B, H, Lq, Lk], the softmax; mean_weights [B, Lq, Lk], its mean over the heads; scores
    [B, H, Lq, Lk], scale * Q K^T of every pair; scores_capped, the same after softcap; scores_masked, what the
    softmax is taken of: -inf where hidden. top_weights and
    top_indices (i32) [B, H, Lq, top_k] are the strongest keys of each row, 0 and -1 where it sees fewer.
  }];
  let arguments = (ins Mha_Heads:$q, Mha_Heads:$k, Mha_Heads:$v, Optional<Mha_Indices>:$key_lengths,
                       Optional<Mha_Indices>:$key_starts, Optional<Mha_Indices>:$query_offset,
                       Optional<Mha_Indices>:$sequence_starts, Optional<Mha_Mask>:$mask, Optional<Mha_Sink>:$sink,
                       Variadic<Mha_Table>:$tables, F64Attr:$scale, OptionalAttr<F64Attr>:$softcap,
                       OptionalAttr<DenseF64ArrayAttr>:$alibi, UnitAttr:$causal, OptionalAttr<I64Attr>:$left,
                       OptionalAttr<I64Attr>:$right, OptionalAttr<DenseI64ArrayAttr>:$pruned,
                       DefaultValuedAttr<Mha_OffsetAttr, "::mha::ir::Offset::kStart">:$offset,
                       DefaultValuedAttr<Mha_AxisOrderAttr, "::mha::ir::AxisOrder::kBshd">:$layout);
  let results = (outs Mha_Heads:$output, Optional<Mha_Rows>:$lse, Optional<Mha_Pairs>:$weights,
                      Optional<Mha_Rows>:$mean_weights, Optional<Mha_Pairs>:$scores,
                      Optional<Mha_Pairs>:$scores_capped, Optional<Mha_Pairs>:$scores_masked, Optional<Mha_Pairs>:$top_weights,
                      Optional<Mha_TopIndices>:$top_indices);
  let regions = (region AnyRegion:$score_rule, AnyRegion:$mask_rule);
  let assemblyFormat = [{
    $q `,` $k `,` $v (`key_lengths` `(` $key_lengths^ `:` type($key_lengths) `)`)?
    (`key_starts` `(` $key_starts^ `:` type($key_starts) `)`)?
    (`query_offset` `(` $query_offset^ `:` type($query_offset) `)`)?
    (`sequence_starts` `(` $sequence_starts^ `:` type($sequence_starts) `)`)?
    (`mask` `(` $mask^ `:` type($mask) `)`)? (`sink` `(` $sink^ `:` type($sink) `)`)?
    (`tables` `(` $tables^ `:` type($tables) `)`)? attr-dict
    `:` type($q) `,` type($k) `,` type($v) `->` type($output)
    (`lse` type($lse)^)? (`weights` type($weights)^)? (`mean_weights` type($mean_weights)^)?
    (`scores` type($scores)^)? (`scores_capped` type($scores_capped)^)? (`scores_masked` type($scores_masked)^)?
    (`top_weights` type($top_weights)^)? (`top_indices` type($top_indices)^)?
    (`score_rule` $score_rule^)? (`mask_rule` $mask_rule^)?
  }];
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
  let hasCanonicalizer = 1;
  let extraClassDeclaration = [{
    /// Where the keys come from a cache, the operation that appends the call's own; else null.
    AppendOp appended();
    /// Something compares the places of query and key.
    bool comparesPlaces();
    bool hasRule() { return !getScoreRule().empty() || !getMaskRule().empty(); }
  }];
}

//--- rules: what stands in the regions of an attention ---

// Whole numbers, real ones, conditions.
def Mha_Scalar : AnyTypeOf<[I64, F32, I1]>;

class Mha_RulePart<string mnemonic, list<Trait> traits = []>
    : Mha_Op<mnemonic, traits # [HasParent<"AttentionOp">, Pure]>;

def VariableOp : Mha_RulePart<"variable", [Mha_NamesResults]> {
  let summary = "What a rule is evaluated for";
  let description = [{
    "s" (f32, in a score_rule) is the score; of i64 are "b", the sequence, "h", the query head, "q" = i + offset, "k" = j,
    "q_len" and "k_len", the queries and the keys of the sequence, "heads" = H and "d_head" = D.
  }];
  let arguments = (ins StrAttr:$name);
  let results = (outs Mha_Scalar:$value);
  let assemblyFormat = "$name attr-dict `:` type($value)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def NumberOp : Mha_RulePart<"number", [ConstantLike, AllTypesMatch<["number", "value"]>]> {
  let summary = "A number that is known";
  let arguments = (ins TypedAttrInterface:$number);
  let results = (outs Mha_Scalar:$value);
  let assemblyFormat = "attr-dict $number";
  let hasFolder = 1;
}

def LookupOp : Mha_RulePart<"lookup"> {
  let summary = "An element of a table";
  let description = [{
    Every index must be provably inside of its axis for all pairs that the other masks show and where the conditions
    around it hold (`and`, `or` and `select` look at what they need from left to right): the attention's verifier
    refuses the others.
  }];
  let arguments = (ins Mha_Table:$table, Variadic<I64>:$indices);
  let results = (outs Mha_Scalar:$value);
  let assemblyFormat = "$table `[` $indices `]` attr-dict `:` type($table)`->` type($value)";
  let hasVerifier = 1;
}

def Mha_Operator : Mha_Enum<"Operator", "What is done to numbers and conditions", [
  I32EnumAttrCase<"kNegate", 0, "negate">, I32EnumAttrCase<"kNot", 1, "not">,
  I32EnumAttrCase<"kAdd", 2, "add">, I32EnumAttrCase<"kSubtract", 3, "subtract">,
  I32EnumAttrCase<"kMultiply", 4, "multiply">, I32EnumAttrCase<"kDivide", 5, "divide">,
  I32EnumAttrCase<"kFloorDivide", 6, "floor_divide">, I32EnumAttrCase<"kModulo", 7, "modulo">,
  I32EnumAttrCase<"kLess", 8, "less">, I32EnumAttrCase<"kLessEqual", 9, "less_equal">,
  I32EnumAttrCase<"kEqual", 10, "equal">, I32EnumAttrCase<"kNotEqual", 11, "not_equal">,
  I32EnumAttrCase<"kAnd", 12, "and">, I32EnumAttrCase<"kOr", 13, "or">,
  I32EnumAttrCase<"kSelect", 14, "select">, I32EnumAttrCase<"kMin", 15, "min">,
  I32EnumAttrCase<"kMax", 16, "max">, I32EnumAttrCase<"kAbs", 17, "abs">,
  I32EnumAttrCase<"kExp", 18, "exp">, I32EnumAttrCase<"kLog", 19, "log">,
  I32EnumAttrCase<"kTanh", 20, "tanh">, I32EnumAttrCase<"kSqrt", 21, "sqrt">,
  I32EnumAttrCase<"kFloor", 22, "floor">
]>;
def Mha_OperatorAttr : EnumAttr<Mha_Dialect, Mha_Operator, "operator"> {
  let assemblyFormat = "$value";
}

def CalculateOp : Mha_RulePart<"calculate"> {
  let summary = "One operation on numbers and conditions";
  let description = [{
    Operands are numbers of either kind; where one of them is real, so is the result. `divide` is real always,
    `floor_divide` and `modulo` round down, and of whole numbers by 0 they are 0; `floor` of a real number is whole.
    `select` is its second operand where the first is true, else the third. No whole number may leave 62 bits: the
    attention's verifier refuses what could.
  }];
  let arguments = (ins Mha_OperatorAttr:$kind, Variadic<Mha_Scalar>:$operands);
  let results = (outs Mha_Scalar:$value);
  let assemblyFormat = "$kind `(` $operands `)` attr-dict `:` functional-type($operands, $value)";
  let hasVerifier = 1;
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}

def YieldOp : Mha_RulePart<"yield", [Terminator]> {
  let summary = "The value of a rule: a number, or whether a key is visible";
  let arguments = (ins Mha_Scalar:$value);
  let assemblyFormat = "$value attr-dict `:` type($value)";
}

#endif  // MHA_GENERATOR_IR_MHA_TD_
