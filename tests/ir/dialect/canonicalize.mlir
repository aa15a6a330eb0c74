// RUN: mha-opt %s --split-input-file --canonicalize | FileCheck %s

// Q, K and V of one input and one width become one projection; the scale goes into the weights of q. Parts
// without a bias stay without.
// CHECK-LABEL: @merge_all
// CHECK-NOT: mha.project %
// CHECK: %q, %k, %v = mha.project_merged %x weights(%w_q, %w_k, %w_v) biases(%b_q, %b_v)
// CHECK-SAME: biased = array<i1: true, false, true>
// CHECK-SAME: weight_scales = array<f64: 1.250000e-01, 1.000000e+00, 1.000000e+00>
// CHECK: mha.attention %q, %k, %v {scale = 1.000000e+00 : f64}
mha.kernel @merge_all batch <1, 1> queries <5, 5> keys <5, 5> self {
  %x = mha.input "x" : tensor<1x5x12xf32>
  %w_q = mha.weight "w_q" : tensor<32x12xf32>
  %w_k = mha.weight "w_k" : tensor<16x12xf32>
  %w_v = mha.weight "w_v" : tensor<16x12xf32>
  %b_q = mha.weight "b_q" : tensor<32xf32>
  %b_v = mha.weight "b_v" : tensor<16xf32>
  %q = mha.project %x, %w_q, %b_q : (tensor<1x5x12xf32>, tensor<32x12xf32>, tensor<32xf32>) -> tensor<1x5x4x8xf32>
  %k = mha.project %x, %w_k : (tensor<1x5x12xf32>, tensor<16x12xf32>) -> tensor<1x5x2x8xf32>
  %v = mha.project %x, %w_v, %b_v : (tensor<1x5x12xf32>, tensor<16x12xf32>, tensor<16xf32>) -> tensor<1x5x2x8xf32>
  %o = mha.attention %q, %k, %v {scale = 0.125} : tensor<1x5x4x8xf32>, tensor<1x5x2x8xf32>, tensor<1x5x2x8xf32> -> tensor<1x5x4x8xf32>
  mha.return %o as ["output"] : tensor<1x5x4x8xf32>
}

// -----

// With Dv != D the value has a projection of its own.
// CHECK-LABEL: @other_value_width
// CHECK: %q, %k = mha.project_merged %x weights(%w_q, %w_k) {
// CHECK: %v = mha.project %x, %w_v :
// CHECK: mha.attention %q, %k, %v
mha.kernel @other_value_width batch <1, 1> queries <5, 5> keys <5, 5> self {
  %x = mha.input "x" : tensor<1x5x12xf32>
  %w_q = mha.weight "w_q" : tensor<32x12xf32>
  %w_k = mha.weight "w_k" : tensor<32x12xf32>
  %w_v = mha.weight "w_v" : tensor<12x12xf32>
  %q = mha.project %x, %w_q : (tensor<1x5x12xf32>, tensor<32x12xf32>) -> tensor<1x5x4x8xf32>
  %k = mha.project %x, %w_k : (tensor<1x5x12xf32>, tensor<32x12xf32>) -> tensor<1x5x4x8xf32>
  %v = mha.project %x, %w_v : (tensor<1x5x12xf32>, tensor<12x12xf32>) -> tensor<1x5x4x3xf32>
  %o = mha.attention %q, %k, %v {scale = 0.125} : tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>, tensor<1x5x4x3xf32> -> tensor<1x5x4x3xf32>
  mha.return %o as ["output"] : tensor<1x5x4x3xf32>
}

// -----

// In cross attention K and V read another input than Q.
// CHECK-LABEL: @cross
// CHECK: %q = mha.project %x, %w_q {weight_scale = 1.250000e-01 : f64}
// CHECK: %k, %v = mha.project_merged %memory weights(%w_k, %w_v) {
mha.kernel @cross batch <1, 1> queries <5, 5> keys <6, 6> {
  %x = mha.input "x" : tensor<1x5x12xf32>
  %memory = mha.input "memory" : tensor<1x6x12xf32>
  %w_q = mha.weight "w_q" : tensor<32x12xf32>
  %w_k = mha.weight "w_k" : tensor<32x12xf32>
  %w_v = mha.weight "w_v" : tensor<32x12xf32>
  %q = mha.project %x, %w_q : (tensor<1x5x12xf32>, tensor<32x12xf32>) -> tensor<1x5x4x8xf32>
  %k = mha.project %memory, %w_k : (tensor<1x6x12xf32>, tensor<32x12xf32>) -> tensor<1x6x4x8xf32>
  %v = mha.project %memory, %w_v : (tensor<1x6x12xf32>, tensor<32x12xf32>) -> tensor<1x6x4x8xf32>
  %o = mha.attention %q, %k, %v {scale = 0.125} : tensor<1x5x4x8xf32>, tensor<1x6x4x8xf32>, tensor<1x6x4x8xf32> -> tensor<1x5x4x8xf32>
  mha.return %o as ["output"] : tensor<1x5x4x8xf32>
}

// -----

// A projection that something else reads stays, unscaled.
// CHECK-LABEL: @two_readers
// CHECK: %q = mha.project %x, %w_q :
// CHECK: %k, %v = mha.project_merged
// CHECK: mha.attention %q, %k, %v {scale = 1.250000e-01 : f64}
mha.kernel @two_readers batch <1, 1> queries <5, 5> keys <5, 5> self {
  %x = mha.input "x" : tensor<1x5x12xf32>
  %w_q = mha.weight "w_q" : tensor<32x12xf32>
  %w_k = mha.weight "w_k" : tensor<32x12xf32>
  %w_v = mha.weight "w_v" : tensor<32x12xf32>
  %q = mha.project %x, %w_q : (tensor<1x5x12xf32>, tensor<32x12xf32>) -> tensor<1x5x4x8xf32>
  %k = mha.project %x, %w_k : (tensor<1x5x12xf32>, tensor<32x12xf32>) -> tensor<1x5x4x8xf32>
  %v = mha.project %x, %w_v : (tensor<1x5x12xf32>, tensor<32x12xf32>) -> tensor<1x5x4x8xf32>
  %o = mha.attention %q, %k, %v {scale = 0.125} : tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32> -> tensor<1x5x4x8xf32>
  mha.return %o, %q as ["output", "q"] : tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>
}

// -----

// A weight of fewer bits than f32 would be rounded again: the scale stays with the scores.
// CHECK-LABEL: @bf16_weights
// CHECK: weight_scales = array<f64: 1.000000e+00, 1.000000e+00, 1.000000e+00>
// CHECK: mha.attention %q, %k, %v {scale = 1.250000e-01 : f64}
mha.kernel @bf16_weights batch <1, 1> queries <5, 5> keys <5, 5> self {
  %x = mha.input "x" : tensor<1x5x12xf32>
  %w_q = mha.weight "w_q" : tensor<32x12xbf16>
  %w_k = mha.weight "w_k" : tensor<32x12xbf16>
  %w_v = mha.weight "w_v" : tensor<32x12xbf16>
  %q = mha.project %x, %w_q : (tensor<1x5x12xf32>, tensor<32x12xbf16>) -> tensor<1x5x4x8xf32>
  %k = mha.project %x, %w_k : (tensor<1x5x12xf32>, tensor<32x12xbf16>) -> tensor<1x5x4x8xf32>
  %v = mha.project %x, %w_v : (tensor<1x5x12xf32>, tensor<32x12xbf16>) -> tensor<1x5x4x8xf32>
  %o = mha.attention %q, %k, %v {scale = 0.125} : tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32> -> tensor<1x5x4x8xf32>
  mha.return %o as ["output"] : tensor<1x5x4x8xf32>
}

// -----

// A projection that is merged already takes the scale in its own part.
// CHECK-LABEL: @fold_into_merged
// CHECK: weight_scales = array<f64: 3.000000e+00, 1.000000e+00>
// CHECK: mha.attention %q, %k, %k {scale = 1.000000e+00 : f64}
mha.kernel @fold_into_merged batch <1, 1> queries <5, 5> keys <5, 5> self {
  %x = mha.input "x" : tensor<1x5x12xf32>
  %w_q = mha.weight "w_q" : tensor<32x12xf32>
  %w_k = mha.weight "w_k" : tensor<32x12xf32>
  %q, %k = mha.project_merged %x weights(%w_q, %w_k) {biased = array<i1: false, false>, weight_scales = array<f64: 6.0, 1.0>} : (tensor<1x5x12xf32>, tensor<32x12xf32>, tensor<32x12xf32>) -> (tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>)
  %o = mha.attention %q, %k, %k {scale = 0.5} : tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32> -> tensor<1x5x4x8xf32>
  mha.return %o as ["output"] : tensor<1x5x4x8xf32>
}

// -----

// A scale that would push weights out of f32's range is no rounding: it stays. So does any scale of inputs.
// CHECK-LABEL: @extreme_scale
// CHECK: mha.project %x, %w_q :
// CHECK: mha.attention {{.*}} {scale = 9.9999999999999992E-41 : f64}
mha.kernel @extreme_scale batch <1, 1> queries <5, 5> keys <5, 5> self {
  %x = mha.input "x" : tensor<1x5x12xf32>
  %k = mha.input "key" : tensor<1x5x4x8xf32>
  %w_q = mha.weight "w_q" : tensor<32x12xf32>
  %q = mha.project %x, %w_q : (tensor<1x5x12xf32>, tensor<32x12xf32>) -> tensor<1x5x4x8xf32>
  %o = mha.attention %q, %k, %k {scale = 1.0e-40} : tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32> -> tensor<1x5x4x8xf32>
  mha.return %o as ["output"] : tensor<1x5x4x8xf32>
}

// -----

// One query that stands at the last key sees them all: neither the mask nor the offset is left.
// CHECK-LABEL: @decode
// CHECK: mha.attention {{.*}} {scale = 1.250000e-01 : f64}
mha.kernel @decode batch <1, 1> queries <1, 1> keys <9, 9> {
  %q = mha.input "query" : tensor<1x1x4x8xf32>
  %k = mha.input "key" : tensor<1x9x4x8xf32>
  %o = mha.attention %q, %k, %k {scale = 0.125, causal, offset = #mha.offset<end>} : tensor<1x1x4x8xf32>, tensor<1x9x4x8xf32>, tensor<1x9x4x8xf32> -> tensor<1x1x4x8xf32>
  mha.return %o as ["output"] : tensor<1x1x4x8xf32>
}

// -----

// From the start, the same query sees one key of nine.
// CHECK-LABEL: @first_query
// CHECK: mha.attention {{.*}} {causal, scale = 1.250000e-01 : f64}
mha.kernel @first_query batch <1, 1> queries <1, 1> keys <9, 9> {
  %q = mha.input "query" : tensor<1x1x4x8xf32>
  %k = mha.input "key" : tensor<1x9x4x8xf32>
  %o = mha.attention %q, %k, %k {scale = 0.125, causal} : tensor<1x1x4x8xf32>, tensor<1x9x4x8xf32>, tensor<1x9x4x8xf32> -> tensor<1x1x4x8xf32>
  mha.return %o as ["output"] : tensor<1x1x4x8xf32>
}

// -----

// Where there is only one key, every query at or after the start sees it.
// CHECK-LABEL: @only_key
// CHECK: mha.attention {{.*}} {scale = 1.250000e-01 : f64}
mha.kernel @only_key batch <1, 1> queries <9, 9> keys <1, 1> {
  %q = mha.input "query" : tensor<1x9x4x8xf32>
  %k = mha.input "key" : tensor<1x1x4x8xf32>
  %o = mha.attention %q, %k, %k {scale = 0.125, causal} : tensor<1x9x4x8xf32>, tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32> -> tensor<1x9x4x8xf32>
  mha.return %o as ["output"] : tensor<1x9x4x8xf32>
}

// -----

// At the end, all but the last of those queries stand before it.
// CHECK-LABEL: @only_key_at_the_end
// CHECK: mha.attention {{.*}} {causal, offset = #mha.offset<end>, scale
mha.kernel @only_key_at_the_end batch <1, 1> queries <9, 9> keys <1, 1> {
  %q = mha.input "query" : tensor<1x9x4x8xf32>
  %k = mha.input "key" : tensor<1x1x4x8xf32>
  %o = mha.attention %q, %k, %k {scale = 0.125, causal, offset = #mha.offset<end>} : tensor<1x9x4x8xf32>, tensor<1x1x4x8xf32>, tensor<1x1x4x8xf32> -> tensor<1x9x4x8xf32>
  mha.return %o as ["output"] : tensor<1x9x4x8xf32>
}

// -----

// Two queries at the end: the first does not see the last key.
// CHECK-LABEL: @two_queries
// CHECK: mha.attention {{.*}} {causal, offset = #mha.offset<end>, scale
mha.kernel @two_queries batch <1, 1> queries <1, 2> keys <9, 9> {
  %q = mha.input "query" : tensor<1x?x4x8xf32>
  %k = mha.input "key" : tensor<1x9x4x8xf32>
  %o = mha.attention %q, %k, %k {scale = 0.125, causal, offset = #mha.offset<end>} : tensor<1x?x4x8xf32>, tensor<1x9x4x8xf32>, tensor<1x9x4x8xf32> -> tensor<1x?x4x8xf32>
  mha.return %o as ["output"] : tensor<1x?x4x8xf32>
}

// -----

// Where Lq = Lk the end is the start.
// CHECK-LABEL: @equal_lengths
// CHECK: mha.attention {{.*}} {causal, scale
mha.kernel @equal_lengths batch <1, 1> queries <1, 64> keys <1, 64> self {
  %q = mha.input "query" : tensor<1x?x4x8xf32>
  %o = mha.attention %q, %q, %q {scale = 0.125, causal, offset = #mha.offset<end>} : tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32> -> tensor<1x?x4x8xf32>
  mha.return %o as ["output"] : tensor<1x?x4x8xf32>
}

// -----

// The same ranges are not the same lengths.
// CHECK-LABEL: @equal_ranges
// CHECK: mha.attention {{.*}} {causal, offset = #mha.offset<end>, scale
mha.kernel @equal_ranges batch <1, 1> queries <1, 64> keys <1, 64> {
  %q = mha.input "query" : tensor<1x?x4x8xf32>
  %o = mha.attention %q, %q, %q {scale = 0.125, causal, offset = #mha.offset<end>} : tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32> -> tensor<1x?x4x8xf32>
  mha.return %o as ["output"] : tensor<1x?x4x8xf32>
}

// -----

// Nor are the lengths of sequences that key_lengths cuts short.
// CHECK-LABEL: @padded
// CHECK: mha.attention {{.*}} {causal, offset = #mha.offset<end>, scale
mha.kernel @padded batch <1, 1> queries <64, 64> keys <64, 64> self {
  %q = mha.input "query" : tensor<1x64x4x8xf32>
  %lengths = mha.input "key_lengths" : tensor<1xi32>
  %o = mha.attention %q, %q, %q key_lengths(%lengths : tensor<1xi32>) {scale = 0.125, causal, offset = #mha.offset<end>} : tensor<1x64x4x8xf32>, tensor<1x64x4x8xf32>, tensor<1x64x4x8xf32> -> tensor<1x64x4x8xf32>
  mha.return %o as ["output"] : tensor<1x64x4x8xf32>
}

// -----

// An offset that the caller gives is part of the interface, masked or not.
// CHECK-LABEL: @given_offset
// CHECK: mha.attention {{.*}} query_offset(%query_offset : tensor<1xi32>) {offset = #mha.offset<input>, scale
mha.kernel @given_offset batch <1, 1> queries <64, 64> keys <64, 64> self {
  %q = mha.input "query" : tensor<1x64x4x8xf32>
  %offset = mha.input "query_offset" : tensor<1xi32>
  %o = mha.attention %q, %q, %q query_offset(%offset : tensor<1xi32>) {scale = 0.125, offset = #mha.offset<input>} : tensor<1x64x4x8xf32>, tensor<1x64x4x8xf32>, tensor<1x64x4x8xf32> -> tensor<1x64x4x8xf32>
  mha.return %o as ["output"] : tensor<1x64x4x8xf32>
}

// -----

// Causal sees nothing to the right, and a left side of eight reaches past nine keys' first.
// CHECK-LABEL: @wide_window
// CHECK: mha.attention %query, %key, %key {causal, scale
mha.kernel @wide_window batch <1, 1> queries <9, 9> keys <9, 9> {
  %q = mha.input "query" : tensor<1x9x4x8xf32>
  %k = mha.input "key" : tensor<1x9x4x8xf32>
  %o = mha.attention %q, %k, %k {scale = 0.125, causal, left = 8, right = 3} : tensor<1x9x4x8xf32>, tensor<1x9x4x8xf32>, tensor<1x9x4x8xf32> -> tensor<1x9x4x8xf32>
  mha.return %o as ["output"] : tensor<1x9x4x8xf32>
}

// -----

// One narrower on each side, and both stay.
// CHECK-LABEL: @narrow_window
// CHECK: mha.attention %query, %key, %key {left = 7 : i64, right = 7 : i64, scale
mha.kernel @narrow_window batch <1, 1> queries <9, 9> keys <9, 9> {
  %q = mha.input "query" : tensor<1x9x4x8xf32>
  %k = mha.input "key" : tensor<1x9x4x8xf32>
  %o = mha.attention %q, %k, %k {scale = 0.125, left = 7, right = 7} : tensor<1x9x4x8xf32>, tensor<1x9x4x8xf32>, tensor<1x9x4x8xf32> -> tensor<1x9x4x8xf32>
  mha.return %o as ["output"] : tensor<1x9x4x8xf32>
}

// -----

// A window compares places as a causal mask does: the end stays the end.
// CHECK-LABEL: @window_at_the_end
// CHECK: mha.attention {{.*}} {left = 2 : i64, offset = #mha.offset<end>, scale
mha.kernel @window_at_the_end batch <1, 1> queries <2, 2> keys <9, 9> {
  %q = mha.input "query" : tensor<1x2x4x8xf32>
  %k = mha.input "key" : tensor<1x9x4x8xf32>
  %o = mha.attention %q, %k, %k {scale = 0.125, left = 2, offset = #mha.offset<end>} : tensor<1x2x4x8xf32>, tensor<1x9x4x8xf32>, tensor<1x9x4x8xf32> -> tensor<1x2x4x8xf32>
  mha.return %o as ["output"] : tensor<1x2x4x8xf32>
}

// -----

// A rotation lets the scale through to the weights of q, and does not keep projections apart, though a row of q is
// turned before k is there.
// CHECK-LABEL: @rotated
// CHECK: %q, %k, %v = mha.project_merged
// CHECK-SAME: weight_scales = array<f64: 1.250000e-01, 1.000000e+00, 1.000000e+00>
// CHECK: %rotated = mha.rotate %q
// CHECK: %rotated_0 = mha.rotate %k
// CHECK: mha.attention %rotated, %rotated_0, %v {scale = 1.000000e+00 : f64}
mha.kernel @rotated batch <1, 1> queries <5, 5> keys <5, 5> self {
  %x = mha.input "x" : tensor<1x5x12xf32>
  %w_q = mha.weight "w_q" : tensor<32x12xf32>
  %q = mha.project %x, %w_q : (tensor<1x5x12xf32>, tensor<32x12xf32>) -> tensor<1x5x4x8xf32>
  %rq = mha.rotate %q {inv_freq = array<f64: 1.0>} : tensor<1x5x4x8xf32>
  %w_k = mha.weight "w_k" : tensor<32x12xf32>
  %w_v = mha.weight "w_v" : tensor<32x12xf32>
  %k = mha.project %x, %w_k : (tensor<1x5x12xf32>, tensor<32x12xf32>) -> tensor<1x5x4x8xf32>
  %rk = mha.rotate %k {inv_freq = array<f64: 1.0>} : tensor<1x5x4x8xf32>
  %v = mha.project %x, %w_v : (tensor<1x5x12xf32>, tensor<32x12xf32>) -> tensor<1x5x4x8xf32>
  %o = mha.attention %rq, %rk, %v {scale = 0.125} : tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32> -> tensor<1x5x4x8xf32>
  mha.return %o as ["output"] : tensor<1x5x4x8xf32>
}

// -----

// A norm would undo the scale, which stays with the scores.
// CHECK-LABEL: @normed
// CHECK: %q, %k = mha.project_merged
// CHECK-SAME: weight_scales = array<f64: 1.000000e+00, 1.000000e+00>
// CHECK: mha.attention %normed, %normed_0, %k {scale = 1.250000e-01 : f64}
mha.kernel @normed batch <1, 1> queries <5, 5> keys <5, 5> self {
  %x = mha.input "x" : tensor<1x5x12xf32>
  %w_q = mha.weight "w_q" : tensor<32x12xf32>
  %w_k = mha.weight "w_k" : tensor<32x12xf32>
  %w = mha.weight "q_norm" : tensor<8xf32>
  %q, %k = mha.project_merged %x weights(%w_q, %w_k) {biased = array<i1: false, false>, weight_scales = array<f64: 1.0, 1.0>} : (tensor<1x5x12xf32>, tensor<32x12xf32>, tensor<32x12xf32>) -> (tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>)
  %nq = mha.rms_norm %q, %w {eps = 1.0e-06} : tensor<1x5x4x8xf32>, tensor<8xf32>
  %nk = mha.rms_norm %k, %w {eps = 1.0e-06} : tensor<1x5x4x8xf32>, tensor<8xf32>
  %o = mha.attention %nq, %nk, %k {scale = 0.125} : tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32> -> tensor<1x5x4x8xf32>
  mha.return %o as ["output"] : tensor<1x5x4x8xf32>
}

// -----

// A rotation compares places: queries at the end of the keys stay there.
// CHECK-LABEL: @rotated_end
// CHECK: mha.attention {{.*}} {offset = #mha.offset<end>, scale = 1.250000e-01 : f64}
mha.kernel @rotated_end batch <1, 1> queries <2, 2> keys <9, 9> {
  %q = mha.input "query" : tensor<1x2x4x8xf32>
  %k = mha.input "key" : tensor<1x9x4x8xf32>
  %rq = mha.rotate %q {inv_freq = array<f64: 1.0>} : tensor<1x2x4x8xf32>
  %rk = mha.rotate %k {inv_freq = array<f64: 1.0>} : tensor<1x9x4x8xf32>
  %o = mha.attention %rq, %rk, %k {scale = 0.125, offset = #mha.offset<end>} : tensor<1x2x4x8xf32>, tensor<1x9x4x8xf32>, tensor<1x9x4x8xf32> -> tensor<1x2x4x8xf32>
  mha.return %o as ["output"] : tensor<1x2x4x8xf32>
}

// -----

// Projections of a block with a cache merge as they do without; the queries stay where they are.
// CHECK-LABEL: @cached_block
// CHECK: %q, %k, %v = mha.project_merged
// CHECK: %[[K:.*]] = mha.append %k {capacity = 64 : i64}
// CHECK: %[[V:.*]] = mha.append %v {capacity = 64 : i64}
// CHECK: mha.attention %q, %[[K]], %[[V]] {offset = #mha.offset<end>, scale = 1.000000e+00
mha.kernel @cached_block batch <1, 1> queries <4, 4> keys <4, 64> {
  %x = mha.input "x" : tensor<1x4x8xf32>
  %w_q = mha.weight "w_q" : tensor<8x8xf32>
  %w_k = mha.weight "w_k" : tensor<8x8xf32>
  %w_v = mha.weight "w_v" : tensor<8x8xf32>
  %w_o = mha.weight "w_o" : tensor<8x8xf32>
  %q = mha.project %x, %w_q : (tensor<1x4x8xf32>, tensor<8x8xf32>) -> tensor<1x4x2x4xf32>
  %k = mha.project %x, %w_k : (tensor<1x4x8xf32>, tensor<8x8xf32>) -> tensor<1x4x2x4xf32>
  %v = mha.project %x, %w_v : (tensor<1x4x8xf32>, tensor<8x8xf32>) -> tensor<1x4x2x4xf32>
  %all_k = mha.append %k {capacity = 64} : tensor<1x4x2x4xf32> -> tensor<1x?x2x4xf32>
  %all_v = mha.append %v {capacity = 64} : tensor<1x4x2x4xf32> -> tensor<1x?x2x4xf32>
  %o = mha.attention %q, %all_k, %all_v {scale = 0.5, offset = #mha.offset<end>} : tensor<1x4x2x4xf32>, tensor<1x?x2x4xf32>, tensor<1x?x2x4xf32> -> tensor<1x4x2x4xf32>
  %y = mha.project_out %o, %w_o : (tensor<1x4x2x4xf32>, tensor<8x8xf32>) -> tensor<1x4x8xf32>
  mha.return %y as ["output"] : tensor<1x4x8xf32>
}

// -----

// One query that stands behind all cached keys sees them all.
// CHECK-LABEL: @decode_is_not_masked
// CHECK: mha.attention %query, %all_key, %all_key {offset = #mha.offset<end>, scale
mha.kernel @decode_is_not_masked batch <1, 1> queries <1, 1> keys <1, 64> {
  %q = mha.input "query" : tensor<1x1x2x4xf32>
  %k = mha.input "key" : tensor<1x1x2x4xf32>
  %all_k = mha.append %k {capacity = 64} : tensor<1x1x2x4xf32> -> tensor<1x?x2x4xf32>
  %o = mha.attention %q, %all_k, %all_k {causal, scale = 0.5, offset = #mha.offset<end>} : tensor<1x1x2x4xf32>, tensor<1x?x2x4xf32>, tensor<1x?x2x4xf32> -> tensor<1x1x2x4xf32>
  mha.return %o as ["output"] : tensor<1x1x2x4xf32>
}

// -----

// A query behind the cached keys stands before all but the first of the new ones.
// CHECK-LABEL: @decode_before_new_keys
// CHECK: mha.append %key {brings = #mha.range<1, 4>, capacity = 64 : i64}
// CHECK: mha.attention %query, %all_key, %all_key {causal, offset = #mha.offset<end>, scale
mha.kernel @decode_before_new_keys batch <1, 1> queries <1, 1> keys <1, 64> {
  %q = mha.input "query" : tensor<1x1x2x4xf32>
  %k = mha.input "key" : tensor<1x?x2x4xf32>
  %all_k = mha.append %k {capacity = 64, brings = #mha.range<1, 4>} : tensor<1x?x2x4xf32> -> tensor<1x?x2x4xf32>
  %o = mha.attention %q, %all_k, %all_k {causal, scale = 0.5, offset = #mha.offset<end>} : tensor<1x1x2x4xf32>, tensor<1x?x2x4xf32>, tensor<1x?x2x4xf32> -> tensor<1x1x2x4xf32>
  mha.return %o as ["output"] : tensor<1x1x2x4xf32>
}

// -----

// It may stand right behind a full cache: a window of its capacity hides key 0 there.
// CHECK-LABEL: @window_behind_a_full_cache
// CHECK: mha.attention %query, %all_key, %all_key {left = 63 : i64
mha.kernel @window_behind_a_full_cache batch <1, 1> queries <1, 1> keys <1, 64> {
  %q = mha.input "query" : tensor<1x1x2x4xf32>
  %k = mha.input "key" : tensor<1x1x2x4xf32>
  %all_k = mha.append %k {capacity = 64, or_none} : tensor<1x1x2x4xf32> -> tensor<1x?x2x4xf32>
  %o = mha.attention %q, %all_k, %all_k {left = 63, scale = 0.5, offset = #mha.offset<end>} : tensor<1x1x2x4xf32>, tensor<1x?x2x4xf32>, tensor<1x?x2x4xf32> -> tensor<1x1x2x4xf32>
  mha.return %o as ["output"] : tensor<1x1x2x4xf32>
}
