// Generates kernels for tests, calls them in hostile surroundings and holds what they write against
// the reference.
#ifndef MHA_TESTS_NUMERIC_HARNESS_H_
#define MHA_TESTS_NUMERIC_HARNESS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "generator/emit/generate.h"
#include "generator/spec/spec.h"
#include "tools/mha-run/host_tensor.h"
#include "tools/mha-run/kernel_library.h"
#include "tools/mha-run/random.h"
#include "tools/reference/reference.h"

namespace mha {

// MHA_TEST_SEED, else the default: a failure prints the seed that repeats it.
uint64_t test_seed(uint64_t otherwise);

// The spec of a config's text; throws what load_spec() throws.
Spec spec_of(const std::string& yaml);

// A kernel generated for the test, in a folder that goes away with it.
class TestKernel {
 public:
  explicit TestKernel(const std::string& yaml, const std::string& target = "",
                      const std::string& sanitizer = "");
  // A kernel that was generated some other way, and is held against this config all the same.
  TestKernel(const std::string& yaml, const Generated& generated);
  ~TestKernel();
  const Spec& spec() const { return spec_; }
  const KernelLibrary& library() const { return *library_; }
  // From now on library() has this kernel, which outlives it.
  void use(const mha_kernel& kernel);
  const std::string& yaml() const { return yaml_; }
  const std::string& file() const { return file_; }  // the shared object

 private:
  void load(const std::function<std::string()>& build);

  std::string yaml_, folder_, file_;
  Spec spec_;
  std::unique_ptr<KernelLibrary> library_;
};

// Bytes that end where an unreadable page begins: a read or write past them is a crash, not luck.
class GuardedBytes {
 public:
  explicit GuardedBytes(size_t size);
  ~GuardedBytes();
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;
  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  size_t size_ = 0, mapped_ = 0;
  void* base_ = nullptr;
  void* data_ = nullptr;
};

struct CallOptions {
  int threads = 1;
  // Gaps between rows of every tensor whose axes allow it, of a size that makes strides prime;
  // filled with NaN on the way in, checked on the way out.
  bool strided = false;
};

// Tensors for a call with these lengths, random ones. A mask has its full shape; a test may put one
// in its place that has 1 for any axis.
HostTensors random_inputs(const Spec& spec, const CallLengths& lengths, uint64_t seed);
Arrays arrays_of(const HostTensors& tensors);

// What a kernel wrote, by name; indices as whole numbers.
using Outputs = std::map<std::string, std::vector<float>>;

// Calls the kernel on copies of `inputs` (weights among them) between guard pages. Throws
// std::runtime_error when it wrote where it must not, or not where it must.
Outputs run_kernel(const TestKernel& kernel, const CallLengths& lengths, const HostTensors& inputs,
                   const CallOptions& options);

// Whether the bits are equal, NaN included.
bool same_bits(const std::vector<float>& a, const std::vector<float>& b);

// Sums over a set of calls: whether anything was compared at all, and how rounding compares with
// plain f32.
struct Tally {
  int64_t compared = 0, zeros = 0;
  // Squares of errors in units of the bound, so that calls of all sizes weigh alike.
  std::map<std::string, double> kernel_squares, plain_squares;
  std::map<std::string, int64_t> rounded;  // how many errors they sum: elements with a bound
};

// Empty when every output is within its bound, else what is wrong. With `plain` the plain f32
// errors are tallied too.
std::string check_against_reference(const TestKernel& kernel, const CallLengths& lengths,
                                    const HostTensors& inputs, const Outputs& outputs, bool plain,
                                    Tally* tally);

// The share of the rows, over all heads, that see no key.
double share_of_blind_rows(const Spec& spec, const CallLengths& lengths, const HostTensors& inputs);

}  // namespace mha

#endif  // MHA_TESTS_NUMERIC_HARNESS_H_
