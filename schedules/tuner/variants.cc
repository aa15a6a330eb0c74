#include "schedules/tuner/variants.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

namespace mha {

namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kTie = 1e-12;  // sums that differ by less are rounded alike

using Losses = std::vector<std::vector<double>>;  // of each candidate at each length

void check_table(const LengthTable& table) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
  };
  require(!table.lengths.empty() && !table.candidates.empty(), "a table without lengths or rows");
  require(std::is_sorted(table.lengths.begin(), table.lengths.end(), std::less_equal<>()),
          "lengths must ascend");
  require(table.seconds.size() == table.candidates.size(), "one row of times for each candidate");
  for (const std::vector<double>& row : table.seconds) {
    require(row.size() == table.lengths.size(), "one time for each length");
    for (double seconds : row) require(seconds > 0, "times must be above 0");
  }
}

Losses losses_of(const LengthTable& table, double slack) {
  Losses losses = table.seconds;
  for (size_t l = 0; l < table.lengths.size(); ++l) {
    double best = kNever;
    for (const std::vector<double>& row : table.seconds) best = std::min(best, row[l]);
    if (best == kNever) throw std::invalid_argument("a length at which no candidate runs");
    for (std::vector<double>& row : losses) {
      row[l] = std::max(0.0, row[l] / best - 1);
      if (row[l] <= slack) row[l] = 0;
    }
  }
  return losses;
}

// The cheapest way to serve all lengths with at most `most` of the rows, where a range's cost is
// the sum (or with `by_worst` the maximum) of its losses and none above `limit` will do. Ties:
// fewest ranges, then the row and the boundary that come first.
struct Way {
  double cost = kNever;
  std::vector<ChosenRange> ranges;
};

Way cheapest(const Losses& losses, const std::vector<size_t>& rows, size_t most, double limit,
             bool by_worst) {
  const size_t count = losses.front().size();
  struct Step {
    double cost = kNever;
    size_t first = 0, row = 0;
  };
  // steps[n][l]: lengths before l served by exactly n ranges.
  std::vector<std::vector<Step>> steps(most + 1, std::vector<Step>(count + 1));
  steps[0][0].cost = 0;
  for (size_t n = 1; n <= most; ++n) {
    for (size_t first = 0; first < count; ++first) {
      const double before = steps[n - 1][first].cost;
      if (before == kNever) continue;
      for (const size_t row : rows) {
        double cost = before;
        for (size_t l = first; l < count && losses[row][l] <= limit; ++l) {
          const double loss = losses[row][l];
          if (loss == kNever) break;
          cost = by_worst ? std::max(cost, loss) : cost + loss;
          Step& step = steps[n][l + 1];
          if (cost < step.cost - kTie) step = {cost, first, row};
        }
      }
    }
  }
  Way way;
  size_t ranges = 0;
  for (size_t n = 1; n <= most; ++n) {
    if (steps[n][count].cost < way.cost - kTie) {
      way.cost = steps[n][count].cost;
      ranges = n;
    }
  }
  for (size_t end = count; ranges > 0; --ranges) {
    const Step& step = steps[ranges][end];
    way.ranges.insert(way.ranges.begin(), {step.row, step.first, end - 1});
    end = step.first;
  }
  return way;
}

// The candidates by how they pack weights, each group in the order of the table.
std::vector<std::vector<size_t>> groups_of(const std::vector<Schedule>& candidates) {
  std::vector<std::vector<size_t>> groups;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& members) {
      return packed_differences(candidates[members.front()], candidates[i]).empty();
    });
    if (group == groups.end()) {
      groups.push_back({i});
    } else {
      group->push_back(i);
    }
  }
  return groups;
}

}  // namespace

ChosenRanges choose_ranges(const LengthTable& table, const RangeOptions& options) {
  check_table(table);
  const Losses losses = losses_of(table, options.slack);
  const size_t most = std::min(std::max<size_t>(options.most, 1), table.lengths.size());
  const std::vector<std::vector<size_t>> groups = groups_of(table.candidates);
  // First how small the largest loss can be, then the smallest sum that keeps to it.
  double worst = kNever;
  for (const std::vector<size_t>& rows : groups) {
    worst = std::min(worst, cheapest(losses, rows, most, kNever, true).cost);
  }
  Way best;
  for (const std::vector<size_t>& rows : groups) {
    if (worst == kNever) break;
    const Way way = cheapest(losses, rows, most, worst, false);
    if (way.cost < best.cost - kTie ||
        (way.cost < best.cost + kTie && way.ranges.size() < best.ranges.size())) {
      best = way;
    }
  }
  ChosenRanges chosen{best.ranges, worst, 0};
  if (!best.ranges.empty()) chosen.mean = best.cost / static_cast<double>(table.lengths.size());
  return chosen;
}

std::vector<LengthVariant> variants_of(const ChosenRanges& chosen, const LengthTable& table) {
  std::vector<LengthVariant> variants;
  for (const ChosenRange& range : chosen.ranges) {
    const Schedule& schedule = table.candidates.at(range.candidate);
    const int64_t to = table.lengths.at(range.last);
    if (!variants.empty() && variants.back().schedule.stages == schedule.stages) {
      variants.back().max_query_length = to;
    } else {
      variants.push_back({to, schedule});
    }
  }
  return variants;
}

std::vector<int64_t> sample_lengths(const Range& lengths, size_t most) {
  std::vector<int64_t> samples;
  const double ratio = static_cast<double>(lengths.max) / static_cast<double>(lengths.min);
  const size_t steps = std::max<size_t>(most, 2) - 1;
  for (size_t i = 0; i <= steps; ++i) {
    const double exact = static_cast<double>(lengths.min) *
                         std::pow(ratio, static_cast<double>(i) / static_cast<double>(steps));
    const int64_t length = i == steps ? lengths.max : std::llround(exact);
    if (samples.empty() || length > samples.back()) samples.push_back(length);
  }
  return samples;
}

std::vector<int64_t> tuned_lengths(const Plan& plan, const Machine& machine, int threads,
                                   size_t most) {
  std::vector<int64_t> lengths = sample_lengths(plan.query_length, most);
  const std::vector<LengthVariant> variants = default_variants(plan, machine, threads);
  const auto changes = [&](int64_t length) {
    return std::any_of(variants.begin(), variants.end(),
                       [&](const LengthVariant& v) { return v.max_query_length == length; });
  };
  for (const LengthVariant& variant : variants) {
    const int64_t to = variant.max_query_length;
    if (std::binary_search(lengths.begin(), lengths.end(), to)) continue;
    // The nearest one between the ends gives way; one that is such a length itself does not.
    auto nearest = lengths.end();
    double least = std::numeric_limits<double>::infinity();
    for (auto it = lengths.begin() + 1; it + 1 < lengths.end(); ++it) {
      if (changes(*it)) continue;
      const double distance =
          std::fabs(std::log(static_cast<double>(*it) / static_cast<double>(to)));
      if (distance < least) {
        least = distance;
        nearest = it;
      }
    }
    const double near = std::log(2.0);
    if (nearest != lengths.end() && least < near) {
      *nearest = to;
    } else {
      lengths.push_back(to);
    }
    std::sort(lengths.begin(), lengths.end());
  }
  return lengths;
}

}  // namespace mha
