// Sums of products, and what they may be off by: the parts that all of the reference is made of.
#ifndef MHA_TOOLS_REFERENCE_SUMS_H_
#define MHA_TOOLS_REFERENCE_SUMS_H_

#include <cstdint>
#include <functional>

namespace mha {

// Distance from 1 to the next float32: the eps of every bound (docs/numerics.md).
inline constexpr double kEps = 1.0 / (1 << 23);

// The relative error of a sum of n float32 products: a few roundings around it, and roundings along
// the chain, which are independent and so grow as the square root of its length.
double sum_error(int64_t n);

// sum a_i b_i
double dot(const double* a, const double* b, int64_t n);
// In order: this is the plain computation that kernels are measured against.
float dot(const float* a, const float* b, int64_t n);
// Both sums at once: the bits of dot() and of dot_abs().
double dot(const double* a, const double* b, int64_t n, double* sum_abs);
// sum |a_i b_i|
double dot_abs(const double* a, const double* b, int64_t n);
// What sum q_i k_i may be off by because q and k themselves are: squares of the errors, summed.
double dot_squares(const double* q, const double* q_error, const double* k, const double* k_error,
                   int64_t n);

// body(0) ... body(count - 1), on all CPUs, in any order.
void parallel_for(int64_t count, const std::function<void(int64_t)>& body);

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_SUMS_H_
