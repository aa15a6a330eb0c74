#include "tests/numeric/covering.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "tools/mha-run/random.h"

namespace mha {
namespace {

class Search {
 public:
  explicit Search(const CoveringProblem& problem)
      : problem_(problem), factors_(static_cast<int>(problem.sizes.size())) {}

  Covering run() {
    each_choice(problem_.strength, -1, [&](const std::vector<int>& choice) { add_tuples(choice); });
    for (const CoveringTuple& tuple : all_) {
      if (missing_.count(tuple) == 0) continue;
      std::optional<CoveringRow> row = row_with(tuple);
      if (!row) {
        missing_.erase(tuple);
        result_.impossible.push_back(tuple);
        continue;
      }
      fill(tuple, &*row);
      take(*row);
    }
    return std::move(result_);
  }

 private:
  // f(factors) for each choice of `count` factors, ascending; `with` is among them where it is not
  // negative.
  template <typename F>
  void each_choice(int count, int with, F f) const {
    std::vector<int> choice(static_cast<size_t>(count));
    std::iota(choice.begin(), choice.end(), 0);
    for (;;) {
      if (with < 0 || std::find(choice.begin(), choice.end(), with) != choice.end()) f(choice);
      int at = count - 1;
      while (at >= 0 && choice[static_cast<size_t>(at)] == factors_ - count + at) --at;
      if (at < 0) return;
      ++choice[static_cast<size_t>(at)];
      for (int next = at + 1; next < count; ++next) {
        choice[static_cast<size_t>(next)] = choice[static_cast<size_t>(next - 1)] + 1;
      }
    }
  }

  void add_tuples(const std::vector<int>& choice) {
    CoveringTuple tuple;
    for (int factor : choice) tuple.emplace_back(factor, 0);
    for (;;) {
      all_.push_back(tuple);
      missing_.insert(tuple);
      size_t at = tuple.size();
      while (at > 0 &&
             ++tuple[at - 1].second == problem_.sizes[static_cast<size_t>(tuple[at - 1].first)]) {
        tuple[--at].second = 0;
      }
      if (at == 0) return;
    }
  }

  static CoveringTuple tuple_of(const CoveringRow& row, const std::vector<int>& choice) {
    CoveringTuple tuple;
    for (int factor : choice) tuple.emplace_back(factor, row[static_cast<size_t>(factor)]);
    return tuple;
  }

  bool holds(const CoveringRow& row, const CoveringTuple& tuple) const {
    const CoveringRow effective = problem_.effective(row);
    return std::all_of(tuple.begin(), tuple.end(), [&](const auto& value) {
      return effective[static_cast<size_t>(value.first)] == value.second;
    });
  }

  std::optional<CoveringRow> row_with(const CoveringTuple& tuple) const {
    std::vector<CoveringRow> bases = {CoveringRow(static_cast<size_t>(factors_))};
    bases.insert(bases.end(), problem_.bases.begin(), problem_.bases.end());
    for (CoveringRow row : bases) {
      for (const auto& [factor, value] : tuple) row[static_cast<size_t>(factor)] = value;
      if (holds(row, tuple) && problem_.valid(row)) return row;
    }
    return std::nullopt;
  }

  // Missing tuples that a row covers in which `factor` takes part.
  int64_t gain(const CoveringRow& row, int factor) const {
    const CoveringRow effective = problem_.effective(row);
    int64_t count = 0;
    each_choice(problem_.strength, factor, [&](const std::vector<int>& choice) {
      count += missing_.count(tuple_of(effective, choice)) > 0;
    });
    return count;
  }

  void fill(const CoveringTuple& fixed, CoveringRow* row) {
    std::vector<int> order;
    for (int factor = 0; factor < factors_; ++factor) {
      if (std::none_of(fixed.begin(), fixed.end(),
                       [&](const auto& value) { return value.first == factor; })) {
        order.push_back(factor);
      }
    }
    Random random(result_.rows.size(), "covering");
    for (size_t n = order.size(); n-- > 1;) {
      std::swap(order[n], order[static_cast<size_t>(random.integer(0, static_cast<int64_t>(n)))]);
    }
    for (int factor : order) {
      const auto at = static_cast<size_t>(factor);
      int64_t most = gain(*row, factor);
      int best = (*row)[at];
      for (int value = 0; value < problem_.sizes[at]; ++value) {
        CoveringRow other = *row;
        other[at] = value;
        const int64_t covers = gain(other, factor);
        if (covers <= most || !holds(other, fixed) || !problem_.valid(other)) continue;
        most = covers;
        best = value;
      }
      (*row)[at] = best;
    }
  }

  void take(const CoveringRow& row) {
    const CoveringRow effective = problem_.effective(row);
    result_.rows.push_back(effective);
    each_choice(problem_.strength, -1, [&](const std::vector<int>& choice) {
      const CoveringTuple tuple = tuple_of(effective, choice);
      missing_.erase(tuple);
      result_.covered.insert(tuple);
    });
  }

  const CoveringProblem& problem_;
  const int factors_;
  std::vector<CoveringTuple> all_;
  std::set<CoveringTuple> missing_;
  Covering result_;
};

}  // namespace

Covering covering(const CoveringProblem& problem) { return Search(problem).run(); }

}  // namespace mha
