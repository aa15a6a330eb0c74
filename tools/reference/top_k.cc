#include "tools/reference/top_k.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

namespace mha {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

template <typename T>
std::vector<size_t> strongest(const Row<T>& row, int64_t k) {
  std::vector<size_t> order(row.scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  // Places ascend by key, so a stable sort keeps the lower key first.
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return row.scores[a].value > row.scores[b].value; });
  order.resize(std::min(order.size(), static_cast<size_t>(k)));
  return order;
}
template std::vector<size_t> strongest(const Row<float>&, int64_t);
template std::vector<size_t> strongest(const Row<double>&, int64_t);

TopRow possible_top(const Row<double>& row, int64_t k) {
  TopRow top;
  top.visible = static_cast<int64_t>(row.scores.size());
  top.poisoned = row.poisoned;
  if (row.poisoned) return top;
  // A key is surely stronger than another when even its lowest possible score is above the other's
  // highest. Scores without error that are equal go by key.
  std::vector<double> lowest, highest;
  std::map<double, int64_t> equals;  // scores without error: how many keys have it
  for (const Score<double>& score : row.scores) {
    lowest.push_back(score.value - score.error);
    highest.push_back(score.value + score.error);
    if (score.error == 0) ++equals[score.value];
  }
  std::sort(lowest.begin(), lowest.end());
  std::sort(highest.begin(), highest.end());
  std::map<double, int64_t> equals_before;
  for (size_t at = 0; at < row.scores.size(); ++at) {
    const Score<double>& score = row.scores[at];
    int64_t above =
        lowest.end() - std::upper_bound(lowest.begin(), lowest.end(), score.value + score.error);
    int64_t below = std::lower_bound(highest.begin(), highest.end(), score.value - score.error) -
                    highest.begin();
    if (score.error == 0) {
      const int64_t before = equals_before[score.value]++;
      above += before;
      below += equals[score.value] - before - 1;
    }
    if (above >= k) continue;
    const double weight = row.p[at];
    top.keys.push_back({score.key, above, top.visible - 1 - below, weight,
                        std::min(1.0, row.relative * weight + 2 * FLT_MIN)});
  }
  return top;
}

ExpectedTop expected_top(const std::vector<TopRow>& rows, int64_t keys, const Array& weights,
                         const Array& indices) {
  const int64_t k = indices.shape.back();
  ExpectedTop expected;
  expected.weights = expected.bounds = {indices.shape, std::vector<double>(indices.values.size())};
  for (size_t r = 0; r < rows.size(); ++r) {
    const TopRow& row = rows[r];
    std::set<double> used;
    for (int64_t rank = 0; rank < k; ++rank) {
      const size_t at = r * static_cast<size_t>(k) + static_cast<size_t>(rank);
      const double index = indices.values[at];
      bool right = false;
      if (row.poisoned) {
        right = index >= -1 && index < static_cast<double>(keys);
        expected.weights.values[at] = weights.values[at] == 0 ? 0 : kNan;
      } else if (row.pruned) {
        right = index == 0;
      } else if (rank >= row.visible) {
        right = index == -1;
      } else {
        const auto key = std::find_if(
            row.keys.begin(), row.keys.end(),
            [&](const TopKey& candidate) { return static_cast<double>(candidate.key) == index; });
        const bool known = key != row.keys.end();
        right = known && rank >= key->first && rank <= key->last && used.insert(index).second;
        expected.weights.values[at] = known ? key->weight : kNan;
        expected.bounds.values[at] = known ? key->bound : 0;
      }
      if (right) continue;
      if (expected.wrong_indices++ == 0) expected.first_wrong = static_cast<int64_t>(at);
    }
  }
  return expected;
}

}  // namespace mha
