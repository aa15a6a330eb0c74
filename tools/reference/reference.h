// The oracle: multi-head attention in float64, written to be read. Tests and `mha-run --verify`
// hold every kernel against it, and against the error bound that it computes beside each value
// (docs/numerics.md).
#ifndef MHA_TOOLS_REFERENCE_REFERENCE_H_
#define MHA_TOOLS_REFERENCE_REFERENCE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "generator/spec/spec.h"
#include "tools/reference/tensors.h"

namespace mha {

// A dense row-major tensor; index tensors hold whole numbers.
struct Array {
  std::vector<int64_t> shape;
  std::vector<double> values;
};
using Arrays = std::map<std::string, Array>;

struct Reference {
  Arrays outputs;
  // How far an f32 kernel may be from each value of `outputs`; 0 demands equality.
  Arrays bounds;
};

// `inputs` holds the tensors of input_tensors() and weight_tensors(), with these shapes. Keys that
// no query may see are never read.
Reference reference(const Spec& spec, const CallLengths& lengths, const Arrays& inputs);

// The same computation, each operation rounded to float32 and each sum taken in order: what a
// careful person would write without thinking of speed. A kernel's RMS error may be at most twice
// that of this one.
Arrays plain_f32(const Spec& spec, const CallLengths& lengths, const Arrays& inputs);

// One output held against the reference.
struct Comparison {
  int64_t compared = 0;
  int64_t failures =
      0;  // beyond the bound, or not finite where the reference is, or the other way round
  double max_error = 0;       // over the finite values
  double max_ratio = 0;       // of error to bound
  double bound_at_worst = 0;  // where that ratio is largest
  double error_at_worst = 0;
  int64_t worst = 0;      // its index
  double square_sum = 0;  // of the errors
  int64_t zeros = 0;      // in the kernel's output
  bool passed() const { return failures == 0; }
};
// `got` are the kernel's values, in the reference's order.
Comparison compare(const std::vector<float>& got, const Array& want, const Array& bound);

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_REFERENCE_H_
