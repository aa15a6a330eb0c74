// What the races and the certificate need of statistics.
#ifndef MHA_SCHEDULES_TUNER_STATISTICS_H_
#define MHA_SCHEDULES_TUNER_STATISTICS_H_

#include <cstdint>
#include <vector>

namespace mha {

// The middle of the values, or the mean of the two in the middle. There must be one at least.
double median(std::vector<double> values);
// The median distance from the median, scaled so that it estimates a normal's standard deviation.
double spread(const std::vector<double>& values);

// t such that Student's t with this many degrees of freedom exceeds it with the probability
// `tail`, 0 < tail < 0.5. The finite sums of Abramowitz & Stegun 26.7.3 and 26.7.4, inverted.
double t_quantile(int degrees, double tail);

struct Interval {
  double middle = 0, half_width = 0;  // infinite for fewer than two values
  double low() const { return middle - half_width; }
  double high() const { return middle + half_width; }
};
// For the mean of what the values are drawn from; either end is wrong with the probability `tail`.
Interval mean_interval(const std::vector<double>& values, double tail);

// The same for the mean of the middle, from ten values on: of a fifth of them at either end,
// rounded down, only that they are there counts, so that the bursts of another program do not
// decide. (Tukey and McLaughlin 1963: the trimmed mean, its error from the winsorized variance.) Of
// symmetrically drawn values it is the same mean.
Interval trimmed_interval(std::vector<double> values, double tail);

// The numbers of values after which a sequential test looks at its interval: `first`, then half as
// many again each time, and `last`. Few looks, because the permitted error is shared out among
// them.
std::vector<int> look_schedule(int first, int last);

// The two-sided 95 % interval of Clopper and Pearson for a probability, from `hits` of `trials`.
Interval proportion_interval(int64_t hits, int64_t trials);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_STATISTICS_H_
