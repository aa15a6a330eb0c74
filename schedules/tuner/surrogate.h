// What the measured schedules say about those that are not: a Gaussian process over the places of
// the parameters' values (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006,
// algorithm 2.1).
#ifndef MHA_SCHEDULES_TUNER_SURROGATE_H_
#define MHA_SCHEDULES_TUNER_SURROGATE_H_

#include <vector>

namespace mha {

class Surrogate {
 public:
  struct Sample {
    std::vector<int> places;
    double prior = 0;  // log gain over the default that the cost model promises
    double gain = 0;   // measured
  };
  struct Guess {
    double mean = 0, deviation = 0;
  };

  explicit Surrogate(std::vector<Sample> samples);
  Guess guess(const std::vector<int>& places, double prior) const;

 private:
  double kernel(const std::vector<int>& a, double a_prior, const std::vector<int>& b,
                double b_prior) const;

  std::vector<Sample> samples_;
  std::vector<std::vector<double>> lower_;  // Cholesky factor of the covariance
  std::vector<double> weights_;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_SURROGATE_H_
