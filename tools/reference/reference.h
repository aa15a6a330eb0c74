// The oracle: multi-head attention in float64, written to be read. Tests and `mha-run --verify`
// hold every kernel against it, and against the error bound that it computes beside each value
// (docs/numerics.md).
#ifndef MHA_TOOLS_REFERENCE_REFERENCE_H_
#define MHA_TOOLS_REFERENCE_REFERENCE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "generator/spec/spec.h"
#include "tools/reference/tensors.h"
#include "tools/reference/top_k.h"

namespace mha {

struct Reference {
  Arrays outputs;
  // How far an f32 kernel may be from each value of `outputs`; 0 demands equality.
  Arrays bounds;
  // With top_k, for each row of [B,H,Lq] or [H,T]: what its list may be. The lists in `outputs` are
  // one that may be, and their bounds mean nothing.
  std::vector<TopRow> top_rows;
  int64_t keys = 0;  // Lk, which their indices are below
};

// `inputs` holds the tensors of input_tensors() and weight_tensors(), with these shapes; the mask
// has 4 axes, each full or 1. Keys that no query may see are never read, but for the scores.
Reference reference(const Spec& spec, const CallLengths& lengths, const Arrays& inputs);

// Of some rows only: query i of sequence b where `wanted(b, i)`, at a fraction of the cost. The
// others' outputs are 0 with a bound of infinity: any finite number passes there. For specs with
// can_sample_rows(); InternalError for others.
using WantedRows = std::function<bool(int64_t b, int64_t i)>;
Reference reference_of_rows(const Spec& spec, const CallLengths& lengths, const Arrays& inputs,
                            const WantedRows& wanted);
// Whether each of the outputs is finite whatever a row sees, and the batch is not packed.
bool can_sample_rows(const Spec& spec);

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
// The output of that name among all that a kernel wrote. Of a list of the strongest keys, each
// index must be one that may stand there, and each weight that of the index beside it.
Comparison compare_output(const std::string& name, const Arrays& got, const Reference& want);

}  // namespace mha

#endif  // MHA_TOOLS_REFERENCE_REFERENCE_H_
