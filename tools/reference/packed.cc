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

// The mask is not packed: [b, :, :count, :count], where an axis of 1 stays.
Array mask_of(const Array& mask, const Sequence& sequence) {
  auto extent = [&](size_t axis) {
    return mask.shape[axis] == 1 ? 1 : std::min(mask.shape[axis], sequence.count);
  };
  Array part{{1, mask.shape[1], extent(2), extent(3)}, {}};
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
                 const Sequence& sequence) {
  Arrays parts = inputs;  // the weights as they are
  parts.erase("sequence_starts");
  for (const TensorDecl& decl : input_tensors(spec, lengths)) {
    const Array& whole = input_named(inputs, decl.name);
    if (decl.name == "sequence_starts") continue;
    if (decl.name == "mask") {
      parts["mask"] = mask_of(whole, sequence);
    } else if (decl.axes == "B") {
      parts[decl.name] = {{1}, {whole.values[static_cast<size_t>(sequence.b)]}};
    } else {
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
  const int64_t wide = static_cast<int64_t>(whole->values.size()) / (heads * total);
  const int64_t narrow = static_cast<int64_t>(part.values.size()) / (heads * sequence.count);
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t i = 0; i < sequence.count; ++i) {
      std::copy_n(part.values.begin() + (h * sequence.count + i) * narrow, narrow,
                  whole->values.begin() + (h * total + sequence.first + i) * wide);
    }
  }
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
      std::fill(empty.values.begin(), empty.values.end(), -std::numeric_limits<double>::infinity());
    }
    result.outputs[decl.name] = std::move(empty);
  }
  if (spec.top_k > 0) {
    result.top_rows.resize(static_cast<size_t>(spec.heads * lengths.total));
    result.keys = lengths.key;
  }

  const Array& starts = input_named(inputs, "sequence_starts");
  for (int64_t b = 0; b < lengths.batch; ++b) {
    Sequence sequence;
    sequence.b = b;
    sequence.first = static_cast<int64_t>(starts.values[static_cast<size_t>(b)]);
    sequence.count =
        static_cast<int64_t>(starts.values[static_cast<size_t>(b + 1)]) - sequence.first;
    if (sequence.count == 0) continue;
    Spec alone = spec;
    alone.packed = false;
    alone.batch = {1, 1};
    alone.query_length = alone.key_length = {1, sequence.count};
    const CallLengths its{1, sequence.count, sequence.count, 0};
    const Reference part = unpacked(alone, its, inputs_of(spec, lengths, inputs, sequence));

    for (const TensorDecl& decl : output_tensors(spec, lengths)) {
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
