// Every operation is parsed back from what it prints: pretty and generic form alike.
// RUN: mha-opt %s | mha-opt | FileCheck %s
// RUN: mha-opt %s -mlir-print-op-generic | mha-opt | FileCheck %s

// CHECK-LABEL: mha.kernel @block batch <1, 4> queries <8, 512> keys <8, 512> self {
mha.kernel @block batch <1, 4> queries <8, 512> keys <8, 512> self {
  // CHECK: %[[X:.*]] = mha.input "x" : tensor<?x?x48xf32>
  %x = mha.input "x" : tensor<?x?x48xf32>
  // CHECK: %[[W_Q:.*]] = mha.weight "w_q" : tensor<64x48xf32>
  %0 = mha.weight "w_q" : tensor<64x48xf32>
  // CHECK: %[[B_Q:.*]] = mha.weight "b_q" : tensor<64xf32>
  %1 = mha.weight "b_q" : tensor<64xf32>
  // CHECK: %[[W_K:.*]] = mha.weight "w_k" : tensor<32x48xf32>
  %2 = mha.weight "w_k" : tensor<32x48xf32>
  // CHECK: %[[W_V:.*]] = mha.weight "w_v" : tensor<32x48xf32>
  %3 = mha.weight "w_v" : tensor<32x48xf32>
  // CHECK: %[[B_V:.*]] = mha.weight "b_v" : tensor<32xf32>
  %4 = mha.weight "b_v" : tensor<32xf32>
  // CHECK: %[[W_O:.*]] = mha.weight "w_o" : tensor<48x64xf32>
  %5 = mha.weight "w_o" : tensor<48x64xf32>
  // A projection is named after its weight; a weight_scale of 1 is not printed.
  // CHECK: %q = mha.project %[[X]], %[[W_Q]], %[[B_Q]] {weight_scale = 2.500000e-01 : f64} :
  %q = mha.project %x, %0, %1 {weight_scale = 0.25} : (tensor<?x?x48xf32>, tensor<64x48xf32>, tensor<64xf32>) -> tensor<?x?x4x16xf32>
  // CHECK: %k, %v = mha.project_merged %[[X]] weights(%[[W_K]], %[[W_V]]) biases(%[[B_V]])
  // CHECK-SAME: biased = array<i1: false, true>
  // CHECK-SAME: weight_scales = array<f64: 1.000000e+00, 2.000000e+00>
  %k, %v = mha.project_merged %x weights(%2, %3) biases(%4) {biased = array<i1: false, true>, weight_scales = array<f64: 1.0, 2.0>} : (tensor<?x?x48xf32>, tensor<32x48xf32>, tensor<32x48xf32>, tensor<32xf32>) -> (tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32>)
  %lengths = mha.input "key_lengths" : tensor<?xi32>
  %offsets = mha.input "query_offset" : tensor<?xi32>
  // CHECK: %output, %lse, %weights = mha.attention %q, %k, %v key_lengths(%key_lengths : tensor<?xi32>)
  // CHECK-SAME: query_offset(%query_offset : tensor<?xi32>)
  // CHECK-SAME: {causal, offset = #mha.offset<input>, scale = 1.000000e-01 : f64}
  // CHECK-SAME: -> tensor<?x?x4x16xf32> lse tensor<?x4x?xf32> weights tensor<?x4x?x?xf32>
  %o, %lse, %weights = mha.attention %q, %k, %v key_lengths(%lengths : tensor<?xi32>) query_offset(%offsets : tensor<?xi32>) {causal, offset = #mha.offset<input>, scale = 0.1} : tensor<?x?x4x16xf32>, tensor<?x?x2x16xf32>, tensor<?x?x2x16xf32> -> tensor<?x?x4x16xf32> lse tensor<?x4x?xf32> weights tensor<?x4x?x?xf32>
  // CHECK: %y = mha.project_out %output, %[[W_O]] :
  %y = mha.project_out %o, %5 : (tensor<?x?x4x16xf32>, tensor<48x64xf32>) -> tensor<?x?x48xf32>
  // CHECK: mha.return %y, %weights, %lse as ["output", "weights", "lse"]
  mha.return %y, %weights, %lse as ["output", "weights", "lse"] : tensor<?x?x48xf32>, tensor<?x4x?x?xf32>, tensor<?x4x?xf32>
}

// CHECK-LABEL: mha.kernel @bhsd batch <2, 2> queries <5, 5> keys <7, 7> {
mha.kernel @bhsd batch <2, 2> queries <5, 5> keys <7, 7> {
  %q = mha.input "query" : tensor<2x6x5x8xf32>
  %k = mha.input "key" : tensor<2x3x7x8xf32>
  %v = mha.input "value" : tensor<2x3x7x9xf32>
  // CHECK: mha.attention %query, %key, %value {layout = #mha.layout<bhsd>, scale = 5.000000e-01 : f64}
  %o = mha.attention %q, %k, %v {layout = #mha.layout<bhsd>, scale = 0.5} : tensor<2x6x5x8xf32>, tensor<2x3x7x8xf32>, tensor<2x3x7x9xf32> -> tensor<2x6x5x9xf32>
  mha.return %o as ["output"] : tensor<2x6x5x9xf32>
}

// CHECK-LABEL: mha.kernel @everything batch <2, 2> queries <1, 5> keys <1, 5> self packed {
mha.kernel @everything batch <2, 2> queries <1, 5> keys <1, 5> self packed {
  %q = mha.input "query" : tensor<2x?x4x8xf32>
  %k = mha.input "key" : tensor<2x?x2x8xf32>
  %first = mha.input "key_starts" : tensor<2xi32>
  %starts = mha.input "sequence_starts" : tensor<3xi32>
  %m = mha.input "mask" : tensor<2x4x?x?xi1>
  // CHECK: %output, %lse, %weights, %mean_weights, %scores, %scores_masked, %top_weights, %top_indices = mha.attention
  // CHECK-SAME: key_starts(%key_starts : tensor<2xi32>) sequence_starts(%sequence_starts : tensor<3xi32>)
  // CHECK-SAME: mask(%mask : tensor<2x4x?x?xi1>) {left = 3 : i64, right = 2 : i64, scale = 5.000000e-01 : f64}
  // CHECK-SAME: mean_weights tensor<2x?x?xf32> scores tensor<2x4x?x?xf32> scores_masked tensor<2x4x?x?xf32> top_weights tensor<2x4x?x3xf32> top_indices tensor<2x4x?x3xi32>
  %o, %lse, %w, %mean, %s, %sm, %tw, %ti = mha.attention %q, %k, %k key_starts(%first : tensor<2xi32>) sequence_starts(%starts : tensor<3xi32>) mask(%m : tensor<2x4x?x?xi1>) {left = 3, right = 2, scale = 0.5} : tensor<2x?x4x8xf32>, tensor<2x?x2x8xf32>, tensor<2x?x2x8xf32> -> tensor<2x?x4x8xf32> lse tensor<2x4x?xf32> weights tensor<2x4x?x?xf32> mean_weights tensor<2x?x?xf32> scores tensor<2x4x?x?xf32> scores_masked tensor<2x4x?x?xf32> top_weights tensor<2x4x?x3xf32> top_indices tensor<2x4x?x3xi32>
  mha.return %o, %ti as ["output", "top_indices"] : tensor<2x?x4x8xf32>, tensor<2x4x?x3xi32>
}

// CHECK-LABEL: mha.kernel @rows batch <1, 1> queries <5, 5> keys <5, 5> self {
mha.kernel @rows batch <1, 1> queries <5, 5> keys <5, 5> self {
  %q = mha.input "query" : tensor<1x4x5x8xf32>
  %k = mha.input "key" : tensor<1x2x5x8xf32>
  %w = mha.input "q_norm" : tensor<32xf32>
  // CHECK: %normed = mha.rms_norm %query, %q_norm {all, eps = 2.500000e-01 : f64, layout = #mha.layout<bhsd>, weight_offset = 1 : i64} : tensor<1x4x5x8xf32>, tensor<32xf32>
  %n = mha.rms_norm %q, %w {all, eps = 0.25, layout = #mha.layout<bhsd>, weight_offset = 1} : tensor<1x4x5x8xf32>, tensor<32xf32>
  // CHECK: %rotated = mha.rotate %normed {attention_factor = 2.000000e+00 : f64, interleaved, inv_freq = array<f64: 1.000000e+00, 3.000000e-05>} : tensor<1x4x5x8xf32>
  %r = mha.rotate %n {attention_factor = 2.0, interleaved, inv_freq = array<f64: 1.0, 3.0e-5>} : tensor<1x4x5x8xf32>
  // CHECK: %rotated_0 = mha.rotate %key {inv_freq = array<f64: 1.000000e+00>} : tensor<1x2x5x8xf32>
  %s = mha.rotate %k {inv_freq = array<f64: 1.0>} : tensor<1x2x5x8xf32>
  // CHECK: mha.attention %rotated, %rotated_0, %key {layout = #mha.layout<bhsd>, pruned = array<i64: 0, 3>, scale = 5.000000e-01 : f64}
  %o = mha.attention %r, %s, %k {layout = #mha.layout<bhsd>, pruned = array<i64: 0, 3>, scale = 0.5} : tensor<1x4x5x8xf32>, tensor<1x2x5x8xf32>, tensor<1x2x5x8xf32> -> tensor<1x4x5x8xf32>
  mha.return %o as ["output"] : tensor<1x4x5x8xf32>
}

// CHECK-LABEL: mha.kernel @cached batch <1, 3> queries <1, 4> keys <1, 64> {
mha.kernel @cached batch <1, 3> queries <1, 4> keys <1, 64> {
  %q = mha.input "query" : tensor<?x4x?x8xf32>
  %k = mha.input "key" : tensor<?x2x?x8xf32>
  %v = mha.input "value" : tensor<?x2x?x6xf32>
  // CHECK: %all_key = mha.append %key {capacity = 64 : i64, layout = #mha.layout<bhsd>, page = 16 : i64} : tensor<?x2x?x8xf32> -> tensor<?x2x?x8xf32>
  %all_k = mha.append %k {capacity = 64, page = 16, layout = #mha.layout<bhsd>} : tensor<?x2x?x8xf32> -> tensor<?x2x?x8xf32>
  %all_v = mha.append %v {capacity = 64, page = 16, layout = #mha.layout<bhsd>} : tensor<?x2x?x6xf32> -> tensor<?x2x?x6xf32>
  // CHECK: mha.attention %query, %all_key, %all_value {causal
  %o = mha.attention %q, %all_k, %all_v {causal, layout = #mha.layout<bhsd>, offset = #mha.offset<end>, scale = 0.5} : tensor<?x4x?x8xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x6xf32> -> tensor<?x4x?x6xf32>
  mha.return %o as ["output"] : tensor<?x4x?x6xf32>
}
