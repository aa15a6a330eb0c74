// Ranges of lengths: which schedules a kernel should hold, and which lengths each should serve.
#ifndef MHA_SCHEDULES_TUNER_VARIANTS_H_
#define MHA_SCHEDULES_TUNER_VARIANTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "generator/spec/spec.h"
#include "schedules/lengths.h"

namespace mha {

// What was measured: the rows are candidates, the columns lengths, ascending.
struct LengthTable {
  std::vector<int64_t> lengths;
  std::vector<Schedule> candidates;
  std::vector<std::vector<double>> seconds;  // infinite where a candidate does not run
};

struct ChosenRange {
  size_t candidate = 0;
  size_t first = 0, last = 0;  // of the lengths
  bool operator==(const ChosenRange&) const = default;
};

struct ChosenRanges {
  std::vector<ChosenRange> ranges;  // in the order of the lengths; empty: no choice runs everywhere
  double worst = 0, mean = 0;  // loss against the fastest candidate at each length: 0.1 is 10 %
};

struct RangeOptions {
  size_t most = kTunedVariants;
  // A loss up to this counts as none, so that noise asks for no variants.
  double slack = 0;
};

// At most so many candidates, each for lengths that follow one another, so that the largest loss
// over all lengths is smallest; of these the smallest mean, then the fewest ranges. All candidates
// chosen pack weights alike (packed_differences()). Exact, and the same table gives the same
// choice. Throws std::invalid_argument for a table that is none: rows of different sizes, lengths
// that do not ascend, times that are not above 0, a length at which nothing runs.
ChosenRanges choose_ranges(const LengthTable& table, const RangeOptions& options = {});

// The variants of a choice for a plan whose lengths end where the table's do. Between two sampled
// lengths a variant ends at the shorter one: beyond its last block a schedule for short calls loses
// at once what a longer one loses slowly. Neighbours with the same schedule are one.
std::vector<LengthVariant> variants_of(const ChosenRanges& chosen, const LengthTable& table);

// Lengths to measure at: both ends, and in between steps of equal ratio; at most so many,
// ascending.
std::vector<int64_t> sample_lengths(const Range& lengths, size_t most);

// The lengths at which a kernel is tuned: sample_lengths(), but that those at which the default
// changes take the place of their neighbours, so that between two samples the default is one
// schedule.
std::vector<int64_t> tuned_lengths(const Plan& plan, const Machine& machine, int threads,
                                   size_t most);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_VARIANTS_H_
