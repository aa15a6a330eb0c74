// Kernels that read the keys of a cache in pieces so small that sequences of a few hundred keys
// have many of them, and how many tasks of such a stage ran.
#ifndef MHA_TESTS_NUMERIC_DECODE_TASKS_H_
#define MHA_TESTS_NUMERIC_DECODE_TASKS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "generator/emit/generate.h"
#include "mha/kernel.h"
#include "tests/numeric/harness.h"

namespace mha {

// As it is by default, but with tasks of `split` keys where calls are decoded.
Generated generate_with_split(const std::string& yaml, int64_t split);

// Counts the tasks of one stage of a kernel, in all its variants; one at a time, while it lives.
class TaskCounter {
 public:
  TaskCounter(TestKernel& kernel, const std::string& stage);
  TaskCounter(const TaskCounter&) = delete;
  TaskCounter& operator=(const TaskCounter&) = delete;
  int64_t count() const;

 private:
  mha_kernel kernel_;  // the library's, whose stages count
  std::vector<mha_variant> variants_;
  std::vector<std::vector<mha_stage>> stages_;
};

}  // namespace mha

#endif  // MHA_TESTS_NUMERIC_DECODE_TASKS_H_
