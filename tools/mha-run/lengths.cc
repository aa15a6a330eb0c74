#include "tools/mha-run/lengths.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "generator/spec/error.h"

namespace mha {
namespace {

std::string range_text(const Range& range) {
  if (range.fixed()) return std::to_string(range.min);
  return std::to_string(range.min) + " to " + std::to_string(range.max);
}

void check_range(const std::string& what, int64_t value, const Range& range) {
  if (value >= range.min && value <= range.max) return;
  throw UserError(what + " is " + std::to_string(value) + "; the config allows " +
                  range_text(range));
}

// Whether a tensor of the call has an axis of Lk.
bool has_key_axis(const Spec& spec) {
  if (spec.mask.tensor != MaskTensor::kNone) return true;
  return std::any_of(spec.outputs.begin(), spec.outputs.end(), [](const std::string& output) {
    return output == "weights" || output == "mean_weights" || output.starts_with("scores");
  });
}

// With a cache: no sequence may be longer than its capacity. A past with room behind its rows may,
// as long as no tensor shows it.
void check_past(const Spec& spec, const TensorFile& input, const CallLengths& lengths) {
  if (!spec.kv_cache || lengths.all_keys() <= spec.kv_cache->capacity || !has_key_axis(spec))
    return;
  throw UserError("'" + input.path() + "': P = " + std::to_string(lengths.past) + " and " +
                  std::to_string(lengths.key) + " new keys make Lk " +
                  std::to_string(lengths.all_keys()) + "; the capacity is " +
                  std::to_string(spec.kv_cache->capacity));
}

// Whether a call of a spec that allows it has no new keys: their tensor is not there, or empty.
bool brings_none(const Spec& spec, const TensorFile& input) {
  const char* name = spec.op == Op::kBlock ? "memory" : "key";
  if (!input.has(name)) return true;
  const std::vector<int64_t> shape = shape_of(input.get(name));
  return std::find(shape.begin(), shape.end(), 0) != shape.end();
}

// A packed batch says its lengths in sequence_starts alone. `lengths` are those of --size.
CallLengths packed_lengths(const Spec& spec, const TensorFile& input, const SizeOptions& sizes,
                           CallLengths lengths) {
  const std::string where = "'" + input.path() + "': ";
  TensorDecl decl{"sequence_starts", Dtype::kI32, "B+1", {lengths.batch + 1}};
  if (input.has(decl.name)) {
    const std::vector<int64_t> shape = shape_of(input.get(decl.name));
    if (shape.size() == 1) {
      const std::string tensor = where + "tensor 'sequence_starts' is " + shape_text(shape);
      check_range(tensor + " (B+1), so batch", shape[0] - 1, spec.batch);
      if (sizes.batch && *sizes.batch != shape[0] - 1) {
        throw UserError("--size gives batch=" + std::to_string(*sizes.batch) + ", but " + tensor +
                        " (B+1)");
      }
      lengths.batch = shape[0] - 1;
      decl.shape = shape;
    }
  }
  const std::vector<int32_t> starts = input.read(decl).ints;
  const auto element = [&](size_t b) {
    return where + "sequence_starts[" + std::to_string(b) + "] is " + std::to_string(starts[b]);
  };
  if (starts[0] != 0) throw UserError(element(0) + "; the first sequence starts at 0");
  // The call's query_length is what no sequence exceeds.
  const int64_t most = sizes.query || sizes.key ? lengths.query : spec.query_length.max;
  int64_t longest = 0;
  for (size_t b = 1; b < starts.size(); ++b) {
    const int64_t rows = int64_t{starts[b]} - starts[b - 1];
    if (rows < 0) {
      throw UserError(element(b) + ", less than the start before it, " +
                      std::to_string(starts[b - 1]) + "; sequences lie in order");
    }
    if (rows > most) {
      throw UserError(element(b) + ", so that sequence " + std::to_string(b - 1) + " has " +
                      std::to_string(rows) + " rows; query_length allows " + std::to_string(most));
    }
    longest = std::max(longest, rows);
  }
  lengths.total = starts.back();
  if (lengths.total == 0) throw UserError(where + "sequence_starts: all sequences are empty");
  if (!sizes.query && !sizes.key) lengths.query = std::max(longest, spec.query_length.min);
  const bool none = may_bring_none(spec) && brings_none(spec, input);
  lengths.key = none ? 0 : lengths.query;
  return lengths;
}

// What past_key, or the block table of one in pages, says of P.
void read_past(const Spec& spec, const TensorFile& input, CallLengths* lengths) {
  if (!input.has("past_key")) {
    throw UserError("'" + input.path() +
                    "' has no tensor 'past_key'; a first call of a cache has " + "one with P = 0");
  }
  // A shape of the wrong rank is reported by read_inputs(), which knows it all.
  const std::vector<int64_t> shape = shape_of(input.get("past_key"));
  if (shape.size() != 4) return;
  if (spec.kv_cache->paged && input.has("block_table")) {
    const std::vector<int64_t> table = shape_of(input.get("block_table"));
    if (table.size() != 2) return;
    lengths->pages = shape[0];
    lengths->blocks = table[1];
    lengths->past = table[1] * spec.kv_cache->page;
  } else {
    lengths->past = shape[spec.layout == Layout::kBhsd ? 2 : 1];
  }
}

// A past of random tensors.
void choose_past(const Spec& spec, const SizeOptions& sizes, CallLengths* lengths) {
  const int64_t capacity = spec.kv_cache->capacity, page = spec.kv_cache->page;
  if (sizes.cached) {
    if (*sizes.cached + lengths->key > capacity) {
      throw UserError("--size: cached is " + std::to_string(*sizes.cached) + "; with " +
                      std::to_string(lengths->key) + " new keys the capacity allows up to " +
                      std::to_string(capacity - lengths->key));
    }
    lengths->past = *sizes.cached;
    lengths->full_past = true;
  }
  if (!sizes.shared) return;
  if (!spec.kv_cache->paged || *sizes.shared % page != 0 || *sizes.shared > lengths->past) {
    throw UserError("--size: shared is " + std::to_string(*sizes.shared) +
                    "; it counts keys in whole pages of a paged cache, at most those that are "
                    "cached");
  }
  lengths->shared = *sizes.shared;
  lengths->full_past = true;
  lengths->blocks = (lengths->past + page - 1) / page;
  const int64_t common = *sizes.shared / page;
  lengths->pages = common + lengths->batch * (lengths->blocks - common);
}

}  // namespace

SizeOptions parse_sizes(const std::string& text, const Spec& spec) {
  SizeOptions sizes;
  if (text.empty()) return sizes;
  const Range cached = {0, spec.kv_cache ? spec.kv_cache->capacity : 0};
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    const size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    int64_t value = 0;
    const char* end = word.data() + word.size();
    std::from_chars_result result{end, std::errc::invalid_argument};
    if (equals != std::string::npos) {
      result = std::from_chars(word.data() + equals + 1, end, value);
    }
    if (result.ec != std::errc() || result.ptr != end) {
      throw UserError("--size: '" + word + "' is not KEY=NUMBER");
    }
    std::optional<int64_t>* slot = nullptr;
    const Range* range = nullptr;
    if (key == "batch") {
      slot = &sizes.batch;
      range = &spec.batch;
    } else if (key == "query_length") {
      slot = &sizes.query;
      range = &spec.query_length;
    } else if (key == "key_length") {
      slot = &sizes.key;
      range = spec.key_length_given ? &spec.key_length : &spec.query_length;
      if (value == 0 && may_bring_none(spec) && !sizes.key) {
        sizes.key = 0;
        continue;
      }
    } else if (spec.kv_cache && (key == "cached" || key == "shared")) {
      slot = key == "cached" ? &sizes.cached : &sizes.shared;
      range = &cached;
    } else {
      throw UserError("--size: unknown key '" + key +
                      "'; the keys are batch, query_length and key_length" +
                      (spec.kv_cache ? ", cached and shared" : ""));
    }
    if (slot->has_value()) throw UserError("--size: " + key + " is given twice");
    check_range("--size: " + key, value, *range);
    *slot = value;
  }
  return sizes;
}

CallLengths resolve_lengths(const Spec& spec, const TensorFile* input, const SizeOptions& sizes) {
  CallLengths lengths = max_lengths(spec);
  if (sizes.batch) lengths.batch = *sizes.batch;
  if (sizes.query) lengths.query = *sizes.query;
  if (sizes.key) lengths.key = *sizes.key;
  if (!spec.key_length_given && !(may_bring_none(spec) && lengths.key == 0)) {
    if (sizes.query && sizes.key && *sizes.query != *sizes.key) {
      throw UserError("--size: key_length must equal query_length: the config gives no key_length");
    }
    if (sizes.key) lengths.query = *sizes.key;
    lengths.key = lengths.query;
  }
  if (spec.kv_cache) {
    // As many as there is room for beside the new keys.
    lengths.past = std::max<int64_t>(spec.kv_cache->capacity - lengths.key, 0);
    if (input != nullptr) {
      read_past(spec, *input, &lengths);
    } else {
      choose_past(spec, sizes, &lengths);
    }
  }
  if (input == nullptr) return lengths;
  if (spec.packed) {
    lengths = packed_lengths(spec, *input, sizes, lengths);
    check_past(spec, *input, lengths);
    return lengths;
  }

  // Reads one length off a tensor; a shape of the wrong rank is reported by read_inputs(), which
  // knows it all.
  auto take = [&](const char* name, size_t rank, size_t axis, const char* what, int64_t* length,
                  const std::optional<int64_t>& given, const Range& range) {
    if (!input->has(name)) return;
    const std::vector<int64_t> shape = shape_of(input->get(name));
    if (shape.size() != rank) return;
    check_range(
        "'" + input->path() + "': tensor '" + name + "' is " + shape_text(shape) + ", so " + what,
        shape[axis], range);
    if (given && *given != shape[axis]) {
      throw UserError(std::string("--size gives ") + what + "=" + std::to_string(*given) +
                      ", but tensor '" + name + "' of the input is " + shape_text(shape));
    }
    *length = shape[axis];
  };
  const bool block = spec.op == Op::kBlock;
  const size_t rank = block ? 3 : 4;
  const size_t length_axis = block || spec.layout == Layout::kBshd ? 1 : 2;
  const char* queries = block ? "x" : "query";
  take(queries, rank, 0, "batch", &lengths.batch, sizes.batch, spec.batch);
  take(queries, rank, length_axis, "query_length", &lengths.query, sizes.query, spec.query_length);
  if (may_bring_none(spec) && brings_none(spec, *input)) {
    if (sizes.key.value_or(0) != 0) {
      throw UserError("--size gives key_length=" + std::to_string(*sizes.key) +
                      ", but the input brings no keys");
    }
    lengths.key = 0;
  } else if (spec.key_length_given) {
    take(block ? "memory" : "key", rank, length_axis, "key_length", &lengths.key, sizes.key,
         spec.key_length);
  } else {
    lengths.key = lengths.query;
  }
  check_past(spec, *input, lengths);
  return lengths;
}

}  // namespace mha
