// Random tensors, the same on every machine.
#ifndef MHA_TOOLS_MHA_RUN_RANDOM_H_
#define MHA_TOOLS_MHA_RUN_RANDOM_H_

#include <cstdint>
#include <string>

#include "generator/spec/spec.h"
#include "tools/mha-run/host_tensor.h"
#include "tools/reference/tensors.h"

namespace mha {

// A small generator with the same numbers on every machine; each tensor's stream depends on its
// name and the seed alone.
class Random {
 public:
  Random(uint64_t seed, const std::string& stream);
  uint64_t next();
  double uniform();                            // [0, 1)
  int64_t integer(int64_t low, int64_t high);  // both included
  double normal();

 private:
  uint64_t state_;
};

// Normal numbers; weights scaled so that a projection keeps the size of what it is given; a mask
// that hides one key in five and now and then a whole row; index tensors that are valid: the first
// sequence is whole, the others are shorter. `lengths` are those of random_lengths().
HostTensor random_tensor(const Spec& spec, const CallLengths& lengths, const TensorDecl& decl,
                         uint64_t seed);

// The lengths with the total of a packed batch filled in: what sequence_starts will say.
CallLengths random_lengths(const Spec& spec, CallLengths lengths, uint64_t seed);

}  // namespace mha

#endif  // MHA_TOOLS_MHA_RUN_RANDOM_H_
