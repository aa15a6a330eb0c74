// RUN: mha-opt %s --canonicalize --mha-print-plan -o /dev/null | FileCheck %s

// CHECK:      sentence: block, B = 1..4, Lq = 8..512, Lk = Lq, M = 12
// CHECK-NEXT:   project x: (w_q + b_q) * 0.125 (4 x 8), w_k (2 x 8)
// CHECK-NEXT:   project x: w_v + b_v (2 x 6)
// CHECK-NEXT:   attention: H = 4, G = 2, D = 8, Dv = 6, scale 1, key_lengths
// CHECK-NEXT:   project out: w_o
// CHECK-NEXT:   returns output, lse
mha.kernel @sentence batch <1, 4> queries <8, 512> keys <8, 512> self {
  %x = mha.input "x" : tensor<?x?x12xf32>
  %lengths = mha.input "key_lengths" : tensor<?xi32>
  %w_q = mha.weight "w_q" : tensor<32x12xf32>
  %b_q = mha.weight "b_q" : tensor<32xf32>
  %w_k = mha.weight "w_k" : tensor<16x12xf32>
  %w_v = mha.weight "w_v" : tensor<12x12xf32>
  %b_v = mha.weight "b_v" : tensor<12xf32>
  %w_o = mha.weight "w_o" : tensor<12x24xf32>
  %q = mha.project %x, %w_q, %b_q : (tensor<?x?x12xf32>, tensor<32x12xf32>, tensor<32xf32>) -> tensor<?x?x4x8xf32>
  %k = mha.project %x, %w_k : (tensor<?x?x12xf32>, tensor<16x12xf32>) -> tensor<?x?x2x8xf32>
  %v = mha.project %x, %w_v, %b_v : (tensor<?x?x12xf32>, tensor<12x12xf32>, tensor<12xf32>) -> tensor<?x?x2x6xf32>
  %o, %lse = mha.attention %q, %k, %v key_lengths(%lengths : tensor<?xi32>) {scale = 0.125} : tensor<?x?x4x8xf32>, tensor<?x?x2x8xf32>, tensor<?x?x2x6xf32> -> tensor<?x?x4x6xf32> lse tensor<?x4x?xf32>
  %y = mha.project_out %o, %w_o : (tensor<?x?x4x6xf32>, tensor<12x24xf32>) -> tensor<?x?x12xf32>
  mha.return %y, %lse as ["output", "lse"] : tensor<?x?x12xf32>, tensor<?x4x?xf32>
}

// CHECK-NEXT: bare: attention, bhsd, B = 2, Lq = 5, Lk = 7
// CHECK-NEXT:   attention: H = 6, G = 3, D = 8, Dv = 9, scale 0.5, causal, queries end with the keys
// CHECK-NEXT:   returns output
mha.kernel @bare batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x6x5x8xf32>
  %k = mha.input "key" : tensor<2x3x7x8xf32>
  %v = mha.input "value" : tensor<2x3x7x9xf32>
  %o = mha.attention %q, %k, %v {layout = #mha.layout<bhsd>, scale = 0.5, causal, offset = #mha.offset<end>} : tensor<2x6x5x8xf32>, tensor<2x3x7x8xf32>, tensor<2x3x7x9xf32> -> tensor<2x6x5x9xf32>
  mha.return %o as ["output"] : tensor<2x6x5x9xf32>
}

// CHECK-NEXT: cached: attention, bshd, B = 1, Lq = 2, Lk = 2..64, cache of 64 in pages of 16
// CHECK-NEXT:   attention: H = 4, G = 2, D = 8, Dv = 8, scale 0.5, queries end with the keys
// CHECK-NEXT:   returns output
mha.kernel @cached batch <1, 1> queries <2, 2> keys <2, 64> {
  %q = mha.input "query" : tensor<1x2x4x8xf32>
  %k = mha.input "key" : tensor<1x2x2x8xf32>
  %v = mha.input "value" : tensor<1x2x2x8xf32>
  %all_k = mha.append %k {capacity = 64, page = 16} : tensor<1x2x2x8xf32> -> tensor<1x?x2x8xf32>
  %all_v = mha.append %v {capacity = 64, page = 16} : tensor<1x2x2x8xf32> -> tensor<1x?x2x8xf32>
  %o = mha.attention %q, %all_k, %all_v {scale = 0.5, offset = #mha.offset<end>} : tensor<1x2x4x8xf32>, tensor<1x?x2x8xf32>, tensor<1x?x2x8xf32> -> tensor<1x2x4x8xf32>
  mha.return %o as ["output"] : tensor<1x2x4x8xf32>
}

// Keys of a second input: cached ones, and new ones of their own number.
// CHECK-NEXT: crossed: block, B = 1, Lq = 2, Lk = 1..64, M = 8, cache of 64, Ln = 7..9 or 0
// CHECK-NEXT:   project x: w_q * 0.5 (2 x 4)
// CHECK-NEXT:   project memory: w_k (2 x 4), w_v (2 x 4)
// CHECK-NEXT:   attention: H = 2, G = 2, D = 4, Dv = 4, scale 1, queries end with the keys
// CHECK-NEXT:   project out: w_o
// CHECK-NEXT:   returns output
mha.kernel @crossed batch <1, 1> queries <2, 2> keys <1, 64> {
  %x = mha.input "x" : tensor<1x2x8xf32>
  %m = mha.input "memory" : tensor<1x?x8xf32>
  %w_q = mha.weight "w_q" : tensor<8x8xf32>
  %w_k = mha.weight "w_k" : tensor<8x8xf32>
  %w_v = mha.weight "w_v" : tensor<8x8xf32>
  %w_o = mha.weight "w_o" : tensor<8x8xf32>
  %q = mha.project %x, %w_q : (tensor<1x2x8xf32>, tensor<8x8xf32>) -> tensor<1x2x2x4xf32>
  %k = mha.project %m, %w_k : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x2x4xf32>
  %v = mha.project %m, %w_v : (tensor<1x?x8xf32>, tensor<8x8xf32>) -> tensor<1x?x2x4xf32>
  %all_k = mha.append %k {capacity = 64, brings = #mha.range<7, 9>} : tensor<1x?x2x4xf32> -> tensor<1x?x2x4xf32>
  %all_v = mha.append %v {capacity = 64, brings = #mha.range<7, 9>} : tensor<1x?x2x4xf32> -> tensor<1x?x2x4xf32>
  %o = mha.attention %q, %all_k, %all_v {scale = 0.5, offset = #mha.offset<end>} : tensor<1x2x2x4xf32>, tensor<1x?x2x4xf32>, tensor<1x?x2x4xf32> -> tensor<1x2x2x4xf32>
  %y = mha.project_out %o, %w_o : (tensor<1x2x2x4xf32>, tensor<8x8xf32>) -> tensor<1x2x8xf32>
  mha.return %y as ["output"] : tensor<1x2x8xf32>
}
