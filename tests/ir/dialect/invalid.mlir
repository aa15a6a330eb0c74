// Every rule of every operation is broken once.
// RUN: mha-opt %s --split-input-file --verify-diagnostics --allow-unregistered-dialect

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x4x8xf32>
  %v = mha.input "value" : tensor<2x7x4x9xf32>
  // expected-error @+1 {{the G = 4 key/value heads do not divide the H = 6 query heads}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x4x8xf32>, tensor<2x7x4x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x2x9xf32>
  // expected-error @+1 {{k has G = 3 heads but v has 2}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x2x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x10xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{q has heads of D = 8 but k of 10}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x10xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{the output has 6 heads of 8; it needs H = 6 of Dv = 9}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x8xf32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{the output has 3 heads of 9; it needs H = 6 of Dv = 9}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x3x9xf32>
  mha.return %o as ["output"] : tensor<2x5x3x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x?x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{the heads and the width of q, k, v and output must be fixed and >= 1}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x?x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xbf16>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{q, k, v and output must have one element type, not 'f32' and 'bf16'}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xbf16>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<3x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{q has B = 3 but the kernel is for B = 2}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<3x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{output has B = ? but the kernel is for B = 2}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<?x5x6x9xf32>
  mha.return %o as ["output"] : tensor<?x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x4x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{q has Lq = 4 but the kernel is for Lq = 5}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x4x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x5x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{k has Lk = 5 but the kernel is for Lk = 7}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x5x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x?x3x9xf32>
  // expected-error @+1 {{v has Lk = ? but the kernel is for Lk = 7}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x?x3x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <4, 6> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{q has Lq = 5 but the kernel is for Lq = 4..6}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x6x6x8xf32>
  %k = mha.input "key" : tensor<2x3x7x8xf32>
  %v = mha.input "value" : tensor<2x3x7x9xf32>
  // expected-error @+1 {{q has Lq = 6 but the kernel is for Lq = 5}}
  %o = mha.attention %q, %k, %v {scale = 0.5, layout = #mha.layout<bhsd>} : tensor<2x6x6x8xf32>, tensor<2x3x7x8xf32>, tensor<2x3x7x9xf32> -> tensor<2x6x5x9xf32>
  mha.return %o as ["output"] : tensor<2x6x5x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  %lengths = mha.input "key_lengths" : tensor<7xi32>
  // expected-error @+1 {{key_lengths has B = 7 but the kernel is for B = 2}}
  %o = mha.attention %q, %k, %v key_lengths(%lengths : tensor<7xi32>) {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  %offset = mha.input "query_offset" : tensor<7xi32>
  // expected-error @+1 {{query_offset has B = 7 but the kernel is for B = 2}}
  %o = mha.attention %q, %k, %v query_offset(%offset : tensor<7xi32>) {scale = 0.5, offset = #mha.offset<input>} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{the offset is an input but no tensor gives it}}
  %o = mha.attention %q, %k, %v {scale = 0.5, offset = #mha.offset<input>} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  %offset = mha.input "query_offset" : tensor<2xi32>
  // expected-error @+1 {{a query_offset tensor needs the offset `input`}}
  %o = mha.attention %q, %k, %v query_offset(%offset : tensor<2xi32>) {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{lse must be [2, 6, 5], not 'tensor<2x5x6xf32>'}}
  %o, %lse = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32> lse tensor<2x5x6xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{weights must be [2, 6, 5, 7], not 'tensor<2x6x7x5xf32>'}}
  %o, %w = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32> weights tensor<2x6x7x5xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <22369622, 22369622> keys <7, 7> {
  %q = mha.input "query" : tensor<2x22369622x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{q [B, Lq, H, D] has 2^31 elements or more: 2 * 22369622 * 6 * 8}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x22369622x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x22369622x6x9xf32>
  mha.return %o as ["output"] : tensor<2x22369622x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <1, 42000000> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x?x3x8xf32>
  %v = mha.input "value" : tensor<2x?x3x30xf32>
  // expected-error @+1 {{v [B, Lk, G, Dv] has 2^31 elements or more: 2 * 42000000 * 3 * 30}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x?x3x8xf32>, tensor<2x?x3x30xf32> -> tensor<2x5x6x30xf32>
  mha.return %o as ["output"] : tensor<2x5x6x30xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <20000, 20000> keys <10000, 10000> {
  %q = mha.input "query" : tensor<2x20000x6x8xf32>
  %k = mha.input "key" : tensor<2x10000x3x8xf32>
  %v = mha.input "value" : tensor<2x10000x3x9xf32>
  // expected-error @+1 {{weights [B, H, Lq, Lk] has 2^31 elements or more: 2 * 6 * 20000 * 10000}}
  %o, %w = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x20000x6x8xf32>, tensor<2x10000x3x8xf32>, tensor<2x10000x3x9xf32> -> tensor<2x20000x6x9xf32> weights tensor<2x6x20000x10000xf32>
  mha.return %o as ["output"] : tensor<2x20000x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %v = mha.input "value" : tensor<2x7x3x9xf32>
  // expected-error @+1 {{must be 4D tensor of 32-bit float}}
  %o = mha.attention %q, %k, %v {scale = 0.5} : tensor<2x5x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x9xf32> -> tensor<2x5x6x9xf32>
  mha.return %o as ["output"] : tensor<2x5x6x9xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x5x12xf32>
  %w = mha.weight "w_q" : tensor<32x13xf32>
  // expected-error @+1 {{the weight has 13 columns but the input has M = 12}}
  %q = mha.project %x, %w : (tensor<2x5x12xf32>, tensor<32x13xf32>) -> tensor<2x5x4x8xf32>
  mha.return %q as ["q"] : tensor<2x5x4x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x5x12xf32>
  %w = mha.weight "w_q" : tensor<30x12xf32>
  // expected-error @+1 {{the weight has 30 rows but the projection makes 4 heads of 8, which needs 32}}
  %q = mha.project %x, %w : (tensor<2x5x12xf32>, tensor<30x12xf32>) -> tensor<2x5x4x8xf32>
  mha.return %q as ["q"] : tensor<2x5x4x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x5x12xf32>
  %w = mha.weight "w_q" : tensor<32x12xf32>
  %b = mha.weight "b_q" : tensor<12xf32>
  // expected-error @+1 {{the bias has 12 elements but the weight has 32 rows}}
  %q = mha.project %x, %w, %b : (tensor<2x5x12xf32>, tensor<32x12xf32>, tensor<12xf32>) -> tensor<2x5x4x8xf32>
  mha.return %q as ["q"] : tensor<2x5x4x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x5x12xf32>
  %w = mha.weight "w_q" : tensor<32x12xf32>
  // expected-error @+1 {{the projection reads B = 2, S = 5 but makes B = 2, S = 6}}
  %q = mha.project %x, %w : (tensor<2x5x12xf32>, tensor<32x12xf32>) -> tensor<2x6x4x8xf32>
  mha.return %q as ["q"] : tensor<2x6x4x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x5x12xf32>
  %w = mha.weight "w_q" : tensor<32x12xf32>
  // expected-error @+1 {{the projection reads 'f32' but makes 'bf16'}}
  %q = mha.project %x, %w : (tensor<2x5x12xf32>, tensor<32x12xf32>) -> tensor<2x5x4x8xbf16>
  mha.return %q as ["q"] : tensor<2x5x4x8xbf16>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x5x12xf32>
  %w = mha.weight "w_q" : tensor<32x12xf32>
  // expected-error @+1 {{the heads and the width of a projection must be fixed numbers}}
  %q = mha.project %x, %w : (tensor<2x5x12xf32>, tensor<32x12xf32>) -> tensor<2x5x?x8xf32>
  mha.return %q as ["q"] : tensor<2x5x?x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x5x12xf32>
  %w0 = mha.weight "w0" : tensor<32x12xf32>
  // expected-error @+1 {{a merged projection needs one weight, one entry of `biased` and one of `weight_scales` for each of its 2 results}}
  %q:2 = mha.project_merged %x weights(%w0) {biased = array<i1: false, false>, weight_scales = array<f64: 1.0, 1.0>} : (tensor<2x5x12xf32>, tensor<32x12xf32>) -> (tensor<2x5x4x8xf32>, tensor<2x5x2x8xf32>)
  mha.return %q#0 as ["q"] : tensor<2x5x4x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x5x12xf32>
  %w0 = mha.weight "w0" : tensor<32x12xf32>
  %w1 = mha.weight "w1" : tensor<16x12xf32>
  // expected-error @+1 {{a merged projection needs one weight, one entry of `biased` and one of `weight_scales` for each of its 2 results}}
  %q:2 = mha.project_merged %x weights(%w0, %w1) {biased = array<i1: false>, weight_scales = array<f64: 1.0, 1.0>} : (tensor<2x5x12xf32>, tensor<32x12xf32>, tensor<16x12xf32>) -> (tensor<2x5x4x8xf32>, tensor<2x5x2x8xf32>)
  mha.return %q#0 as ["q"] : tensor<2x5x4x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x5x12xf32>
  %w0 = mha.weight "w0" : tensor<32x12xf32>
  %w1 = mha.weight "w1" : tensor<16x12xf32>
  // expected-error @+1 {{a merged projection needs one weight, one entry of `biased` and one of `weight_scales` for each of its 2 results}}
  %q:2 = mha.project_merged %x weights(%w0, %w1) {biased = array<i1: false, false>, weight_scales = array<f64: 1.0>} : (tensor<2x5x12xf32>, tensor<32x12xf32>, tensor<16x12xf32>) -> (tensor<2x5x4x8xf32>, tensor<2x5x2x8xf32>)
  mha.return %q#0 as ["q"] : tensor<2x5x4x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x5x12xf32>
  %w0 = mha.weight "w0" : tensor<32x12xf32>
  %w1 = mha.weight "w1" : tensor<16x12xf32>
  %b0 = mha.weight "b0" : tensor<32xf32>
  // expected-error @+1 {{`biased` does not count the 1 biases}}
  %q:2 = mha.project_merged %x weights(%w0, %w1) biases(%b0) {biased = array<i1: false, false>, weight_scales = array<f64: 1.0, 1.0>} : (tensor<2x5x12xf32>, tensor<32x12xf32>, tensor<16x12xf32>, tensor<32xf32>) -> (tensor<2x5x4x8xf32>, tensor<2x5x2x8xf32>)
  mha.return %q#0 as ["q"] : tensor<2x5x4x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x5x12xf32>
  %w0 = mha.weight "w0" : tensor<32x12xf32>
  %w1 = mha.weight "w1" : tensor<16x12xf32>
  // expected-error @+1 {{parts of a merged projection have one width, not 8 and 4}}
  %q:2 = mha.project_merged %x weights(%w0, %w1) {biased = array<i1: false, false>, weight_scales = array<f64: 1.0, 1.0>} : (tensor<2x5x12xf32>, tensor<32x12xf32>, tensor<16x12xf32>) -> (tensor<2x5x4x8xf32>, tensor<2x5x4x4xf32>)
  mha.return %q#0 as ["q"] : tensor<2x5x4x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x5x12xf32>
  %w0 = mha.weight "w0" : tensor<32x12xf32>
  %w1 = mha.weight "w1" : tensor<15x12xf32>
  // expected-error @+1 {{the weight has 15 rows but the projection makes 2 heads of 8, which needs 16}}
  %q:2 = mha.project_merged %x weights(%w0, %w1) {biased = array<i1: false, false>, weight_scales = array<f64: 1.0, 1.0>} : (tensor<2x5x12xf32>, tensor<32x12xf32>, tensor<15x12xf32>) -> (tensor<2x5x4x8xf32>, tensor<2x5x2x8xf32>)
  mha.return %q#0 as ["q"] : tensor<2x5x4x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x5x12xf32>
  %w0 = mha.weight "w0" : tensor<32x12xf32>
  %w1 = mha.weight "w1" : tensor<16x12xf32>
  %b0 = mha.weight "b0" : tensor<32xf32>
  // expected-error @+1 {{the bias has 32 elements but the weight has 16 rows}}
  %q:2 = mha.project_merged %x weights(%w0, %w1) biases(%b0) {biased = array<i1: false, true>, weight_scales = array<f64: 1.0, 1.0>} : (tensor<2x5x12xf32>, tensor<32x12xf32>, tensor<16x12xf32>, tensor<32xf32>) -> (tensor<2x5x4x8xf32>, tensor<2x5x2x8xf32>)
  mha.return %q#0 as ["q"] : tensor<2x5x4x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %o = mha.input "o" : tensor<2x5x4x8xf32>
  %w = mha.weight "w_o" : tensor<12x30xf32>
  // expected-error @+1 {{the weight has 30 columns but 4 heads of 8 are laid end to end}}
  %y = mha.project_out %o, %w : (tensor<2x5x4x8xf32>, tensor<12x30xf32>) -> tensor<2x5x12xf32>
  mha.return %y as ["output"] : tensor<2x5x12xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %o = mha.input "o" : tensor<2x5x4x8xf32>
  %w = mha.weight "w_o" : tensor<13x32xf32>
  // expected-error @+1 {{the weight has 13 rows but the output has M = 12}}
  %y = mha.project_out %o, %w : (tensor<2x5x4x8xf32>, tensor<13x32xf32>) -> tensor<2x5x12xf32>
  mha.return %y as ["output"] : tensor<2x5x12xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %o = mha.input "o" : tensor<2x5x4x8xf32>
  %w = mha.weight "w_o" : tensor<12x32xf32>
  %b = mha.weight "b_o" : tensor<32xf32>
  // expected-error @+1 {{the bias has 32 elements but the weight has 12 rows}}
  %y = mha.project_out %o, %w, %b : (tensor<2x5x4x8xf32>, tensor<12x32xf32>, tensor<32xf32>) -> tensor<2x5x12xf32>
  mha.return %y as ["output"] : tensor<2x5x12xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %o = mha.input "o" : tensor<2x5x4x8xf32>
  %w = mha.weight "w_o" : tensor<12x32xf32>
  // expected-error @+1 {{the projection reads B = 2, S = 5 but makes B = 2, S = 4}}
  %y = mha.project_out %o, %w : (tensor<2x5x4x8xf32>, tensor<12x32xf32>) -> tensor<2x4x12xf32>
  mha.return %y as ["output"] : tensor<2x4x12xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <1, 100000> keys <7, 7> {
  %o = mha.input "o" : tensor<2x?x4x8xf32>
  %w = mha.weight "w_o" : tensor<20000x32xf32>
  // expected-error @+1 {{the output has 2^31 elements or more at B = 2, Lq = 100000, M = 20000}}
  %y = mha.project_out %o, %w : (tensor<2x?x4x8xf32>, tensor<20000x32xf32>) -> tensor<2x?x20000xf32>
  mha.return %y as ["output"] : tensor<2x?x20000xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %w = mha.input "x" : tensor<2x3xf32>
  // expected-error @+1 {{the name "x" is taken by an earlier input or weight}}
  %x = mha.weight "x" : tensor<2x3xf32>
  mha.return %w, %x as ["a", "b"] : tensor<2x3xf32>, tensor<2x3xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  // expected-error @+1 {{weight "w_q" is 65536 x 32768; a tensor has at least 1 and fewer than 2^31 elements}}
  %w = mha.weight "w_q" : tensor<65536x32768xf32>
  mha.return %w as ["a"] : tensor<65536x32768xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  // expected-error @+1 {{the shape of a weight must be fixed}}
  %w = mha.weight "w_q" : tensor<?x8xf32>
  mha.return %w as ["a"] : tensor<?x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x3xf32>
  // expected-error @+1 {{1 tensors are returned under 2 names}}
  mha.return %x as ["a", "b"] : tensor<2x3xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %x = mha.input "x" : tensor<2x3xf32>
  // expected-error @+1 {{two tensors are returned as "a"}}
  mha.return %x, %x as ["a", "a"] : tensor<2x3xf32>, tensor<2x3xf32>
}

// -----

// expected-error @+1 {{keys are 7 but `self` says that they are the queries: 5}}
mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> self {
  %x = mha.input "x" : tensor<2x3xf32>
  mha.return %x as ["x"] : tensor<2x3xf32>
}

// -----

// expected-error @+1 {{a kernel must end with mha.return}}
mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  "other.end"() : () -> ()
}

// -----

// expected-error @+1 {{a range needs 1 <= min <= max < 2^31, not 0 and 4}}
mha.kernel @k batch <2, 2> queries <0, 4> keys <7, 7> {
}

// -----

// expected-error @+1 {{a range needs 1 <= min <= max < 2^31, not 5 and 4}}
mha.kernel @k batch <2, 2> queries <5, 4> keys <7, 7> {
}

// -----

// expected-error @+1 {{a range needs 1 <= min <= max < 2^31, not 1 and 2147483648}}
mha.kernel @k batch <2, 2> queries <1, 2147483648> keys <7, 7> {
}

// -----

// expected-error @+1 {{expects parent op 'mha.kernel'}}
%x = mha.input "x" : tensor<2x3xf32>

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  // expected-error @+1 {{the window's left is -3000000000: its size must be below 2^31}}
  %o = mha.attention %q, %k, %k {scale = 0.5, left = -3000000000} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x8xf32> -> tensor<2x5x6x8xf32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  // expected-error @+1 {{the window's right is 2147483648}}
  %o = mha.attention %q, %k, %k {scale = 0.5, right = 2147483648} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x8xf32> -> tensor<2x5x6x8xf32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %m = mha.input "mask" : tensor<2x6x5x5xi1>
  // expected-error @+1 {{mask must be [2, 6, 5, 7], not 'tensor<2x6x5x5xi1>'}}
  %o = mha.attention %q, %k, %k mask(%m : tensor<2x6x5x5xi1>) {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x8xf32> -> tensor<2x5x6x8xf32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %s = mha.input "key_starts" : tensor<3xi32>
  // expected-error @+1 {{key_starts has B = 3 but the kernel is for B = 2}}
  %o = mha.attention %q, %k, %k key_starts(%s : tensor<3xi32>) {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x8xf32> -> tensor<2x5x6x8xf32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %s = mha.input "sequence_starts" : tensor<3xi32>
  // expected-error @+1 {{only a packed kernel has sequence_starts}}
  %o = mha.attention %q, %k, %k sequence_starts(%s : tensor<3xi32>) {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x8xf32> -> tensor<2x5x6x8xf32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <5, 5> self packed {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x5x6x8xf32>
  // expected-error @+1 {{the kernel is packed but no tensor gives sequence_starts}}
  %o = mha.attention %q, %k, %k {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x5x6x8xf32>, tensor<2x5x6x8xf32> -> tensor<2x5x6x8xf32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <5, 5> self packed {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x5x6x8xf32>
  %s = mha.input "sequence_starts" : tensor<2xi32>
  // expected-error @+1 {{sequence_starts has B + 1 = 2 but the kernel is for B + 1 = 3}}
  %o = mha.attention %q, %k, %k sequence_starts(%s : tensor<2xi32>) {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x5x6x8xf32>, tensor<2x5x6x8xf32> -> tensor<2x5x6x8xf32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> packed {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  %s = mha.input "sequence_starts" : tensor<3xi32>
  // expected-error @+1 {{packed sequences need Lk = Lq and the layout bshd}}
  %o = mha.attention %q, %k, %k sequence_starts(%s : tensor<3xi32>) {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x8xf32> -> tensor<2x5x6x8xf32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  // expected-error @+1 {{mean_weights must be [2, 5, 7], not 'tensor<2x6x5xf32>'}}
  %o, %w = mha.attention %q, %k, %k {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x8xf32> -> tensor<2x5x6x8xf32> mean_weights tensor<2x6x5xf32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  // expected-error @+1 {{scores_masked must be [2, 6, 5, 7]}}
  %o, %w = mha.attention %q, %k, %k {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x8xf32> -> tensor<2x5x6x8xf32> scores_masked tensor<2x6x7x5xf32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  // expected-error @+1 {{top_weights and top_indices come together}}
  %o, %w = mha.attention %q, %k, %k {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x8xf32> -> tensor<2x5x6x8xf32> top_weights tensor<2x6x5x3xf32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  // expected-error @+1 {{top_k is 8 of at most 7 keys}}
  %o, %w, %i = mha.attention %q, %k, %k {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x8xf32> -> tensor<2x5x6x8xf32> top_weights tensor<2x6x5x8xf32> top_indices tensor<2x6x5x8xi32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x5x6x8xf32>
  %k = mha.input "key" : tensor<2x7x3x8xf32>
  // expected-error @+1 {{top_indices must be [2, 6, 5, 3]}}
  %o, %w, %i = mha.attention %q, %k, %k {scale = 0.5} : tensor<2x5x6x8xf32>, tensor<2x7x3x8xf32>, tensor<2x7x3x8xf32> -> tensor<2x5x6x8xf32> top_weights tensor<2x6x5x3xf32> top_indices tensor<2x6x5x4xi32>
  mha.return %o as ["output"] : tensor<2x5x6x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <5, 5> keys <5, 5> {
  %q = mha.input "query" : tensor<1x5x4x8xf32>
  %w = mha.input "q_norm" : tensor<9xf32>
  %u = mha.input "k_norm" : tensor<8xf32>
  // expected-error @+1 {{the weight of the norm has 9 elements but it is of 4 heads of 8, each by itself}}
  %n = mha.rms_norm %q, %w {eps = 1.0e-06} : tensor<1x5x4x8xf32>, tensor<9xf32>
  mha.return %q as ["output"] : tensor<1x5x4x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <5, 5> keys <5, 5> {
  %q = mha.input "query" : tensor<1x5x4x8xf32>
  %w = mha.input "q_norm" : tensor<9xf32>
  %u = mha.input "k_norm" : tensor<8xf32>
  // expected-error @+1 {{the weight of the norm has 8 elements but it is of 4 heads of 8, all of them}}
  %n = mha.rms_norm %q, %u {all, eps = 1.0e-06} : tensor<1x5x4x8xf32>, tensor<8xf32>
  mha.return %q as ["output"] : tensor<1x5x4x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <5, 5> keys <5, 5> {
  %q = mha.input "query" : tensor<1x5x4x8xf32>
  %w = mha.input "q_norm" : tensor<9xf32>
  %u = mha.input "k_norm" : tensor<8xf32>
  // expected-error @+1 {{eps of a norm must be above 0}}
  %n = mha.rms_norm %q, %u {eps = 0.0} : tensor<1x5x4x8xf32>, tensor<8xf32>
  mha.return %q as ["output"] : tensor<1x5x4x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <5, 5> keys <5, 5> {
  %q = mha.input "query" : tensor<1x5x4x8xf32>
  %w = mha.input "q_norm" : tensor<9xf32>
  %u = mha.input "k_norm" : tensor<8xf32>
  // expected-error @+1 {{weight_offset must be 0 or 1, not 2}}
  %n = mha.rms_norm %q, %u {eps = 1.0, weight_offset = 2} : tensor<1x5x4x8xf32>, tensor<8xf32>
  mha.return %q as ["output"] : tensor<1x5x4x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <5, 5> keys <5, 5> {
  %q = mha.input "query" : tensor<1x5x4x8xf32>
  %w = mha.input "q_norm" : tensor<9xf32>
  %u = mha.input "k_norm" : tensor<8xf32>
  // expected-error @+1 {{5 frequencies turn 10 elements of a row of 8}}
  %n = mha.rotate %q {inv_freq = array<f64: 1.0, 1.0, 1.0, 1.0, 1.0>} : tensor<1x5x4x8xf32>
  mha.return %q as ["output"] : tensor<1x5x4x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <5, 5> keys <5, 5> {
  %q = mha.input "query" : tensor<1x5x4x8xf32>
  %w = mha.input "q_norm" : tensor<9xf32>
  %u = mha.input "k_norm" : tensor<8xf32>
  // expected-error @+1 {{0 frequencies turn 0 elements of a row of 8}}
  %n = mha.rotate %q {inv_freq = array<f64>} : tensor<1x5x4x8xf32>
  mha.return %q as ["output"] : tensor<1x5x4x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <5, 5> keys <5, 5> {
  %q = mha.input "query" : tensor<1x5x4x8xf32>
  %w = mha.input "q_norm" : tensor<9xf32>
  %u = mha.input "k_norm" : tensor<8xf32>
  // expected-error @+1 {{an inverse frequency is -1.000000e+00; it must be finite and at least 0}}
  %n = mha.rotate %q {inv_freq = array<f64: -1.0>} : tensor<1x5x4x8xf32>
  mha.return %q as ["output"] : tensor<1x5x4x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <5, 5> keys <5, 5> {
  %q = mha.input "query" : tensor<1x5x4x8xf32>
  %w = mha.input "q_norm" : tensor<9xf32>
  %u = mha.input "k_norm" : tensor<8xf32>
  // expected-error @+1 {{attention_factor is 0.000000e+00; it must be finite and above 0}}
  %n = mha.rotate %q {attention_factor = 0.0, inv_freq = array<f64: 1.0>} : tensor<1x5x4x8xf32>
  mha.return %q as ["output"] : tensor<1x5x4x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <5, 5> keys <5, 5> {
  %q = mha.input "query" : tensor<1x5x4x8xf32>
  %w = mha.input "q_norm" : tensor<9xf32>
  %u = mha.input "k_norm" : tensor<8xf32>
  // expected-error @+1 {{pruned heads ascend from 0 to below H = 4; 1 comes after 1}}
  %n = mha.attention %q, %q, %q {scale = 0.5, pruned = array<i64: 1, 1>} : tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32> -> tensor<1x5x4x8xf32>
  mha.return %q as ["output"] : tensor<1x5x4x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <5, 5> keys <5, 5> {
  %q = mha.input "query" : tensor<1x5x4x8xf32>
  %w = mha.input "q_norm" : tensor<9xf32>
  %u = mha.input "k_norm" : tensor<8xf32>
  // expected-error @+1 {{pruned heads ascend from 0 to below H = 4; 4 comes after -1}}
  %n = mha.attention %q, %q, %q {scale = 0.5, pruned = array<i64: 4>} : tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32> -> tensor<1x5x4x8xf32>
  mha.return %q as ["output"] : tensor<1x5x4x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <5, 5> keys <5, 5> {
  %q = mha.input "query" : tensor<1x5x4x8xf32>
  %w = mha.input "q_norm" : tensor<9xf32>
  %u = mha.input "k_norm" : tensor<8xf32>
  // expected-error @+1 {{no head is left}}
  %n = mha.attention %q, %q, %q {scale = 0.5, pruned = array<i64: 0, 1, 2, 3>} : tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32>, tensor<1x5x4x8xf32> -> tensor<1x5x4x8xf32>
  mha.return %q as ["output"] : tensor<1x5x4x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <1, 4> keys <1, 64> {
  %k = mha.input "key" : tensor<1x?x2x8xf32>
  // expected-error @+1 {{a cache of 32 keys needs a kernel whose keys are at most as many, not 1..64}}
  %a = mha.append %k {capacity = 32} : tensor<1x?x2x8xf32> -> tensor<1x?x2x8xf32>
  mha.return %k as ["output"] : tensor<1x?x2x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <1, 4> keys <1, 64> {
  %k = mha.input "key" : tensor<1x?x2x8xf32>
  // expected-error @+1 {{a page of 24 keys: it must be a multiple of 16}}
  %a = mha.append %k {capacity = 64, page = 24} : tensor<1x?x2x8xf32> -> tensor<1x?x2x8xf32>
  mha.return %k as ["output"] : tensor<1x?x2x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <1, 4> keys <1, 64> {
  %k = mha.input "key" : tensor<1x?x2x8xf32>
  // expected-error @+1 {{do not go behind those of}}
  %a = mha.append %k {capacity = 64} : tensor<1x?x2x8xf32> -> tensor<1x?x2x4xf32>
  mha.return %k as ["output"] : tensor<1x?x2x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <1, 4> keys <1, 64> {
  %s = mha.input "key" : tensor<1x7x2x8xf32>
  // expected-error @+1 {{a call appends one row for each of its Lq = 1..4 queries, not 7}}
  %a = mha.append %s {capacity = 64} : tensor<1x7x2x8xf32> -> tensor<1x?x2x8xf32>
  mha.return %s as ["output"] : tensor<1x7x2x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <1, 4> keys <1, 64> {
  %s = mha.input "key" : tensor<1x7x2x8xf32>
  // expected-error @+1 {{a call appends Ln = 8 rows, not 7}}
  %a = mha.append %s {capacity = 64, brings = #mha.range<8, 8>} : tensor<1x7x2x8xf32> -> tensor<1x?x2x8xf32>
  mha.return %s as ["output"] : tensor<1x7x2x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <1, 4> keys <1, 64> {
  %s = mha.input "key" : tensor<1x7x2x8xf32>
  // expected-error @+1 {{where a call brings rows of its own number, it may bring none anyway}}
  %a = mha.append %s {capacity = 64, brings = #mha.range<7, 7>, or_none} : tensor<1x7x2x8xf32> -> tensor<1x?x2x8xf32>
  mha.return %s as ["output"] : tensor<1x7x2x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <1, 4> keys <1, 64> packed {
  %s = mha.input "key" : tensor<1x7x2x8xf32>
  // expected-error @+1 {{a packed call brings one row for each query, or none}}
  %a = mha.append %s {capacity = 64, brings = #mha.range<7, 7>} : tensor<1x7x2x8xf32> -> tensor<1x?x2x8xf32>
  mha.return %s as ["output"] : tensor<1x7x2x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <1, 4> keys <1, 64> {
  %s = mha.input "key" : tensor<1x?x2x8xf32>
  // expected-error @+1 {{a cache of 64 keys has no room for 65 new ones}}
  %a = mha.append %s {capacity = 64, brings = #mha.range<1, 65>} : tensor<1x?x2x8xf32> -> tensor<1x?x2x8xf32>
  mha.return %s as ["output"] : tensor<1x?x2x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <1, 4> keys <1, 64> {
  %k = mha.input "key" : tensor<1x?x2x8xf32>
  %a = mha.append %k {capacity = 64} : tensor<1x?x2x8xf32> -> tensor<1x?x2x8xf32>
  %b = mha.append %k {capacity = 64, or_none} : tensor<1x?x2x8xf32> -> tensor<1x?x2x8xf32>
  // expected-error @+1 {{k and v come from one cache, or neither from any}}
  %o = mha.attention %k, %a, %b {scale = 0.5, offset = #mha.offset<end>} : tensor<1x?x2x8xf32>, tensor<1x?x2x8xf32>, tensor<1x?x2x8xf32> -> tensor<1x?x2x8xf32>
  mha.return %o as ["output"] : tensor<1x?x2x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <1, 4> keys <1, 64> {
  %k = mha.input "key" : tensor<1x?x2x8xf32>
  %a = mha.append %k {capacity = 64} : tensor<1x?x2x8xf32> -> tensor<1x?x2x8xf32>
  // expected-error @+1 {{k and v come from one cache, or neither from any}}
  %o = mha.attention %k, %a, %k {scale = 0.5, offset = #mha.offset<end>} : tensor<1x?x2x8xf32>, tensor<1x?x2x8xf32>, tensor<1x?x2x8xf32> -> tensor<1x?x2x8xf32>
  mha.return %o as ["output"] : tensor<1x?x2x8xf32>
}

// -----

mha.kernel @k batch <1, 1> queries <1, 4> keys <1, 64> {
  %k = mha.input "key" : tensor<1x?x2x8xf32>
  %a = mha.append %k {capacity = 64} : tensor<1x?x2x8xf32> -> tensor<1x?x2x8xf32>
  // expected-error @+1 {{with a cache the queries stand behind what it holds}}
  %o = mha.attention %k, %a, %a {scale = 0.5, offset = #mha.offset<start>} : tensor<1x?x2x8xf32>, tensor<1x?x2x8xf32>, tensor<1x?x2x8xf32> -> tensor<1x?x2x8xf32>
  mha.return %o as ["output"] : tensor<1x?x2x8xf32>
}
