// The k strongest keys of a row. Two keys whose scores are closer than the scores' errors may stand
// in either order, so a kernel's list is judged by where each key may stand, not number by number.
#ifndef MHA_TOOLS_REFERENCE_TOP_K_H_
#define MHA_TOOLS_REFERENCE_TOP_K_H_

#include <cstdint>
#include <vector>

#include "tools/reference/row.h"
#include "tools/reference/tensors.h"

namespace mha {

// A key that may be among the k strongest.
struct TopKey {
  int64_t key = 0;
  int64_t first = 0, last = 0;  // ranks that it may have, from 0
  double weight = 0, bound = 0;
};
struct TopRow {
  std::vector<TopKey> keys;
  int64_t visible = 0;    // keys that the row sees
  bool poisoned = false;  // a NaN among its scores: no promise on which keys
  bool pruned = false;    // of a head that is not computed: 0 all over
};

// The places in `row` of its k strongest keys, equal scores by key; fewer where it sees fewer.
template <typename T>
std::vector<size_t> strongest(const Row<T>& row, int64_t k);

// Which keys may stand where.
TopRow possible_top(const Row<double>& row, int64_t k);

// What a kernel's lists of k are to be, given the keys that it chose: element by element the weight
// of the key that the index names, its bound, and how many indices are wrong. A weight is NaN where
// the index names no key that may be in the list.
struct ExpectedTop {
  Array weights, bounds;
  int64_t wrong_indices = 0;
  int64_t first_wrong = -1;
};
// `keys` is Lk. `weights` settles only what a poisoned row has: NaN or 0.
ExpectedTop expected_top(const std::vector<TopRow>& rows, int64_t keys, const Array& weights,
                         const Array& indices);

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_TOP_K_H_
