// The kernel that is measured, with its operands in memory: in the guarded memory of a check, or
// in the memory that is timed.
#ifndef MHA_SCHEDULES_TUNER_PROBE_SUBJECT_H_
#define MHA_SCHEDULES_TUNER_PROBE_SUBJECT_H_

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "mha/kernel.h"
#include "mha/mha.h"
#include "schedules/tuner/probe/guard.h"

namespace mha::probe {

// What goes out as "failed OUTCOME DETAIL".
class Failure : public std::runtime_error {
 public:
  Failure(const char* outcome, const std::string& detail)
      : std::runtime_error(std::string(outcome) + " " + detail) {}
};

// What the other side sent.
struct Input {
  std::string name;
  uint32_t flags = 0;
  std::vector<int64_t> strides;
  std::vector<unsigned char> bytes;
};
struct Weight {
  std::string name;
  int64_t rows = 0, columns = 0;  // columns 0: a vector
  std::vector<unsigned char> bytes;
};
struct Output {
  std::string name;
  size_t bytes = 0;
};
struct Problem {
  int threads = 1;
  int64_t batch = 0, query_length = 0, key_length = 0, new_keys = 0;
  std::vector<Input> inputs;
  std::vector<Weight> weights;
  std::vector<Output> outputs;
};

class Subject {
 public:
  enum class Placement {
    kFlushEnd,    // each operand touches the guard behind it; inputs cannot be written
    kFlushStart,  // the guard before it
    kTimed        // 64-byte aligned, as careful callers have it
  };
  // Outputs and workspace are full of NaN. The threads are those of `other`, where it is given.
  Subject(const mha_kernel& kernel, const Problem& problem, Placement placement,
          const Subject* other = nullptr);
  ~Subject();
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;

  static constexpr size_t kWhole = SIZE_MAX;
  // Calls the whole kernel or one stage of it: on the same memory, so that a stage by itself finds
  // in the caches what it finds there in the whole. A kernel's own cache of keys and values is
  // taken back before each call.
  void run(size_t stage = kWhole);
  // In the problem's order.
  const std::vector<std::unique_ptr<GuardedBlock>>& outputs() const { return outputs_; }
  // Of all operands and the workspace.
  size_t bytes() const;
  // Throws Failure when anything was written beside an operand.
  void check_surroundings() const;

 private:
  void require(mha_status status, const char* what) const;
  std::unique_ptr<GuardedBlock> place(const std::string& name, size_t bytes, size_t alignment);
  void bind(const std::string& name, unsigned char* data, const Input* input);
  void make_cache(const Problem& problem);

  mha_kernel kernel_;
  const mha_variant all_;  // its stages
  mha_variant variant_;    // those that run
  Placement placement_;
  std::shared_ptr<mha_context> context_;
  mha_weights* weights_ = nullptr;
  std::vector<uint64_t> arguments_;
  mha_cache* cache_ = nullptr;
  std::vector<int32_t> sequences_, cached_;
  std::vector<std::unique_ptr<GuardedBlock>> inputs_, outputs_;
  std::unique_ptr<GuardedBlock> workspace_;
  std::unique_ptr<GuardedBlock> packed_;  // the weights, where they are guarded
};

}  // namespace mha::probe

#endif  // MHA_SCHEDULES_TUNER_PROBE_SUBJECT_H_
