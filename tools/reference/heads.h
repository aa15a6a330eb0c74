// Rows of heads, as the parts of the reference hand them to each other, and the projections that
// make them and take them.
#ifndef MHA_TOOLS_REFERENCE_HEADS_H_
#define MHA_TOOLS_REFERENCE_HEADS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "tools/reference/tensors.h"

namespace mha {

// [B][heads][L][width], whatever the caller's layout, with a bound of the error beside each value.
template <typename T>
struct Heads {
  int64_t batch = 0, heads = 0, length = 0, width = 0;
  std::vector<T> values;
  std::vector<double> errors;  // empty where no bounds are wanted

  Heads(int64_t batch, int64_t heads, int64_t length, int64_t width, bool bounds)
      : batch(batch),
        heads(heads),
        length(length),
        width(width),
        values(static_cast<size_t>(batch * heads * length * width)),
        errors(bounds ? values.size() : 0) {}

  size_t at(int64_t b, int64_t h, int64_t i) const {
    return static_cast<size_t>(((b * heads + h) * length + i) * width);
  }
};

// Which rows [b, i] of a tensor are computed; empty: all.
using RowFilter = std::function<bool(int64_t b, int64_t i)>;

// x W^T + b, split into heads, with bounds where `result` has room for them. x [B,L,M],
// W [heads*width, M], b [heads*width] or null.
template <typename T>
void project(const Array& x, const Array& weight, const Array* bias, Heads<T>* result,
             const RowFilter& wanted = {});

// concat(o) W^T + b -> y [B,L,M], with bounds where o has errors. W [M, heads*width], b [M] or
// null.
template <typename T>
void project_out(const Heads<T>& o, const Array& weight, const Array* bias, Array* y, Array* bound,
                 const RowFilter& wanted = {});

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_HEADS_H_
