#include "tests/numeric/random_config.h"

#include <algorithm>
#include <cfloat>
#include <initializer_list>
#include <limits>
#include <sstream>
#include <vector>

#include "generator/spec/expression.h"
#include "tests/numeric/random_keys.h"

namespace mha {
namespace {

template <typename T>
T pick(Random& random, std::initializer_list<T> values) {
  return values.begin()[random.integer(0, static_cast<int64_t>(values.size()) - 1)];
}

bool chance(Random& random, double probability) { return random.uniform() < probability; }

int64_t random_length(Random& random, std::initializer_list<int64_t> favourites) {
  return chance(random, 0.4) ? random.integer(1, 129) : pick(random, favourites);
}

// "7", or "{min: 3, max: 7}".
std::string length_text(Random& random, int64_t max) {
  if (chance(random, 0.6) || max == 1) return std::to_string(max);
  const int64_t min = chance(random, 0.6) ? 1 : random.integer(1, max);
  return "{min: " + std::to_string(min) + ", max: " + std::to_string(max) + "}";
}

// "[a, b]" of those that are drawn; at least one.
std::string output_list(Random& random) {
  std::vector<std::string> names;
  if (chance(random, 0.85)) names.push_back("output");
  if (chance(random, 0.25)) names.push_back("weights");
  if (chance(random, 0.2)) names.push_back("mean_weights");
  if (chance(random, 0.4)) names.push_back("lse");
  for (const char* name : {"scores", "scores_capped", "scores_masked"}) {
    if (chance(random, 0.15)) names.emplace_back(name);
  }
  if (names.empty()) names.emplace_back("lse");
  std::string text = "[";
  for (const std::string& name : names) text += (text.size() > 1 ? ", " : "") + name;
  return text + "]";
}

}  // namespace

std::string random_config(Random& random) {
  std::ostringstream yaml;
  const bool block = chance(random, 0.4);
  const bool packed = chance(random, 0.2);
  const bool cross = block && chance(random, 0.25);
  const bool own_keys = !packed && (cross || !block) && chance(random, 0.8);  // Lk is not Lq
  const bool causal = chance(random, 0.4);
  const bool window = chance(random, 0.3);
  const bool lengths = chance(random, 0.35);
  const bool starts = chance(random, 0.2);
  const double tensor = random.uniform();  // of the mask
  const double offset = random.uniform();

  const int64_t kv_heads = pick<int64_t>(random, {1, 1, 2, 3});
  const int64_t heads = kv_heads * pick<int64_t>(random, {1, 1, 2, 4});
  const int64_t d_head = pick<int64_t>(random, {1, 7, 8, 16, 32, 59, 64, 111, 128});
  const int64_t d_value =
      chance(random, 0.7) ? d_head : pick<int64_t>(random, {1, 7, 16, 33, 64, 111});
  int64_t batch = packed ? random.integer(1, 5) : pick<int64_t>(random, {1, 1, 2, 3});
  int64_t query = random_length(random, {1, 2, 7, 16, 17, 33, 64, 113, 127, 128, 129, 203});
  int64_t key = random_length(random, {1, 3, 7, 17, 32, 65, 113, 128, 203, 255, 577});
  // Queries that stand before the first key or far behind the last see nothing.
  if (window || causal) key = std::max(key, query);
  if (!own_keys) key = query;
  // Keeps the float64 reference quick.
  while (batch * heads * query * key * (d_head + d_value) > 20'000'000) {
    batch = std::max<int64_t>(batch / 2, 1);
    query = std::max<int64_t>(query / 2, 1);
    if (!own_keys) key = query;
  }
  yaml << "version: 1\nname: random_spec\nop: " << (block ? "block" : "attention") << "\n";
  if (block) yaml << "d_model: " << pick<int64_t>(random, {1, 24, 48, 59, 96, 113, 200}) << "\n";
  yaml << "heads: " << heads << "\nkv_heads: " << kv_heads << "\nd_head: " << d_head << "\n";
  if (d_value != d_head) yaml << "d_value: " << d_value << "\n";
  yaml << "batch: " << length_text(random, batch) << "\n";
  yaml << "query_length: " << length_text(random, query) << "\n";
  if (own_keys) yaml << "key_length: " << length_text(random, key) << "\n";
  if (cross) yaml << "cross: true\n";
  if (packed) yaml << "packed: true\n";
  if (!block && !packed && chance(random, 0.5)) yaml << "layout: bhsd\n";
  if (chance(random, 0.2)) yaml << "scale: " << pick<double>(random, {0.05, 0.3, 1, -0.2}) << "\n";
  if (block && chance(random, 0.6)) {
    auto flag = [&] { return chance(random, 0.5) ? "true" : "false"; };
    yaml << "projection_bias: {q: " << flag() << ", k: " << flag() << ", v: " << flag()
         << ", out: " << flag() << "}\n";
  }
  std::string masks;
  if (causal) masks += ", causal: true";
  if (window) {
    const int64_t left = pick<int64_t>(random, {-1, 0, 1, 3, 16, 63, 64, 100, 127, 200});
    const int64_t right = pick<int64_t>(random, {-1, 0, 0, 1, 5, 33, 64});
    masks += ", window: {left: " + std::to_string(left) + ", right: " + std::to_string(right) + "}";
  }
  if (tensor < 0.3) {
    masks += tensor < 0.15 ? ", tensor: bool" : ", tensor: additive";
  }
  if (lengths) masks += ", key_lengths: true";
  if (starts) masks += ", key_starts: true";
  if (offset < 0.25) yaml << "query_offset: end\n";
  if (offset > 0.75) yaml << "query_offset: input\n";
  yaml << "outputs: " << output_list(random) << "\n";
  if (chance(random, 0.2)) {
    yaml << "top_k: " << std::min(key, pick<int64_t>(random, {1, 2, 5, 8, 17})) << "\n";
  }
  ConfigFacts facts;
  facts.block = block;
  facts.packed = packed;
  facts.heads = heads;
  facts.kv_heads = kv_heads;
  facts.d_head = d_head;
  // Beside keys of their own number queries follow the cached keys, and nothing else is said.
  facts.may_cache = offset <= 0.75 && (offset >= 0.25 || !(own_keys || cross));
  facts.new_keys = key;
  facts.queries_among_keys = offset >= 0.25 && offset <= 0.75 && !own_keys && !cross;
  return built_config(yaml.str(), masks.empty() ? "" : masks.substr(2),
                      random_parts(facts, random));
}

namespace {

int64_t length_in(Random& random, const Range& range, int which) {
  if (which == 0) return range.max;
  if (which == 1) return range.min;
  return random.integer(range.min, range.max);
}

// sequence_starts: sequences of no row, of one and of as many as there may be, among others.
std::vector<int32_t> starts_of(Random& random, const CallLengths& lengths) {
  std::vector<int32_t> starts = {0};
  for (int64_t b = 0; b < lengths.batch; ++b) {
    const double what = random.uniform();
    const int64_t rows = what < 0.15   ? 0
                         : what < 0.3  ? 1
                         : what < 0.45 ? lengths.query
                                       : random.integer(1, lengths.query);
    starts.push_back(starts.back() + static_cast<int32_t>(rows));
  }
  if (starts.back() == 0) starts.back() = 1;
  return starts;
}

// P, in pages or not; some of them common to all sequences.
void draw_past(Random& random, const KvCache& cache, int which, CallLengths* lengths) {
  const int64_t room = cache.capacity - lengths->key;
  lengths->past =
      which == 0 ? room : random.integer(0, which == 1 ? std::min<int64_t>(room, 1) : room);
  if (!cache.paged || lengths->past == 0 || chance(random, 0.4)) return;
  const int64_t common = chance(random, 0.5) ? random.integer(0, lengths->past / cache.page) : 0;
  lengths->shared = common * cache.page;
  lengths->full_past = common > 0;
  lengths->blocks = (lengths->past + cache.page - 1) / cache.page;
  lengths->pages = common + lengths->batch * (lengths->blocks - common);
}

// A mask that has 1 for any of its axes.
HostTensor mask_of(Random& random, TensorDecl decl) {
  for (int64_t& extent : decl.shape) {
    if (chance(random, 0.4)) extent = 1;
  }
  HostTensor mask(decl);
  const auto keys = static_cast<size_t>(decl.shape.back());
  const double hidden = keys == 1 ? 0.1 : pick(random, {0.02, 0.3, 0.7});
  double row = 0;
  for (size_t i = 0; i < std::max(mask.bools.size(), mask.floats.size()); ++i) {
    if (i % keys == 0) row = random.uniform();
    const bool hides = row < 0.04 || chance(random, hidden);
    if (decl.dtype == Dtype::kBool) {
      mask.bools[i] = hides ? 0 : static_cast<uint8_t>(pick(random, {1, 1, 2, 255}));
    } else {
      const double what = random.uniform();
      mask.floats[i] = hides        ? -std::numeric_limits<float>::infinity()
                       : row > 0.94 ? -FLT_MAX
                       : what < 0.1 ? -FLT_MAX
                       : what < 0.2 ? -1e4F
                                    : static_cast<float>(3 * random.normal());
    }
  }
  return mask;
}

// Puts the extremes among the values of index tensors: no key at all, every key, queries before the
// first key.
void spice(Random& random, const Spec& spec, RandomCall* call) {
  const CallLengths& lengths = call->lengths;
  auto keys = [&](size_t b) -> int64_t {
    const int64_t cached = spec.kv_cache ? call->inputs.at("cache_lengths").ints[b] : 0;
    if (!spec.packed) return cached + lengths.key;
    const std::vector<int32_t>& starts = call->inputs.at("sequence_starts").ints;
    return lengths.key == 0 ? cached : cached + starts[b + 1] - starts[b];
  };
  auto fill = [&](const char* name, const auto& value) {
    const auto found = call->inputs.find(name);
    if (found == call->inputs.end()) return;
    for (size_t b = 0; b < found->second.ints.size(); ++b) {
      found->second.ints[b] = static_cast<int32_t>(value(b));
    }
  };
  fill("key_lengths", [&](size_t b) -> int64_t {
    const double what = random.uniform();
    if (what < 0.05) return 0;
    if (what < 0.3 || keys(b) == 0) return keys(b);
    return random.integer(what < 0.5 ? 1 : (keys(b) + 1) / 2, keys(b));
  });
  fill("key_starts", [&](size_t b) -> int64_t {
    const double what = random.uniform();
    if (what < 0.04) return keys(b);
    return what < 0.3 ? 0 : random.integer(0, keys(b) / 3);
  });
  fill("query_offset", [&](size_t b) {
    const int64_t room = std::max<int64_t>(keys(b) - lengths.query, 0);
    return chance(random, 0.2) ? random.integer(-lengths.query / 2, keys(b))
                               : random.integer(-lengths.query / 8, room + 3);
  });
}

}  // namespace

std::optional<RandomCall> random_call(const Spec& spec, int which, uint64_t seed, Random& random) {
  for (int attempt = 0; attempt < 20; ++attempt) {
    RandomCall call;
    CallLengths& lengths = call.lengths;
    lengths.batch = length_in(random, spec.batch, which);
    lengths.query = length_in(random, spec.query_length, which);
    lengths.key = spec.key_length_given ? length_in(random, spec.key_length, which) : lengths.query;
    if (may_bring_none(spec) && which != 0 && chance(random, 0.5)) lengths.key = 0;
    std::vector<int32_t> starts;
    if (spec.packed) {
      starts = starts_of(random, lengths);
      lengths.total = starts.back();
    }
    if (spec.kv_cache) draw_past(random, *spec.kv_cache, which, &lengths);
    call.inputs = random_inputs(spec, lengths, seed + static_cast<uint64_t>(attempt));
    if (spec.packed) call.inputs.at("sequence_starts").ints = starts;
    const auto mask = call.inputs.find("mask");
    if (mask != call.inputs.end()) mask->second = mask_of(random, mask->second.decl);
    spice(random, spec, &call);
    if (share_of_blind_rows(spec, lengths, call.inputs) <= 0.25) return call;
  }
  return std::nullopt;
}

namespace {

// [first, last) of a packed batch's rows.
std::pair<int64_t, int64_t> rows_of(const RandomCall& call, int64_t b) {
  const std::vector<int32_t>& starts = call.inputs.at("sequence_starts").ints;
  return {starts[static_cast<size_t>(b)], starts[static_cast<size_t>(b + 1)]};
}

// Elements [first, first + count) of each of `outer` parts of a tensor.
template <typename T>
std::vector<T> slice(const std::vector<T>& values, int64_t outer, int64_t first, int64_t count) {
  const int64_t part = static_cast<int64_t>(values.size()) / outer;
  std::vector<T> result;
  for (int64_t o = 0; !values.empty() && o < outer; ++o) {
    const auto begin = values.begin() + static_cast<ptrdiff_t>(o * part + first);
    result.insert(result.end(), begin, begin + static_cast<ptrdiff_t>(count));
  }
  return result;
}

}  // namespace

bool sequences_are_alike(const Spec& spec) {
  for (const bool is_score : {false, true}) {
    const std::string& rule = is_score ? spec.score_rule : spec.mask.rule;
    if (rule.empty()) continue;
    ExpressionError error;
    const auto parsed = parse_expression(rule, {is_score, &spec.tables}, &error);
    for (const Expression::Node& node : parsed->nodes) {
      if (node.op == Expression::Op::kVariable && node.name == "b") return false;
    }
  }
  return true;
}

RandomCall only_sequence(const Spec& spec, const RandomCall& call, int64_t b) {
  RandomCall one;
  one.lengths = call.lengths;
  one.lengths.batch = 1;
  std::pair<int64_t, int64_t> rows;
  if (spec.packed) {
    rows = rows_of(call, b);
    one.lengths.total = rows.second - rows.first;
  }
  for (const TensorDecl& decl : weight_tensors(spec)) {
    one.inputs.emplace(decl.name, call.inputs.at(decl.name));
  }
  for (TensorDecl decl : input_tensors(spec, one.lengths)) {
    const HostTensor& all = call.inputs.at(decl.name);
    if (is_table(spec, decl.name) || !(decl.axes.starts_with("B") || decl.axes.starts_with("T"))) {
      one.inputs.emplace(decl.name, all);  // not of any one sequence
      continue;
    }
    int64_t first = 0;
    if (decl.name == "mask") {
      decl.shape = all.decl.shape;
      decl.shape[0] = 1;
      first = all.decl.shape[0] == 1 ? 0 : b * decl.elements();
    } else if (spec.packed && decl.axes.starts_with("T,")) {
      first = rows.first * (all.decl.elements() / call.lengths.total);
    } else {
      first = b * decl.elements();
    }
    HostTensor part(decl);
    if (decl.name == "sequence_starts") {
      part.ints = {0, static_cast<int32_t>(one.lengths.total)};
    } else {
      part.floats = slice(all.floats, 1, first, all.floats.empty() ? 0 : decl.elements());
      part.ints = slice(all.ints, 1, first, all.ints.empty() ? 0 : decl.elements());
      part.bools = slice(all.bools, 1, first, all.bools.empty() ? 0 : decl.elements());
    }
    one.inputs.emplace(decl.name, std::move(part));
  }
  return one;
}

Outputs outputs_of_sequence(const Spec& spec, const RandomCall& call, const Outputs& outputs,
                            int64_t b) {
  Outputs result;
  for (const TensorDecl& decl : output_tensors(spec, call.lengths)) {
    const std::vector<float>& all = outputs.at(decl.name);
    if (!spec.packed || decl.axes.starts_with("B,")) {
      const int64_t count = decl.elements() / call.lengths.batch;
      result[decl.name] = slice(all, 1, b * count, count);
      continue;
    }
    const auto [first, last] = rows_of(call, b);
    const int64_t outer = decl.axes.starts_with("H,") ? spec.heads : 1;
    const int64_t width = decl.elements() / (outer * call.lengths.total);
    result[decl.name] = slice(all, outer, first * width, (last - first) * width);
  }
  return result;
}

}  // namespace mha
