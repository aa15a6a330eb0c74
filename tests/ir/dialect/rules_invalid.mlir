// RUN: mha-opt %s --split-input-file --verify-diagnostics

// An index must be inside of its axis: k + 1 is not for the last key.
mha.kernel @index batch <1, 1> queries <1, 50> keys <1, 50> self {
  %query = mha.input "query" : tensor<1x?x4x8xf32>
  %doc = mha.input "doc" {axes = ["Lk"]} : tensor<?xi32>
  %o = mha.attention %query, %query, %query tables(%doc : tensor<?xi32>) {scale = 0.5} : tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32> -> tensor<1x?x4x8xf32> mask_rule {
    %k = mha.variable "k" : i64
    %q = mha.variable "q" : i64
    %one = mha.number 1 : i64
    %next = mha.calculate add(%k, %one) : (i64, i64) -> i64
    %a = mha.lookup %doc[%q] : tensor<?xi32> -> i64
    // expected-error @+1 {{index 0 of doc (axis Lk) may be at the end of the axis or behind}}
    %b = mha.lookup %doc[%next] : tensor<?xi32> -> i64
    %same = mha.calculate equal(%a, %b) : (i64, i64) -> i1
    mha.yield %same : i1
  }
  mha.return %o as ["output"] : tensor<1x?x4x8xf32>
}

// -----

// With causal, q - k is an index; without, it is below 0 for some.
mha.kernel @causal_index batch <1, 1> queries <1, 50> keys <1, 50> self {
  %query = mha.input "query" : tensor<1x?x4x8xf32>
  %bias = mha.input "bias" {axes = ["Lk", "H"]} : tensor<?x4xf32>
  %o = mha.attention %query, %query, %query tables(%bias : tensor<?x4xf32>) {causal, scale = 0.5} : tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32> -> tensor<1x?x4x8xf32> score_rule {
    %k = mha.variable "k" : i64
    %q = mha.variable "q" : i64
    %h = mha.variable "h" : i64
    %distance = mha.calculate subtract(%q, %k) : (i64, i64) -> i64
    %b = mha.lookup %bias[%distance, %h] : tensor<?x4xf32> -> f32
    mha.yield %b : f32
  }
  mha.return %o as ["output"] : tensor<1x?x4x8xf32>
}

// -----

mha.kernel @full_index batch <1, 1> queries <1, 50> keys <1, 50> self {
  %query = mha.input "query" : tensor<1x?x4x8xf32>
  %bias = mha.input "bias" {axes = ["Lk", "H"]} : tensor<?x4xf32>
  %o = mha.attention %query, %query, %query tables(%bias : tensor<?x4xf32>) {scale = 0.5} : tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32> -> tensor<1x?x4x8xf32> score_rule {
    %k = mha.variable "k" : i64
    %q = mha.variable "q" : i64
    %h = mha.variable "h" : i64
    %distance = mha.calculate subtract(%q, %k) : (i64, i64) -> i64
    // expected-error @+1 {{index 0 of bias (axis Lk) may be below 0}}
    %b = mha.lookup %bias[%distance, %h] : tensor<?x4xf32> -> f32
    mha.yield %b : f32
  }
  mha.return %o as ["output"] : tensor<1x?x4x8xf32>
}

// -----

// Held inside: min(abs(q - k), 31); (q - k) % 7; after a condition; where queries end with the keys and are no more.
mha.kernel @held batch <1, 3> queries <1, 50> keys <50, 90> {
  %query = mha.input "query" : tensor<?x?x4x8xf32>
  %key = mha.input "key" : tensor<?x?x4x8xf32>
  %bias = mha.input "bias" {axes = ["H", "32"]} : tensor<4x32xf32>
  %ring = mha.input "ring" {axes = ["7"]} : tensor<7xi32>
  %doc = mha.input "doc" {axes = ["B", "Lk"]} : tensor<?x?xi32>
  %o = mha.attention %query, %key, %key tables(%bias, %ring, %doc : tensor<4x32xf32>, tensor<7xi32>, tensor<?x?xi32>) {offset = #mha.offset<end>, scale = 0.5} : tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32> -> tensor<?x?x4x8xf32>
  score_rule {
    %b = mha.variable "b" : i64
    %h = mha.variable "h" : i64
    %k = mha.variable "k" : i64
    %q = mha.variable "q" : i64
    %seven = mha.number 7 : i64
    %most = mha.number 31 : i64
    %distance = mha.calculate subtract(%q, %k) : (i64, i64) -> i64
    %size = mha.calculate abs(%distance) : (i64) -> i64
    %held = mha.calculate min(%size, %most) : (i64, i64) -> i64
    %rest = mha.calculate modulo(%distance, %seven) : (i64, i64) -> i64
    %x = mha.lookup %bias[%h, %held] : tensor<4x32xf32> -> f32
    %y = mha.lookup %ring[%rest] : tensor<7xi32> -> i64
    %z = mha.lookup %doc[%b, %q] : tensor<?x?xi32> -> i64
    %near = mha.calculate less_equal(%k, %q) : (i64, i64) -> i1
    %w = mha.lookup %doc[%b, %distance] : tensor<?x?xi32> -> i64
    %chosen = mha.calculate select(%near, %w, %y) : (i1, i64, i64) -> i64
    %sum = mha.calculate add(%x, %chosen) : (f32, i64) -> f32
    %all = mha.calculate add(%sum, %z) : (f32, i64) -> f32
    mha.yield %all : f32
  }
  mha.return %o as ["output"] : tensor<?x?x4x8xf32>
}

// -----

// What a table holds is no index, unless it is held inside.
mha.kernel @through batch <1, 1> queries <50, 50> keys <50, 50> self {
  %query = mha.input "query" : tensor<1x50x4x8xf32>
  %doc = mha.input "doc" {axes = ["Lk"]} : tensor<50xi32>
  %o = mha.attention %query, %query, %query tables(%doc : tensor<50xi32>) {scale = 0.5} : tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32> -> tensor<1x50x4x8xf32> mask_rule {
    %k = mha.variable "k" : i64
    %zero = mha.number 0 : i64
    %a = mha.lookup %doc[%k] : tensor<50xi32> -> i64
    // expected-error @+1 {{index 0 of doc (axis Lk) may be}}
    %b = mha.lookup %doc[%a] : tensor<50xi32> -> i64
    %some = mha.calculate less(%zero, %b) : (i64, i64) -> i1
    mha.yield %some : i1
  }
  mha.return %o as ["output"] : tensor<1x50x4x8xf32>
}

// -----

mha.kernel @kinds batch <1, 1> queries <50, 50> keys <50, 50> self {
  %query = mha.input "query" : tensor<1x50x4x8xf32>
  %o = mha.attention %query, %query, %query {scale = 0.5} : tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32> -> tensor<1x50x4x8xf32> mask_rule {
    %k = mha.variable "k" : i64
    // expected-error @+1 {{and takes conditions, not 'i64'}}
    %both = mha.calculate and(%k, %k) : (i64, i64) -> i1
    mha.yield %both : i1
  }
  mha.return %o as ["output"] : tensor<1x50x4x8xf32>
}

// -----

mha.kernel @yields batch <1, 1> queries <50, 50> keys <50, 50> self {
  %query = mha.input "query" : tensor<1x50x4x8xf32>
  %o = mha.attention %query, %query, %query {scale = 0.5} : tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32> -> tensor<1x50x4x8xf32> mask_rule {
    %k = mha.variable "k" : i64
    // expected-error @+1 {{a mask_rule yields a condition}}
    mha.yield %k : i64
  }
  mha.return %o as ["output"] : tensor<1x50x4x8xf32>
}

// -----

mha.kernel @score batch <1, 1> queries <50, 50> keys <50, 50> self {
  %query = mha.input "query" : tensor<1x50x4x8xf32>
  %o = mha.attention %query, %query, %query {scale = 0.5} : tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32> -> tensor<1x50x4x8xf32> mask_rule {
    // expected-error @+1 {{"s", the score, is known in a score_rule only}}
    %s = mha.variable "s" : f32
    %zero = mha.number 0.0 : f32
    %less = mha.calculate less(%s, %zero) : (f32, f32) -> i1
    mha.yield %less : i1
  }
  mha.return %o as ["output"] : tensor<1x50x4x8xf32>
}

// -----

mha.kernel @large batch <1, 1> queries <50, 50> keys <50, 50> self {
  %query = mha.input "query" : tensor<1x50x4x8xf32>
  %o = mha.attention %query, %query, %query {scale = 0.5} : tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32> -> tensor<1x50x4x8xf32> mask_rule {
    %k = mha.variable "k" : i64
    %many = mha.number 2147483647 : i64
    %some = mha.calculate multiply(%k, %many) : (i64, i64) -> i64
    // expected-error @+1 {{this whole number may be too large for 62 bits}}
    %more = mha.calculate multiply(%some, %many) : (i64, i64) -> i64
    %less = mha.calculate less(%more, %some) : (i64, i64) -> i1
    mha.yield %less : i1
  }
  mha.return %o as ["output"] : tensor<1x50x4x8xf32>
}

// -----

mha.kernel @slopes batch <1, 1> queries <50, 50> keys <50, 50> self {
  %query = mha.input "query" : tensor<1x50x4x8xf32>
  // expected-error @+1 {{3 slopes for H = 4 heads}}
  %o = mha.attention %query, %query, %query {alibi = array<f64: 1.0, 2.0, 3.0>, scale = 0.5} : tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32> -> tensor<1x50x4x8xf32>
  mha.return %o as ["output"] : tensor<1x50x4x8xf32>
}

// -----

mha.kernel @cap batch <1, 1> queries <50, 50> keys <50, 50> self {
  %query = mha.input "query" : tensor<1x50x4x8xf32>
  // expected-error @+1 {{softcap is 0.000000e+00; it must be above 0}}
  %o = mha.attention %query, %query, %query {softcap = 0.0, scale = 0.5} : tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32>, tensor<1x50x4x8xf32> -> tensor<1x50x4x8xf32>
  mha.return %o as ["output"] : tensor<1x50x4x8xf32>
}

// -----

// Behind a cache the keys of a packed sequence are more than its rows.
mha.kernel @packed_cache batch <1, 2> queries <1, 50> keys <1, 90> packed {
  %query = mha.input "query" : tensor<?x?x4x8xf32>
  %starts = mha.input "sequence_starts" : tensor<?xi32>
  %bias = mha.input "bias" {axes = ["Lq"]} : tensor<?xf32>
  %all = mha.append %query {capacity = 90} : tensor<?x?x4x8xf32> -> tensor<?x?x4x8xf32>
  %o = mha.attention %query, %all, %all sequence_starts(%starts : tensor<?xi32>) tables(%bias : tensor<?xf32>) {scale = 0.5, offset = #mha.offset<end>} : tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32> -> tensor<?x?x4x8xf32> score_rule {
    %k = mha.variable "k" : i64
    // expected-error @+1 {{index 0 of bias (axis Lq) may be at the end of the axis or behind}}
    %b = mha.lookup %bias[%k] : tensor<?xf32> -> f32
    mha.yield %b : f32
  }
  mha.return %o as ["output"] : tensor<?x?x4x8xf32>
}

// -----

// A query that brings no key stands behind the last one.
mha.kernel @behind_all_keys batch <1, 1> queries <1, 50> keys <1, 90> {
  %query = mha.input "query" : tensor<1x?x4x8xf32>
  %bias = mha.input "bias" {axes = ["Lk"]} : tensor<?xf32>
  %all = mha.append %query {capacity = 90, or_none} : tensor<1x?x4x8xf32> -> tensor<1x?x4x8xf32>
  %o = mha.attention %query, %all, %all tables(%bias : tensor<?xf32>) {scale = 0.5, offset = #mha.offset<end>} : tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32> -> tensor<1x?x4x8xf32> score_rule {
    %q = mha.variable "q" : i64
    // expected-error @+1 {{index 0 of bias (axis Lk) may be at the end of the axis or behind}}
    %b = mha.lookup %bias[%q] : tensor<?xf32> -> f32
    mha.yield %b : f32
  }
  mha.return %o as ["output"] : tensor<1x?x4x8xf32>
}

// -----

// Keys that key_lengths hides have queries behind them.
mha.kernel @behind_visible_keys batch <1, 1> queries <1, 4> keys <1, 64> {
  %query = mha.input "query" : tensor<1x?x4x8xf32>
  %lengths = mha.input "key_lengths" : tensor<1xi32>
  %t = mha.input "t" {axes = ["Lk"]} : tensor<?xf32>
  %all = mha.append %query {capacity = 64} : tensor<1x?x4x8xf32> -> tensor<1x?x4x8xf32>
  %o = mha.attention %query, %all, %all key_lengths(%lengths : tensor<1xi32>) tables(%t : tensor<?xf32>) {scale = 0.5, offset = #mha.offset<end>} : tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32>, tensor<1x?x4x8xf32> -> tensor<1x?x4x8xf32> score_rule {
    %q = mha.variable "q" : i64
    %k_len = mha.variable "k_len" : i64
    %here = mha.lookup %t[%q] : tensor<?xf32> -> f32
    %one = mha.number 1 : i64
    %last = mha.calculate subtract(%k_len, %one) : (i64, i64) -> i64
    %left = mha.calculate subtract(%last, %q) : (i64, i64) -> i64
    // expected-error @+1 {{index 0 of t (axis Lk) may be below 0}}
    %b = mha.lookup %t[%left] : tensor<?xf32> -> f32
    %sum = mha.calculate add(%here, %b) : (f32, f32) -> f32
    mha.yield %sum : f32
  }
  mha.return %o as ["output"] : tensor<1x?x4x8xf32>
}

// -----

// Sequences of one call have different lengths, each of them at most Lk.
mha.kernel @of_own_length batch <1, 2> queries <1, 70> keys <1, 128> packed {
  %query = mha.input "query" : tensor<?x?x4x8xf32>
  %starts = mha.input "sequence_starts" : tensor<?xi32>
  %doc = mha.input "doc" {axes = ["Lk"]} : tensor<?xi32>
  %few = mha.input "few" {axes = ["70"]} : tensor<70xi32>
  %all = mha.append %query {capacity = 128} : tensor<?x?x4x8xf32> -> tensor<?x?x4x8xf32>
  %o = mha.attention %query, %all, %all sequence_starts(%starts : tensor<?xi32>) tables(%doc, %few : tensor<?xi32>, tensor<70xi32>) {scale = 0.5, offset = #mha.offset<end>} : tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32> -> tensor<?x?x4x8xf32> mask_rule {
    %k = mha.variable "k" : i64
    %q = mha.variable "q" : i64
    %k_len = mha.variable "k_len" : i64
    %one = mha.number 1 : i64
    %most = mha.calculate subtract(%k_len, %one) : (i64, i64) -> i64
    %place = mha.calculate min(%q, %most) : (i64, i64) -> i64
    %a = mha.lookup %doc[%place] : tensor<?xi32> -> i64
    %b = mha.lookup %doc[%k] : tensor<?xi32> -> i64
    // expected-error @+1 {{index 0 of few (axis 70) may be at the end of the axis or behind}}
    %c = mha.lookup %few[%k] : tensor<70xi32> -> i64
    %sum = mha.calculate add(%b, %c) : (i64, i64) -> i64
    %same = mha.calculate equal(%a, %sum) : (i64, i64) -> i1
    mha.yield %same : i1
  }
  mha.return %o as ["output"] : tensor<?x?x4x8xf32>
}
