// From a call's tensors to the rows that attention works on: q, k and v of every head, projected,
// normed, rotated, and behind what a cache holds.
#ifndef MHA_TOOLS_REFERENCE_OPERANDS_H_
#define MHA_TOOLS_REFERENCE_OPERANDS_H_

#include <cstdint>

#include "generator/spec/spec.h"
#include "tools/reference/heads.h"
#include "tools/reference/tensors.h"
#include "tools/reference/visibility.h"

namespace mha {

template <typename T>
struct Operands {
  Heads<T> q, k, v;
};

// Rows of queries where `wanted`, and keys and values of sequences with such a row; the others are
// 0.
template <typename T>
Operands<T> operands_of(const Spec& spec, const CallLengths& lengths, const Arrays& inputs,
                        const Visibility& visibility, const RowFilter& wanted);

// Where each row lies in `rows` and in a tensor of the caller: f(at, at of the caller).
template <typename T, typename F>
void for_rows(const Heads<T>& rows, Layout layout, F f) {
  for (int64_t b = 0; b < rows.batch; ++b) {
    for (int64_t h = 0; h < rows.heads; ++h) {
      for (int64_t i = 0; i < rows.length; ++i) {
        const int64_t row = layout == Layout::kBshd ? (b * rows.length + i) * rows.heads + h
                                                    : (b * rows.heads + h) * rows.length + i;
        f(rows.at(b, h, i), static_cast<size_t>(row * rows.width));
      }
    }
  }
}

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_OPERANDS_H_
