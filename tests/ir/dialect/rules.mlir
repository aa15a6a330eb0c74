// RUN: mha-opt %s --split-input-file --canonicalize | FileCheck %s
// What is printed is parsed back.
// RUN: mha-opt %s --split-input-file --canonicalize | mha-opt --split-input-file | FileCheck %s --check-prefix=AGAIN

// A rule that is the causal mask becomes it.
// CHECK-LABEL: @causal
// CHECK: mha.attention
// CHECK-SAME: {causal, scale
// CHECK-NOT: mask_rule
// AGAIN-LABEL: @causal
mha.kernel @causal batch <1, 1> queries <5, 5> keys <5, 5> self {
  %query = mha.input "query" : tensor<1x5x4x8xf32>
  %o = mha.attention %query, %query, %query {scale = 0.5} : tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32> -> tensor<1x5x4x8xf32> mask_rule {
    %k = mha.variable "k" : i64
    %q = mha.variable "q" : i64
    %sees = mha.calculate less_equal(%k, %q) : (i64, i64) -> i1
    mha.yield %sees : i1
  }
  mha.return %o as ["output"] : tensor<1x5x4x8xf32>
}

// -----

// k < q and 2 * (q - k) <= 7, with what the config says besides: the narrower sides win.
// CHECK-LABEL: @band
// CHECK: mha.attention
// CHECK-SAME: {left = 3 : i64, right = -1 : i64, scale
// CHECK-NOT: mask_rule
mha.kernel @band batch <1, 1> queries <50, 50> keys <50, 50> self {
  %query = mha.input "query" : tensor<1x50x4x8xf32>
  %o = mha.attention %query, %query, %query {causal, left = 9, scale = 0.5} : tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32> -> tensor<1x50x4x8xf32> mask_rule {
    %k = mha.variable "k" : i64
    %q = mha.variable "q" : i64
    %before = mha.calculate less(%k, %q) : (i64, i64) -> i1
    %distance = mha.calculate subtract(%q, %k) : (i64, i64) -> i64
    %two = mha.number 2 : i64
    %seven = mha.number 7 : i64
    %twice = mha.calculate multiply(%two, %distance) : (i64, i64) -> i64
    %near = mha.calculate less_equal(%twice, %seven) : (i64, i64) -> i1
    %both = mha.calculate and(%before, %near) : (i1, i1) -> i1
    mha.yield %both : i1
  }
  mha.return %o as ["output"] : tensor<1x50x4x8xf32>
}

// -----

// not (k > q or q - k > 4): `not` moves inward until comparisons are turned round.
// CHECK-LABEL: @opposite
// CHECK: mha.attention
// CHECK-SAME: {causal, left = 4 : i64, scale
// CHECK-NOT: mask_rule
mha.kernel @opposite batch <1, 1> queries <50, 50> keys <50, 50> self {
  %query = mha.input "query" : tensor<1x50x4x8xf32>
  %o = mha.attention %query, %query, %query {scale = 0.5} : tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32> -> tensor<1x50x4x8xf32> mask_rule {
    %k = mha.variable "k" : i64
    %q = mha.variable "q" : i64
    %four = mha.number 4 : i64
    %behind = mha.calculate less(%q, %k) : (i64, i64) -> i1
    %distance = mha.calculate subtract(%q, %k) : (i64, i64) -> i64
    %far = mha.calculate less(%four, %distance) : (i64, i64) -> i1
    %either = mha.calculate or(%behind, %far) : (i1, i1) -> i1
    %neither = mha.calculate not(%either) : (i1) -> i1
    mha.yield %neither : i1
  }
  mha.return %o as ["output"] : tensor<1x50x4x8xf32>
}

// -----

// k <= q and (q - k < 9 or k < 4): what compares places alone goes, the rest stays.
// CHECK-LABEL: @part
// CHECK: mha.attention
// CHECK-SAME: {causal, scale
// CHECK-SAME: mask_rule {
// CHECK-NOT: and
// CHECK: %[[EITHER:.*]] = mha.calculate or(
// CHECK-NEXT: mha.yield %[[EITHER]] : i1
// AGAIN-LABEL: @part
// AGAIN: mask_rule {
mha.kernel @part batch <1, 1> queries <50, 50> keys <50, 50> self {
  %query = mha.input "query" : tensor<1x50x4x8xf32>
  %o = mha.attention %query, %query, %query {scale = 0.5} : tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32> -> tensor<1x50x4x8xf32> mask_rule {
    %k = mha.variable "k" : i64
    %q = mha.variable "q" : i64
    %nine = mha.number 9 : i64
    %four = mha.number 4 : i64
    %before = mha.calculate less_equal(%k, %q) : (i64, i64) -> i1
    %distance = mha.calculate subtract(%q, %k) : (i64, i64) -> i64
    %near = mha.calculate less(%distance, %nine) : (i64, i64) -> i1
    %first = mha.calculate less(%k, %four) : (i64, i64) -> i1
    %either = mha.calculate or(%near, %first) : (i1, i1) -> i1
    %both = mha.calculate and(%before, %either) : (i1, i1) -> i1
    mha.yield %both : i1
  }
  mha.return %o as ["output"] : tensor<1x50x4x8xf32>
}

// -----

// Two conditions on the diagonal: q - k == 3 is a window of one key, 2 * (q - k) == 3 is nowhere true and stays.
// CHECK-LABEL: @diagonal
// CHECK: mha.attention
// CHECK-SAME: {left = 3 : i64, right = -3 : i64, scale
// CHECK-SAME: mask_rule {
// CHECK: mha.calculate equal(
mha.kernel @diagonal batch <1, 1> queries <50, 50> keys <50, 50> self {
  %query = mha.input "query" : tensor<1x50x4x8xf32>
  %o = mha.attention %query, %query, %query {scale = 0.5} : tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32> -> tensor<1x50x4x8xf32> mask_rule {
    %k = mha.variable "k" : i64
    %q = mha.variable "q" : i64
    %two = mha.number 2 : i64
    %three = mha.number 3 : i64
    %distance = mha.calculate subtract(%q, %k) : (i64, i64) -> i64
    %twice = mha.calculate multiply(%two, %distance) : (i64, i64) -> i64
    %one = mha.calculate equal(%distance, %three) : (i64, i64) -> i1
    %none = mha.calculate equal(%twice, %three) : (i64, i64) -> i1
    %both = mha.calculate and(%one, %none) : (i1, i1) -> i1
    mha.yield %both : i1
  }
  mha.return %o as ["output"] : tensor<1x50x4x8xf32>
}

// -----

// What is known of the kernel folds: k_len is 50, heads 4, so that the condition holds and the rule is gone; in the
// score_rule tanh(0) goes too. A table of the interface stays, though nobody reads it any more.
// CHECK-LABEL: @known
// CHECK: %bias = mha.input "bias" {axes = ["H"]} : tensor<4xf32>
// CHECK: mha.attention %query, %query, %query tables(%bias : tensor<4xf32>)
// CHECK-NOT: mask_rule
// CHECK-SAME: score_rule {
// CHECK-NEXT: %s = mha.variable "s" : f32
// CHECK-NEXT: mha.yield %s : f32
mha.kernel @known batch <1, 1> queries <50, 50> keys <50, 50> self {
  %query = mha.input "query" : tensor<1x50x4x8xf32>
  %bias = mha.input "bias" {axes = ["H"]} : tensor<4xf32>
  %o = mha.attention %query, %query, %query tables(%bias : tensor<4xf32>) {scale = 0.5} : tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32> -> tensor<1x50x4x8xf32>
  score_rule {
    %s = mha.variable "s" : f32
    %h = mha.variable "h" : i64
    %zero = mha.number 0.0 : f32
    %t = mha.calculate tanh(%zero) : (f32) -> f32
    %never = mha.calculate less(%t, %zero) : (f32, f32) -> i1
    %other = mha.lookup %bias[%h] : tensor<4xf32> -> f32
    %chosen = mha.calculate select(%never, %other, %s) : (i1, f32, f32) -> f32
    mha.yield %chosen : f32
  }
  mask_rule {
    %k_len = mha.variable "k_len" : i64
    %heads = mha.variable "heads" : i64
    %more = mha.calculate less(%heads, %k_len) : (i64, i64) -> i1
    mha.yield %more : i1
  }
  mha.return %o as ["output"] : tensor<1x50x4x8xf32>
}
