#include "tools/reference/packed.h"

#include <algorithm>
#include <limits>
#include <string>

#include "generator/spec/error.h"
#include "tools/reference/visibility.h"

namespace mha {
namespace {

// Rows [first, first + count) of the batch are a sequence.
struct Sequence {
  int64_t b = 0, first = 0, count = 0;
};

// The mask is not packed: [b, :, :count, :keys], where an axis of 1 stays.
Array mask_of(const Array& mask, const Sequence& sequence, int64_t keys) {
  auto extent = [&](size_t axis, int64_t count) {
    return mask.shape[axis] == 1 ? 1 : std::min(mask.shape[axis], count);
  };
  Array part{{1, mask.shape[1], extent(2, sequence.count), extent(3, keys)}, {}};
  const int64_t b = mask.shape[0] == 1 ? 0 : sequence.b;
  for (int64_t h = 0; h < part.shape[1]; ++h) {
    for (int64_t i = 0; i < part.shape[2]; ++i) {
      const int64_t row = (b * mask.shape[1] + h) * mask.shape[2] + i;
      const auto begin = mask.values.begin() + row * mask.shape[3];
      part.values.insert(part.values.end(), begin, begin + part.shape[3]);
    }
  }
  return part;
}

Arrays inputs_of(const Spec& spec, const CallLengths& lengths, const Arrays& inputs,
                 const Sequence& sequence, int64_t keys) {
  Arrays parts = inputs;  // weights and tables as they are
  parts.erase("sequence_starts");
  for (const TensorDecl& decl : input_tensors(spec, lengths)) {
    const Array& whole = input_named(inputs, decl.name);
    if (is_table(spec, decl.name)) continue;
    if (decl.name == "mask") {
      parts["mask"] = mask_of(whole, sequence, keys);
    } else if (decl.axes == "B" || decl.axes.starts_with("B,")) {
      Array part = whole;
      part.shape[0] = 1;
      const int64_t size = decl.elements() / lengths.batch;
      const auto begin = whole.values.begin() + sequence.b * size;
      part.values.assign(begin, begin + size);
      parts[decl.name] = std::move(part);
    } else if (decl.elements() == 0) {
      // Of a call that brings no keys.
    } else if (decl.axes.starts_with("T,")) {
      // Rows: [T, ...] becomes [1, count, ...].
      const int64_t width = decl.elements() / lengths.total;
      Array part{{1, sequence.count}, {}};
      part.shape.insert(part.shape.end(), whole.shape.begin() + 1, whole.shape.end());
      const auto begin = whole.values.begin() + sequence.first * width;
      part.values.assign(begin, begin + sequence.count * width);
      parts[decl.name] = std::move(part);
    }
  }
  return parts;
}

// Copies a sequence's [heads, count, narrow] to its rows of [heads, T, wide], heads being 1 where
// the heads lie inside the rows.
void place(const Array& part, const Sequence& sequence, int64_t total, int64_t heads,
           Array* whole) {
  if (sequence.count == 0) return;
  const int64_t wide = static_cast<int64_t>(whole->values.size()) / (heads * total);
  const int64_t narrow = static_cast<int64_t>(part.values.size()) / (heads * sequence.count);
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t i = 0; i < sequence.count; ++i) {
      std::copy_n(part.values.begin() + (h * sequence.count + i) * narrow, narrow,
                  whole->values.begin() + (h * total + sequence.first + i) * wide);
    }
  }
}

// A sequence's part of [B, P + Ln, G, width].
void place_present(const Reference& part, const TensorDecl& decl, int64_t b, Reference* whole) {
  const int64_t first = b * (decl.elements() / decl.shape[0]);
  const std::vector<double>& values = part.outputs.at(decl.name).values;
  std::copy(values.begin(), values.end(), whole->outputs[decl.name].values.begin() + first);
  const auto bound = part.bounds.find(decl.name);
  if (bound == part.bounds.end()) return;
  std::copy(bound->second.values.begin(), bound->second.values.end(),
            whole->bounds[decl.name].values.begin() + first);
}

}  // namespace

Reference packed_reference(const Spec& spec, const CallLengths& lengths, const Arrays& inputs,
                           const ReferenceFunction& unpacked) {
  // What no sequence fills: keys behind its end.
  Reference result;
  for (const TensorDecl& decl : output_tensors(spec, lengths)) {
    Array empty{decl.shape, std::vector<double>(static_cast<size_t>(decl.elements()))};
    result.bounds[decl.name] = empty;
    if (decl.name == "scores_masked") {
      const int64_t size = decl.elements() / spec.heads;
      for (int64_t h = 0; h < spec.heads; ++h) {
        if (is_pruned(spec, h)) continue;
        std::fill_n(empty.values.begin() + h * size, size,
                    -std::numeric_limits<double>::infinity());
      }
    }
    result.outputs[decl.name] = std::move(empty);
  }
  if (spec.top_k > 0) {
    result.top_rows.resize(static_cast<size_t>(spec.heads * lengths.total));
    result.keys = lengths.all_keys();
  }

  const Array& starts = input_named(inputs, "sequence_starts");
  for (int64_t b = 0; b < lengths.batch; ++b) {
    Sequence sequence;
    sequence.b = b;
    sequence.first = static_cast<int64_t>(starts.values[static_cast<size_t>(b)]);
    sequence.count =
        static_cast<int64_t>(starts.values[static_cast<size_t>(b + 1)]) - sequence.first;
    if (sequence.count == 0 && !spec.kv_cache) continue;
    Spec alone = spec;
    alone.packed = false;
    alone.batch = {1, 1};
    alone.query_length = alone.key_length = {1, sequence.count};
    CallLengths its{1, sequence.count, lengths.key == 0 ? 0 : sequence.count, 0};
    its.first_sequence = lengths.first_sequence + sequence.b;
    its.past = lengths.past;
    its.pages = lengths.pages;
    its.blocks = lengths.blocks;
    const Reference part =
        unpacked(alone, its, inputs_of(spec, lengths, inputs, sequence, its.all_keys()));

    for (const TensorDecl& decl : output_tensors(spec, lengths)) {
      if (decl.name.starts_with("present_")) {
        place_present(part, decl, sequence.b, &result);
        continue;
      }
      const int64_t heads = decl.axes.starts_with("H,") ? spec.heads : 1;
      place(part.outputs.at(decl.name), sequence, lengths.total, heads, &result.outputs[decl.name]);
      // A plain computation has no bounds.
      const auto bound = part.bounds.find(decl.name);
      if (bound == part.bounds.end()) continue;
      place(bound->second, sequence, lengths.total, heads, &result.bounds[decl.name]);
    }
    for (int64_t row = 0; row < static_cast<int64_t>(part.top_rows.size()); ++row) {
      const int64_t to =
          row / sequence.count * lengths.total + sequence.first + row % sequence.count;
      result.top_rows[static_cast<size_t>(to)] = part.top_rows[static_cast<size_t>(row)];
    }
  }
  return result;
}

}  // namespace mha
